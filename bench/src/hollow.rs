//! A large cluster on this machine: hollow nodes, and pods that are bound to them and told of as running, all of it on disk.
//!
//! `CORACLE_HOLLOW=NODES,PODS` has other numbers than 5,000 nodes and 20,000 pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coracle_e2e::Cluster;
use tokio::task::JoinSet;

use crate::http::{Connection, Target};
use crate::idle::{memory, use_of};
use crate::report::Report;
use crate::stats::{ms, percentile};

const CONNECTIONS: usize = 32;
const ALONE: usize = 300;
const PATIENCE: Duration = Duration::from_secs(600);
const PODS: &str = "/api/v1/namespaces/default/pods";
/// A pod is in it from its binding on.
const BOUND: &str = "/api/v1/namespaces/default/pods?watch=true&fieldSelector=spec.nodeName!%3D";

/// Makes a cluster of its own.
pub fn measure(report: &mut Report) -> Result<()> {
    let (nodes, pods) = numbers()?;
    let cluster = Cluster::new("bench-hollow");
    cluster.up();
    std::thread::sleep(Duration::from_secs(5));
    let bare = memory(&cluster)?;
    let start = Instant::now();
    cluster.ok("up", &["--hollow", &nodes.to_string()]);
    report.line(&format!("{nodes} hollow nodes registered"), nodes as f64 / start.elapsed().as_secs_f64(), "/s", "");
    std::thread::sleep(Duration::from_secs(20));
    let each = (memory(&cluster)? - bare) / nodes as f64;
    report.line("memory a hollow node costs, everything included", each / 1e3, "kB", "100 kB");
    let used = use_of(&cluster, Duration::from_secs(30));
    report.line(&format!("processor use with {nodes} idle hollow nodes"), used * 100.0, "% of a core", "");
    let before = memory(&cluster)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let target = Target::new(&cluster.remote())?;
    let took = runtime.block_on(together(&target, pods))?;
    report.line(&format!("{pods} pods created, 32 connections"), pods as f64 / took.created.as_secs_f64(), "/s", "");
    report.line(
        "durable bindings to hollow nodes, end to end",
        pods as f64 / took.bound.as_secs_f64(),
        "/s",
        "10,000 /s",
    );
    report.line("pods of hollow nodes running, end to end", pods as f64 / took.running.as_secs_f64(), "/s", "");
    let mut times = runtime.block_on(alone(&target))?;
    for (percent, budget) in [(50, ""), (99, "5 ms")] {
        let what = format!("one pod bound while {pods} run, p{percent} of {ALONE}");
        report.line(&what, ms(percentile(&mut times, percent)), "ms", budget);
    }
    std::thread::sleep(Duration::from_secs(20));
    let each = (memory(&cluster)? - before) / pods as f64;
    report.line("memory a running hollow pod costs, everything included", each / 1e3, "kB", "");
    let used = use_of(&cluster, Duration::from_secs(30));
    report.line(
        &format!("processor use with {nodes} nodes and {pods} pods, all idle"),
        used * 100.0,
        "% of a core",
        "",
    );
    Ok(())
}

fn numbers() -> Result<(usize, usize)> {
    let text = std::env::var("CORACLE_HOLLOW").unwrap_or_else(|_| "5000,20000".into());
    let (nodes, pods) = text.split_once(',').context("CORACLE_HOLLOW is NODES,PODS")?;
    Ok((nodes.parse()?, pods.parse()?))
}

fn pod(name: &str) -> Vec<u8> {
    let requests = r#"{"cpu":"100m","memory":"128Mi"}"#;
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"web"}}}},"spec":{{"nodeSelector":{{"coracle.io/hollow":"true"}},"tolerations":[{{"key":"coracle.io/hollow","operator":"Exists"}}],"containers":[{{"name":"c","image":"web:1","resources":{{"requests":{requests}}}}}]}}}}"#
    )
    .into_bytes()
}

/// How long all of them took.
struct Took {
    created: Duration,
    bound: Duration,
    running: Duration,
}

/// Pods as fast as they are taken.
async fn together(target: &Target, count: usize) -> Result<Took> {
    let mut watch = target.connect().await?;
    watch.watch(BOUND).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (target, next) = (target.clone(), next.clone());
        tasks.spawn(async move {
            let mut connection = target.connect().await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(start.elapsed());
                }
                create(&mut connection, &format!("web-{number:06}")).await?;
            }
        });
    }
    let follow = tokio::spawn(async move {
        let (mut bound, mut running, mut all_bound) = (0, 0, Duration::ZERO);
        while running < count {
            let event = event(&mut watch).await?;
            if event.starts_with(r#"{"type":"ADDED""#) {
                bound += 1;
                all_bound = start.elapsed();
            } else if event.contains(r#""phase":"Running""#) {
                running += 1;
            }
        }
        ensure!(bound == count, "{bound} of {count} pods were bound");
        Ok((all_bound, start.elapsed()))
    });
    let mut created = Duration::ZERO;
    while let Some(done) = tasks.join_next().await {
        created = created.max(done??);
    }
    let (bound, running) = follow.await??;
    Ok(Took { created, bound, running })
}

/// Pods one at a time, from the request to the event of their binding.
async fn alone(target: &Target) -> Result<Vec<Duration>> {
    let mut connection = target.connect().await?;
    let mut watch = target.connect().await?;
    let list = connection.body("GET", &format!("{PODS}?limit=1")).await?;
    let revision = list.split_once(r#""resourceVersion":""#).and_then(|(_, rest)| rest.split_once('"'));
    let revision = revision.context("the list has no version")?.0.to_owned();
    watch.watch(&format!("{BOUND}&resourceVersion={revision}")).await?;
    let mut times = Vec::new();
    for number in 0..ALONE {
        let name = format!("alone-{number}");
        let start = Instant::now();
        create(&mut connection, &name).await?;
        while !event(&mut watch).await?.contains(&format!(r#""name":"{name}""#)) {}
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(times)
}

async fn create(connection: &mut Connection, name: &str) -> Result<()> {
    let (status, _) = connection.request("POST", PODS, &pod(name)).await?;
    ensure!(status == 201, "the creation of {name} was answered with {status}");
    Ok(())
}

/// The next event of a watch.
async fn event(watch: &mut Connection) -> Result<String> {
    loop {
        let line = tokio::time::timeout(PATIENCE, watch.line()).await.context("no event comes")??;
        // Between them are the lengths of pieces.
        if line.starts_with('{') {
            return Ok(line);
        }
    }
}
