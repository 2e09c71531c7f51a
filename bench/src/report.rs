//! The table of results.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

struct Line {
    what: String,
    value: String,
    budget: String,
}

/// The results so far.
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// None yet.
    pub fn new() -> Report {
        Report { lines: Vec::new() }
    }

    /// Adds a figure, printed at once to the standard error, as a run takes minutes.
    pub fn line(&mut self, what: &str, value: f64, unit: &str, budget: &str) {
        let digits = if value < 10.0 {
            2
        } else if value < 1000.0 {
            1
        } else {
            0
        };
        let value = format!("{value:.digits$} {unit}");
        eprintln!("{what}: {value}");
        self.lines.push(Line { what: what.into(), value, budget: budget.into() });
    }

    /// The table, in Markdown.
    pub fn text(&self) -> String {
        let mut text = String::from("| what | measured | budget |\n|---|---:|---:|\n");
        for line in &self.lines {
            let _ = writeln!(text, "| {} | {} | {} |", line.what, line.value, line.budget);
        }
        text
    }

    /// Writes `bench/RESULTS.md`.
    pub fn write(&self) -> Result<()> {
        let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
        let (year, month, day) = civil(days as i64);
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let text = format!(
            "# Results\nMeasured on {year}-{month:02}-{day:02} by `cargo run --release -p coracle-bench` ({profile} profile) on {}.\n\
             Load generator and cluster share the machine.\n\n{}",
            machine()?,
            self.text()
        );
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md"), text)?;
        Ok(())
    }
}

/// What the machine is, without its name.
fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kilobytes: u64 = memory.split_whitespace().nth(1).unwrap_or("0").parse()?;
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel: String = kernel.trim().chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
    Ok(format!("{cores} cores ({model}), {:.0} GB of memory, Linux {kernel}", kilobytes as f64 / 1e6))
}

/// The date of a day since 1970 in the proleptic Gregorian calendar: years begin in March, so that leap days end them.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }
}
