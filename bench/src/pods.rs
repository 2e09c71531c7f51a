//! How long pods take to run.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coracle_e2e::{Cluster, Watch, eventually, pod, processes_of};
use serde_json::{Value, json};

use crate::idle::memory;
use crate::report::Report;
use crate::stats::{ms, percentile};

const PATIENCE: Duration = Duration::from_secs(60);
const ALONE: usize = 20;
const TOGETHER: usize = 50;
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Pods one at a time, many at once, and what each costs.
pub fn measure(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let api = cluster.api();
    let version = api.get(PODS).ok()["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    let mut watch = api.watch(&format!("{PODS}?watch=true&resourceVersion={version}"));
    let body = |name: &str| pod(name, &["sleep", "100000"]);

    let mut times = Vec::new();
    for number in 0..ALONE {
        let name = format!("alone-{number}");
        let start = Instant::now();
        api.post(PODS, &body(&name)).ok();
        wait_running(&mut watch, &name)?;
        times.push(start.elapsed());
        remove_all(cluster);
    }
    report.line("pod create to Running, one at a time, p50 of 20", ms(percentile(&mut times, 50)), "ms", "15 ms");
    report.line("pod create to Running, one at a time, p99 of 20", ms(percentile(&mut times, 99)), "ms", "");

    let before = memory(cluster)?;
    let start = Instant::now();
    // As many clients as a busy user has: the creates overlap.
    let seen = std::thread::scope(|scope| {
        for part in 0..5 {
            scope.spawn(move || {
                for number in (part..TOGETHER).step_by(5) {
                    api.post(PODS, &body(&format!("together-{number}"))).ok();
                }
            });
        }
        let mut seen: HashMap<String, Duration> = HashMap::new();
        while seen.len() < TOGETHER {
            let event = watch.next(PATIENCE).context("a pod does not run")?;
            if let Some(name) = running(&event).filter(|name| name.starts_with("together-")) {
                seen.entry(name).or_insert_with(|| start.elapsed());
            }
        }
        anyhow::Ok(seen)
    })?;
    let mut times: Vec<Duration> = seen.into_values().collect();
    report.line("50 pods at once, the median one", ms(percentile(&mut times, 50)), "ms", "");
    report.line("50 pods at once, all of them", ms(percentile(&mut times, 100)), "ms", "400 ms");
    std::thread::sleep(Duration::from_secs(3));
    let own: f64 = processes_of(cluster)
        .iter()
        .filter(|(_, line)| line.starts_with("sleep "))
        .map(|(pid, _)| crate::idle::pss(*pid))
        .sum();
    let each = (memory(cluster)? - before - own) / TOGETHER as f64;
    report.line("memory a pod costs besides its own processes", each / 1e6, "MB", "1.5 MB");
    remove_all(cluster);
    Ok(())
}

/// Makes pods until all run, and removes them.
pub fn come_and_go(cluster: &Cluster, round: usize) -> Result<()> {
    let api = cluster.api();
    let version = api.get(PODS).ok()["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    let mut watch = api.watch(&format!("{PODS}?watch=true&resourceVersion={version}"));
    for number in 0..TOGETHER {
        api.post(PODS, &pod(&format!("round-{round}-{number}"), &["sleep", "100000"])).ok();
    }
    let mut seen = HashSet::new();
    while seen.len() < TOGETHER {
        let event = watch.next(PATIENCE).context("a pod does not run")?;
        seen.extend(running(&event));
    }
    remove_all(cluster);
    Ok(())
}

/// The name of the pod that an event shows running.
fn running(event: &Value) -> Option<String> {
    let object = &event["object"];
    (object["status"]["phase"] == "Running").then(|| object["metadata"]["name"].as_str().map(str::to_owned)).flatten()
}

fn wait_running(watch: &mut Watch, wanted: &str) -> Result<()> {
    loop {
        let event = watch.next(PATIENCE).with_context(|| format!("{wanted} does not run"))?;
        if running(&event).as_deref() == Some(wanted) {
            return Ok(());
        }
    }
}

fn remove_all(cluster: &Cluster) {
    cluster.api().delete(PODS, &json!({"gracePeriodSeconds": 0})).ok();
    eventually("all pods are gone", || match cluster.api().get(PODS).body["items"].as_array().map(Vec::len) {
        Some(0) => Ok(()),
        left => Err(format!("{left:?}")),
    });
}
