//! Whether memory comes back: what a cluster keeps a minute after pods came and went, objects were written, listed and
//! deleted, and a thousand clients watched without reading.

use std::time::Duration;

use anyhow::{Result, ensure};
use coracle_e2e::Cluster;

use crate::http::Target;
use crate::idle::memory;
use crate::report::Report;
use crate::{api, pods};

const ROUNDS: usize = 20;
const WATCHERS: usize = 1000;
const LARGE: usize = 1_000_000;
const MAPS: &str = "/api/v1/namespaces/bench/configmaps";

/// Memory under unread watches, and after all loads.
pub fn measure(cluster: &Cluster, report: &mut Report) -> Result<()> {
    for round in 0..ROUNDS {
        pods::come_and_go(cluster, round)?;
    }
    let runtime = api::runtime()?;
    api::namespace(cluster);
    let target = Target::new(&cluster.remote())?;
    runtime.block_on(async {
        api::write_and_list(&target).await?;
        let mut connection = target.connect().await?;
        let (status, _) = connection.request("DELETE", MAPS, b"").await?;
        ensure!(status == 200, "the deletion was answered with {status}");
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"large"}},"data":{{"data":"{}"}}}}"#,
            "x".repeat(LARGE)
        );
        let (status, _) = connection.request("POST", MAPS, body.as_bytes()).await?;
        ensure!(status == 201, "the large object was answered with {status}");
        let before = memory(cluster)?;
        let mut watches = Vec::new();
        for _ in 0..WATCHERS {
            let mut watch = target.connect().await?;
            watch.ask(&format!("{MAPS}?watch=true")).await?;
            watches.push(watch);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let during = (memory(cluster)? - before) / WATCHERS as f64;
        report.line("memory an unread watch of a 1 MB object costs", during / 1e3, "kB", "200 kB");
        drop(watches);
        connection.request("DELETE", MAPS, b"").await?;
        anyhow::Ok(())
    })?;
    drop(runtime);
    std::thread::sleep(Duration::from_secs(60));
    report.line("memory a minute after load (PSS of all processes)", memory(cluster)? / 1e6, "MB", "60 MB");
    Ok(())
}
