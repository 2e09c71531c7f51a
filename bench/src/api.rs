//! The API under load: durable creates, reads, lists, and watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use coracle_e2e::Cluster;
use tokio::runtime::Builder;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::http::Target;
use crate::report::Report;
use crate::stats::{ms, percentile};

const CONNECTIONS: usize = 32;
const SECONDS: u64 = 5;
const OBJECTS: usize = 27_000;
const WATCHERS: usize = 1000;
const COLLECTION: &str = "/api/v1/namespaces/bench/configmaps";

/// A ConfigMap of about a kilobyte, metadata included.
fn object(name: &str) -> Vec<u8> {
    let data = "x".repeat(700);
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"data":"{data}"}}}}"#)
        .into_bytes()
}

/// A runtime of one thread: the load must cost little.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Makes the namespace of the load.
pub fn namespace(cluster: &Cluster) {
    let answer = cluster.api().post("/api/v1/namespaces", &serde_json::json!({"metadata": {"name": "bench"}}));
    assert!(matches!(answer.status, 201 | 409), "{}", answer.text);
}

/// Creates, reads and lists.
pub fn measure(cluster: &Cluster, report: &mut Report) -> Result<()> {
    namespace(cluster);
    let target = Target::new(&cluster.remote())?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut alone = target.connect().await?;
        let mut times = Vec::new();
        for number in 0..300 {
            let start = Instant::now();
            let (status, _) = alone.request("POST", COLLECTION, &object(&format!("alone-{number}"))).await?;
            times.push(start.elapsed());
            ensure!(status == 201, "a create was answered with {status}");
        }
        report.line("durable create, 1 connection, p50", ms(percentile(&mut times, 50)), "ms", "");
        let mut times = Vec::new();
        for _ in 0..2000 {
            let start = Instant::now();
            alone.request("GET", &format!("{COLLECTION}/alone-7"), b"").await?;
            times.push(start.elapsed());
        }
        report.line("GET, 1 connection, p50", ms(percentile(&mut times, 50)), "ms", "");

        let created = Arc::new(AtomicUsize::new(0));
        let counter = created.clone();
        let rate = load(&target, Duration::from_secs(SECONDS), move || {
            let name = format!("c{:06}", counter.fetch_add(1, Ordering::Relaxed));
            ("POST", COLLECTION.to_owned(), object(&name), 201)
        })
        .await?;
        report.line("durable creates, 32 connections", rate.requests, "/s", "15,000 /s");
        let count = created.load(Ordering::Relaxed).max(1);
        let turn = Arc::new(AtomicUsize::new(0));
        let rate = load(&target, Duration::from_secs(SECONDS), move || {
            // A stride visits the objects out of order.
            let name = turn.fetch_add(7919, Ordering::Relaxed) % count.saturating_sub(CONNECTIONS).max(1);
            ("GET", format!("{COLLECTION}/c{name:06}"), Vec::new(), 200)
        })
        .await?;
        report.line("GETs, 32 connections", rate.requests, "/s", "40,000 /s");

        fill(&target, count).await?;
        // One thread could not take in what the server gives.
        let clients = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let rate = clients.spawn(lists(target.clone())).await??;
        clients.shutdown_background();
        report.line("LIST of 27,000 ConfigMaps, 8 connections", rate / 1e6, "MB/s", "2,000 MB/s");
        let (status, _) = alone.request("DELETE", COLLECTION, b"").await?;
        ensure!(status == 200, "the deletion was answered with {status}");
        Ok(())
    })
}

struct Rate {
    requests: f64,
}

