//! Two builds under the same load at the same time: on a machine whose speed changes from run to run only that tells which is
//! the faster one.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "pair DIRECTORY DIRECTORY ROUNDS SUBJECT...: the directories have a built `coracle` and \
                     `coracle-test-image`";

/// Runs the subjects on both, so many times, and prints the middle of each figure and the middle of the ratios.
pub fn measure(arguments: &[String]) -> Result<()> {
    let [first, second, rounds, subjects @ ..] = arguments else { bail!(USAGE) };
    let rounds: usize = rounds.parse().context(USAGE)?;
    ensure!(rounds > 0 && !subjects.is_empty(), USAGE);
    let mut figures: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for round in 0..rounds {
        // Who begins is ahead by a little: they take turns.
        let turn = if round % 2 == 0 { [first, second] } else { [second, first] };
        let runs = turn.map(|directory| {
            let mut command = Command::new("/proc/self/exe");
            command.args(subjects).env("CORACLE_BUILT", directory).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        });
        let mut tables = Vec::new();
        for run in runs {
            let output = run?.wait_with_output()?;
            ensure!(output.status.success(), "a run ended with {}", output.status);
            tables.push(table(&String::from_utf8_lossy(&output.stdout)));
        }
        if round % 2 == 1 {
            tables.reverse();
        }
        for (what, value) in &tables[0] {
            if let Some(other) = tables[1].get(what) {
                eprintln!("{what}: {value} and {other}");
                figures.entry(what.clone()).or_default().push((*value, *other));
            }
        }
    }
    println!("| what | first | second | second to first |\n|---|---:|---:|---:|");
    for (what, pairs) in figures {
        let middle_of = |of: fn(&(f64, f64)) -> f64| middle(pairs.iter().map(of).collect());
        let [first, second, ratio] =
            [middle_of(|pair| pair.0), middle_of(|pair| pair.1), middle_of(|pair| pair.1 / pair.0)];
        println!("| {what} | {first} | {second} | {ratio:.2} |");
    }
    Ok(())
}

/// The figures of a printed table, by what they are, with their units.
fn table(text: &str) -> BTreeMap<String, f64> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (what, measured) = (cells.next()?, cells.next()?);
        let (value, unit) = measured.split_once(' ')?;
        Some((format!("{what}, {unit}"), value.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_a_table() {
        let found = table("| what | measured | budget |\n|---|---:|---:|\n| creates, 32 connections | 12 /s | 15 |\n");
        assert_eq!(found, BTreeMap::from([("creates, 32 connections, /s".to_owned(), 12.0)]));
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
