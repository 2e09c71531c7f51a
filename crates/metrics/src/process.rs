//! The process itself, under the names that client libraries give it.

use crate::page::{Page, seconds};

/// Shows the process itself.
pub fn process(page: &mut Page) {
    let Some(found) = Process::read() else { return };
    let families: [(&str, &str, &str, f64); 6] = [
        ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", found.cpu),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", found.resident),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", found.virtual_size),
        ("process_open_fds", "gauge", "Number of open file descriptors.", found.open_files),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", found.most_files),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            found.started,
        ),
    ];
    for (name, kind, help, value) in families {
        page.single(name, kind, help, value);
    }
}

struct Process {
    cpu: f64,
    resident: f64,
    virtual_size: f64,
    open_files: f64,
    most_files: f64,
    started: f64,
}

/// Bytes of memory that are the process's now.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

impl Process {
    fn read() -> Option<Process> {
        /// Hundredths of a second.
        const TICK: u64 = 10_000_000;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name may have anything in it, and ends with the last parenthesis.
        let fields: Vec<u64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or(0);
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(0);
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        let ticks = |count: u64| seconds(count.saturating_mul(TICK));
        Some(Process {
            cpu: ticks(at(11).saturating_add(at(12))),
            resident: resident()? as f64,
            virtual_size: at(20) as f64,
            open_files: open as f64,
            most_files: limit as f64,
            started: boot as f64 + ticks(at(19)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn the_process_is_seen_as_it_is() {
        let found = Process::read().unwrap();
        assert!(found.resident > 1e6 && found.virtual_size >= found.resident);
        assert!(found.open_files >= 3.0 && found.most_files >= found.open_files);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(found.started <= now + 1.0 && found.started > now - 86_400.0, "{} {now}", found.started);
    }
}