/// Keeps all connections busy for a while.
async fn load(
    target: &Target,
    time: Duration,
    next: impl Fn() -> (&'static str, String, Vec<u8>, u16) + Send + Sync + 'static,
) -> Result<Rate> {
    let next = Arc::new(next);
    let ready = Arc::new(Barrier::new(CONNECTIONS));
    let total = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = target.connect().await?;
        let (next, ready, total) = (next.clone(), ready.clone(), total.clone());
        tasks.spawn(async move {
            ready.wait().await;
            let start = Instant::now();
            while start.elapsed() < time {
                let (method, path, body, expected) = next();
                let (status, _) = connection.request(method, &path, &body).await?;
                ensure!(status == expected, "{method} {path} was answered with {status}");
                total.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(Rate { requests: total.load(Ordering::Relaxed) as f64 / time.as_secs_f64() })
}

/// Fills the collection and lists it many times at once.
pub async fn write_and_list(target: &Target) -> Result<()> {
    fill(target, 0).await?;
    lists(target.clone()).await.map(drop)
}

/// Makes the collection exactly as large as the list test wants it.
async fn fill(target: &Target, from: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(from));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut connection, next) = (target.connect().await?, next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= OBJECTS {
                    return anyhow::Ok(());
                }
                connection.request("POST", COLLECTION, &object(&format!("c{number:06}"))).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let mut connection = target.connect().await?;
    for number in OBJECTS..from {
        connection.request("DELETE", &format!("{COLLECTION}/c{number:06}"), b"").await?;
    }
    Ok(())
}

/// Bytes a second of whole lists.
async fn lists(target: Target) -> Result<f64> {
    const CLIENTS: usize = 8;
    const EACH: usize = 20;
    let bytes = Arc::new(AtomicU64::new(0));
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(target.connect().await?);
    }
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for mut connection in connections {
        let bytes = bytes.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                let (status, length) = connection.request("GET", COLLECTION, b"").await?;
                ensure!(status == 200 && length > OBJECTS * 900, "a list of {length} bytes came with {status}");
                bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(bytes.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

/// How long a change takes to reach each of many watchers.
pub fn fan_out(cluster: &Cluster, report: &mut Report) -> Result<()> {
    const CHANGES: usize = 20;
    namespace(cluster);
    let version = cluster.api().get(COLLECTION).ok()["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    let target = Target::new(&cluster.remote())?;
    let runtime = runtime()?;
    let mut times = runtime.block_on(async {
        let start = Instant::now();
        // Nanoseconds since the start at which the current change was sent.
        let (sent, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let ready = Arc::new(Barrier::new(WATCHERS + 1));
        let mut tasks = JoinSet::new();
        for _ in 0..WATCHERS {
            let mut connection = target.connect().await?;
            let path = format!("{COLLECTION}?watch=true&resourceVersion={version}&fieldSelector=metadata.name=fan-out");
            let (sent, ready) = (sent.clone(), ready.clone());
            tasks.spawn(async move {
                connection.watch(&path).await?;
                ready.wait().await;
                let mut times = Vec::with_capacity(CHANGES);
                for change in 0..CHANGES {
                    let wanted = format!("\"change\":\"{change}\"");
                    while !connection.event(wanted.as_bytes()).await? {}
                    times.push(start.elapsed() - Duration::from_nanos(sent.load(Ordering::SeqCst)));
                    ready.wait().await;
                }
                anyhow::Ok(times)
            });
        }
        let mut writer = target.connect().await?;
        ready.wait().await;
        for change in 0..CHANGES {
            let (method, path) = if change == 0 { ("POST", COLLECTION.to_owned()) } else { ("PUT", format!("{COLLECTION}/fan-out")) };
            let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"fan-out"}},"data":{{"change":"{change}"}}}}"#);
            sent.store(start.elapsed().as_nanos() as u64, Ordering::SeqCst);
            let (status, _) = writer.request(method, &path, body.as_bytes()).await?;
            ensure!(status < 300, "the change was answered with {status}");
            ready.wait().await;
        }
        done.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    })?;
    report.line("change seen by 1,000 watchers, p50", ms(percentile(&mut times, 50)), "ms", "");
    report.line("change seen by 1,000 watchers, p99", ms(percentile(&mut times, 99)), "ms", "");
    Ok(())
}
