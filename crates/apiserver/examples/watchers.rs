//! What a write costs while 5,000 watchers each follow the pods of one node, as kubelets do, or one config map, or what has a
//! label, which is not found by an index: `cargo run --release -p coracle-apiserver --example watchers`. It is asked of a server in
//! this process. Each row: how long the processors work for one write with all that watchers are told of it, and how long who
//! writes waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use coracle_apiserver::auth::User;
use coracle_apiserver::{Config, Server};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

const WATCHERS: usize = 5_000;
const WRITES: usize = 1_000;
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = Config::in_directory(dir.path())?;
    let server = Server::new(config).await?;
    send(&server, Method::POST, ACCOUNTS, &json!({"metadata": {"name": "default"}})).await?;
    measure("pods, nobody watches", &server, PODS, pod).await?;
    measure("config maps, nobody watches", &server, MAPS, map).await?;
    measure("secrets, nobody watches", &server, SECRETS, secret).await?;
    let seen = Arc::new(AtomicUsize::new(0));
    for n in 0..WATCHERS {
        watch(&server, format!("/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3Dnode-{n}"), &seen).await?;
    }
    measure("pods, 5,000 watch a node each", &server, PODS, pod).await?;
    for n in 0..WATCHERS {
        watch(&server, format!("/api/v1/secrets?watch=true&labelSelector=node%3Dnode-{n}"), &seen).await?;
    }
    measure("secrets, 5,000 watch a label each", &server, SECRETS, secret).await?;
    for n in 0..WATCHERS {
        watch(&server, format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Dx-{n}"), &seen).await?;
    }
    measure("config maps, 5,000 watch one each", &server, MAPS, map).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(seen.load(Ordering::Relaxed) >= WRITES, "watchers saw {} events", seen.load(Ordering::Relaxed));
    Ok(())
}

fn pod(n: usize) -> Value {
    let spec = json!({"nodeName": format!("node-{n}"), "containers": [{"name": "c", "image": "i"}]});
    json!({"metadata": {"generateName": "p-"}, "spec": spec})
}

fn map(n: usize) -> Value {
    json!({"metadata": {"generateName": format!("x-{n}-")}, "data": {"k": "v"}})
}

fn secret(n: usize) -> Value {
    json!({"metadata": {"generateName": "s-", "labels": {"node": format!("node-{n}")}}})
}

/// Begins a watch and counts the pieces of its answer.
async fn watch(server: &Server, path: String, seen: &Arc<AtomicUsize>) -> Result<()> {
    let request = Request::get(path).body(Full::new(Bytes::new()))?;
    let answer = server.handle(request, Some(Arc::new(User::new("admin", &["system:masters"])))).await;
    ensure!(answer.status().is_success(), "{}", answer.status());
    let (mut body, seen) = (answer.into_body(), seen.clone());
    tokio::spawn(async move {
        while let Some(Ok(_)) = body.frame().await {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Creates objects one after the other, each with a watcher of its own where there are watchers.
async fn measure(what: &str, server: &Server, path: &str, object: impl Fn(usize) -> Value) -> Result<()> {
    settle().await?;
    let (start, began) = (busy()?, Instant::now());
    for n in 0..WRITES {
        send(server, Method::POST, path, &object(n)).await?;
    }
    let wall = began.elapsed().as_secs_f64() * 1e6 / WRITES as f64;
    settle().await?;
    println!("{what:<36}{:>9.1} us of processors{wall:>9.1} us for one", (busy()? - start) / WRITES as f64);
    Ok(())
}

/// Waits until nothing more is done.
async fn settle() -> Result<()> {
    loop {
        let before = busy()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if busy()? - before <= 10_000.0 {
            return Ok(());
        }
    }
}

async fn send(server: &Server, method: Method, path: &str, body: &Value) -> Result<()> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string())))?;
    let answer = server.handle(request, Some(Arc::new(User::new("admin", &["system:masters"])))).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// Microseconds that this process has been on processors.
fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit(')').next().context("a name in brackets")?;
    let ticks = behind.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks * 10_000.0)
}
