//! Measures a cluster on this machine and prints one table: `cargo run --release -p coracle-bench`.
//!
//! The table, with the date and what the machine is, also becomes `bench/RESULTS.md`. Arguments choose subjects
//! (`rbac`, `scheduler`, `network`, `ingress`, `up`, `pods`, `jobs`, `api`, `watch`, `memory`, `idle`, `hollow`, `others`); without any, all are measured and the file is written.
//! `pair` measures two builds at the same time.

mod api;
mod hollow;
mod http;
mod idle;
mod ingress;
mod jobs;
mod memory;
mod network;
mod others;
mod pair;
mod pods;
mod rbac;
mod report;
mod scheduler;
mod stats;

use std::time::Instant;

use anyhow::{Result, bail};
use coracle_e2e::{Cluster, built, can_run};

use crate::report::Report;

fn main() -> Result<()> {
    if !can_run() {
        bail!("clusters are made as root only");
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &wanted[..]
        && first == network::INSIDE
    {
        return network::inside(rest);
    }
    if let [first, rest @ ..] = &wanted[..]
        && first == ingress::INSIDE
    {
        return ingress::inside(rest);
    }
    if let [first, rest @ ..] = &wanted[..]
        && first == "pair"
    {
        return pair::measure(rest);
    }
    let is_wanted = |subject: &str| wanted.is_empty() || wanted.iter().any(|one| one == subject);
    let mut report = Report::new();

    // These need no cluster.
    if is_wanted("rbac") {
        rbac::measure(&mut report)?;
    }
    if is_wanted("scheduler") {
        scheduler::measure(&mut report)?;
    }
    if is_wanted("network") {
        network::measure(&mut report)?;
    }
    if is_wanted("ingress") {
        ingress::measure(&mut report)?;
    }
    if is_wanted("hollow") {
        built("coracle-test-image");
        hollow::measure(&mut report)?;
    }
    if !wanted.is_empty()
        && wanted.iter().all(|one| ["rbac", "scheduler", "network", "ingress", "hollow"].contains(&one.as_str()))
    {
        print!("{}", report.text());
        return Ok(());
    }

    let binary = built("coracle");
    built("coracle-test-image");
    let cluster = Cluster::new("bench");
    up(&cluster, is_wanted("up"), &mut report)?;
    if is_wanted("idle") {
        idle::measure(&cluster, &mut report)?;
    }
    cluster.load_image(&["test:1"]);
    if is_wanted("pods") {
        pods::measure(&cluster, &mut report)?;
    }
    if is_wanted("jobs") {
        jobs::measure(&cluster, &mut report)?;
    }
    if is_wanted("api") {
        api::measure(&cluster, &mut report)?;
    }
    if is_wanted("watch") {
        api::fan_out(&cluster, &mut report)?;
    }
    if is_wanted("memory") {
        memory::measure(&cluster, &mut report)?;
    }
    report.line("binary", std::fs::metadata(binary)?.len() as f64 / 1e6, "MB", "45 MB");
    drop(cluster);
    if is_wanted("others") {
        others::measure(&mut report)?;
    }
    print!("{}", report.text());
    if wanted.is_empty() {
        report.write()?;
    }
    Ok(())
}

/// Makes the cluster; when that is a subject, several times.
fn up(cluster: &Cluster, measured: bool, report: &mut Report) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..if measured { 5 } else { 1 } {
        cluster.ok("down", &[]);
        let start = Instant::now();
        cluster.up();
        times.push(start.elapsed());
    }
    if measured {
        report.line(
            "`coracle up` to Ready, p50 of 5",
            stats::percentile(&mut times, 50).as_secs_f64() * 1e3,
            "ms",
            "500 ms",
        );
    }
    Ok(())
}
