//! How long an indexed job of a thousand completions takes, and what is left in memory of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use coracle_e2e::{Cluster, container, eventually};
use serde_json::{Value, json};

use crate::idle::memory;
use crate::report::Report;

const COMPLETIONS: usize = 1000;
const PARALLELISM: usize = 50;
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const PODS: &str = "/api/v1/namespaces/default/pods";
/// A machine that needs longer is broken.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Runs the job to its end, and removes it with its pods.
pub fn measure(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let api = cluster.api();
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container("main", &["exit", "0"])]}});
    let spec = json!({"completions": COMPLETIONS, "parallelism": PARALLELISM, "completionMode": "Indexed", "template": template});
    let before = memory(cluster)?;
    let start = Instant::now();
    api.post(JOBS, &json!({"metadata": {"name": "thousand"}, "spec": spec})).ok();
    let mut most: f64 = 0.0;
    let job = loop {
        let job = api.get(&format!("{JOBS}/thousand")).ok();
        most = most.max(memory(cluster)?);
        if has_ended(&job) {
            break job;
        }
        if start.elapsed() > PATIENCE {
            bail!("the job has not ended: {}", job["status"]);
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    let took = start.elapsed();
    let indexes = format!("0-{}", COMPLETIONS - 1);
    ensure!(job["status"]["completedIndexes"] == indexes, "indexes are missing: {}", job["status"]);
    ensure!(job["status"]["failed"].is_null(), "pods have failed: {}", job["status"]);
    report.line("indexed job of 1,000 completions, 50 at a time", took.as_secs_f64(), "s", "");
    report.line("memory that it takes beyond an idle cluster's, at most", (most - before) / 1e6, "MB", "");
    api.delete(&format!("{JOBS}/thousand"), &json!({"propagationPolicy": "Background"})).ok();
    let start = Instant::now();
    loop {
        let left = api.get(&format!("{PODS}?limit=1")).ok()["items"].as_array().map_or(0, Vec::len);
        if left == 0 {
            break;
        }
        ensure!(start.elapsed() < PATIENCE, "pods of the job are left");
        std::thread::sleep(Duration::from_millis(100));
    }
    report.line("and to delete it with its 1,000 pods", start.elapsed().as_secs_f64(), "s", "");
    eventually("the node has forgotten them", || {
        let left = std::fs::read_dir(cluster.data.join("kubelet/pods")).map_or(0, Iterator::count);
        if left == 0 { Ok(()) } else { Err(format!("{left} pods have directories")) }
    });
    Ok(())
}

fn has_ended(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|one| (one["type"] == "Complete" || one["type"] == "Failed") && one["status"] == "True")
}
