//! What writes of a ConfigMap of 1 KB cost the processors, asked of a server in this process:
//! `cargo run --release -p coracle-apiserver --example writes`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use coracle_apiserver::auth::User;
use coracle_apiserver::{Config, Server};
use coracle_pki::{Authority, Current};
use coracle_store::{Embedded, Options};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

const OBJECTS: usize = 20_000;
const AT_ONCE: usize = 64;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: &str = "application/apply-patch+yaml";

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Arc::new(Authority::open(&dir.path().join("pki"))?);
    let config = Config {
        store: Arc::new(Embedded::open(&dir.path().join("store"), Options::default())?),
        kubelet_client: Current::new(&authority.client("kubelet-client", "kubelet-client", &[])?)?,
        authority,
        token_file: None,
        service_cidr: "10.96.0.0/16".parse()?,
        advertise_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        port: 6443,
    };
    let server = Server::new(config).await?;
    let path = |n: usize| format!("{MAPS}/c{n}?fieldManager=writer");
    measure("create", |n| call(server.clone(), Method::POST, MAPS.into(), "application/json", object(n, "x"))).await?;
    measure("update", |n| call(server.clone(), Method::PUT, path(n), "application/json", object(n, "y"))).await?;
    measure("apply", |n| call(server.clone(), Method::PATCH, path(n) + "&force=1", APPLY, object(n, "z"))).await?;
    measure("same", |n| call(server.clone(), Method::PATCH, path(n), APPLY, object(n, "z"))).await?;
    let one = call(server, Method::GET, path(0), "", Value::Null).await?;
    println!("bytes of an object at the end: {one}");
    Ok(())
}

fn object(n: usize, letter: &str) -> Value {
    let data: Value = (0..10).map(|key| (format!("key-{key}"), Value::from(letter.repeat(80)))).collect();
    let metadata = json!({"name": format!("c{n}"), "labels": {"app": "web"}});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

/// Writes all objects, some at once, and prints how long processors worked for one.
async fn measure<F: Future<Output = Result<usize>> + Send + 'static>(
    what: &str,
    write: impl Fn(usize) -> F,
) -> Result<()> {
    let start = busy()?;
    for first in (0..OBJECTS).step_by(AT_ONCE) {
        let tasks: Vec<_> = (first..OBJECTS.min(first + AT_ONCE)).map(|n| tokio::spawn(write(n))).collect();
        for task in tasks {
            task.await??;
        }
    }
    println!("{what:<8}{:>8.1} us", (busy()? - start) / OBJECTS as f64);
    Ok(())
}

/// Sends a request; answers with the length of the answer.
async fn call(server: Server, method: Method, path: String, media_type: &str, body: Value) -> Result<usize> {
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    let request = request.header("user-agent", "writer/1").body(Full::new(bytes::Bytes::from(body.to_string())))?;
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
