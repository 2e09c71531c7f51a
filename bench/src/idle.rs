//! What a cluster costs that does nothing.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use coracle_e2e::{Cluster, processes_of};

use crate::report::Report;

/// Memory and processor time of a cluster that was just started.
pub fn measure(cluster: &Cluster, report: &mut Report) -> Result<()> {
    // What starting left to do is done by then.
    std::thread::sleep(Duration::from_secs(5));
    let used = use_of(cluster, Duration::from_secs(60));
    report.line("processor use of an idle cluster, over a minute", used * 100.0, "% of a core", "0.3% of a core");
    // What it does now and then, it has done by now.
    report.line(
        "memory of an idle cluster after that minute (PSS of all processes)",
        memory(cluster)? / 1e6,
        "MB",
        "60 MB",
    );
    Ok(())
}

/// How much of a core the processes of a cluster use, looked at for some time.
pub fn use_of(cluster: &Cluster, time: Duration) -> f64 {
    let (start, before) = (Instant::now(), used(cluster));
    std::thread::sleep(time);
    used(cluster).saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// The proportional set size of all of a cluster's processes, in bytes.
pub fn memory(cluster: &Cluster) -> Result<f64> {
    Ok(processes_of(cluster).iter().map(|(pid, _)| pss(*pid)).sum())
}

/// The proportional set size of a process, in bytes; nothing when it is gone.
pub fn pss(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// What all threads that are there have used of processors. The ticks of `stat` are ten milliseconds, as much as an idle
/// cluster uses in ten seconds; this is counted in nanoseconds (`Documentation/scheduler/sched-stats.rst`).
fn used(cluster: &Cluster) -> Duration {
    let of = |pid: i32| -> Option<u64> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let spent = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Some(spent.sum())
    };
    Duration::from_nanos(processes_of(cluster).iter().filter_map(|(pid, _)| of(*pid)).sum())
}
