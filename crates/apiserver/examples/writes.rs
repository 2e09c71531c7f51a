//! What writes of a ConfigMap of 1 KB cost the processors, asked of a server in this process:
//! `cargo run --release -p coracle-apiserver --example writes`. With `-- etcd`, of one on an etcd of its own, beside what that
//! etcd does for the same client without an API server.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use coracle_apiserver::auth::User;
use coracle_apiserver::{Config, Server};
use coracle_pki::Authority;
use coracle_store::etcd::{self, Etcd};
use coracle_store::{Compare, Embedded, Op, Options, Outcome, Store, Txn};
use coracle_testing::etcd::Cluster;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

/// Objects, unless the last argument is another number: a profiler is slow.
const OBJECTS: usize = 20_000;
const AT_ONCE: usize = 64;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: &str = "application/apply-patch+yaml";

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let on_etcd = std::env::args().nth(1).is_some_and(|word| word == "etcd");
    let cluster = if on_etcd { Some(Cluster::start(1, &[]).context("there is no etcd here")?) } else { None };
    let store: Arc<dyn Store> = match &cluster {
        Some(cluster) => {
            let config = etcd::Config { endpoints: cluster.urls(), root: "/registry/".into(), ..Default::default() };
            Arc::new(Etcd::connect(&config).await?)
        }
        None => Arc::new(Embedded::open(&dir.path().join("store"), Options::default())?),
    };
    measure("store", |n| put(store.clone(), n)).await?;
    let authority = Arc::new(Authority::open(&dir.path().join("pki"))?);
    let config = Config::new(store, authority)?;
    let server = Server::new(config).await?;
    let path = |n: usize| format!("{MAPS}/c{n}?fieldManager=writer");
    measure("create", |n| call(server.clone(), Method::POST, MAPS.into(), "application/json", object(n, "x"))).await?;
    measure("update", |n| call(server.clone(), Method::PUT, path(n), "application/json", object(n, "y"))).await?;
    measure("apply", |n| call(server.clone(), Method::PATCH, path(n) + "&force=1", APPLY, object(n, "z"))).await?;
    measure("same", |n| call(server.clone(), Method::PATCH, path(n), APPLY, object(n, "z"))).await?;
    measure("get", |n| call(server.clone(), Method::GET, path(n), "", Value::Null)).await?;
    let one = call(server, Method::GET, path(0), "", Value::Null).await?;
    println!("bytes of an object at the end: {one}");
    Ok(())
}

/// The same as a create costs the store.
async fn put(store: Arc<dyn Store>, n: usize) -> Result<usize> {
    let key: Arc<str> = format!("/registry/measured/c{n}").into();
    let value = Bytes::from(object(n, "x").to_string());
    let op = Op::Put { key: key.clone(), value, ttl: None };
    let made = store.txn(Txn { compares: vec![Compare::ModRevision(key, 0)], ops: vec![op] }).await?;
    ensure!(matches!(made, Outcome::Committed { .. }), "{made:?}");
    Ok(0)
}

fn object(n: usize, letter: &str) -> Value {
    let data: Value = (0..10).map(|key| (format!("key-{key}"), Value::from(letter.repeat(80)))).collect();
    let metadata = json!({"name": format!("c{n}"), "labels": {"app": "web"}});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

/// Writes all objects, some at once, and prints how long processors worked for one, and how many were written in a second.
async fn measure<F: Future<Output = Result<usize>> + Send + 'static>(
    what: &str,
    write: impl Fn(usize) -> F,
) -> Result<()> {
    let objects = std::env::args().next_back().and_then(|word| word.parse().ok()).unwrap_or(OBJECTS);
    let (start, began) = (busy()?, Instant::now());
    for first in (0..objects).step_by(AT_ONCE) {
        let tasks: Vec<_> = (first..objects.min(first + AT_ONCE)).map(|n| tokio::spawn(write(n))).collect();
        for task in tasks {
            task.await??;
        }
    }
    let (one, rate) = ((busy()? - start) / objects as f64, objects as f64 / began.elapsed().as_secs_f64());
    println!("{what:<8}{one:>8.1} us{rate:>10.0} /s");
    Ok(())
}

/// Sends a request; answers with the length of the answer.
async fn call(server: Server, method: Method, path: String, media_type: &str, body: Value) -> Result<usize> {
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    let request = request.header("user-agent", "writer/1").body(Full::new(Bytes::from(body.to_string())))?;
    let answer = server.handle(request, Some(Arc::new(User::new("admin", &["system:masters"])))).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(body.len())
}

/// Microseconds that this process has been on processors.
fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit(')').next().context("a name in brackets")?;
    let ticks = behind.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks * 10_000.0)
}
