//! Pods bound by way of an API server in this process, to nodes that are objects only. A binding counts once it is on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use coracle_apiserver::auth::{MASTERS, User};
use coracle_apiserver::{Config, Server};
use coracle_client::{Election, in_process};
use coracle_scheduler::SchedulerConfiguration;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{NODES, node, pod};
use crate::report::Report;

const PODS: usize = 20_000;
const AT_ONCE: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);

pub fn measure(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = tempfile::Builder::new().prefix("coracle-bench-").tempdir()?;
    let took = runtime.block_on(bind(directory.path()))?;
    report.line("durable bindings to 5,000 nodes, end to end", PODS as f64 / took.as_secs_f64(), "/s", "10,000 /s");
    Ok(())
}

async fn bind(directory: &Path) -> Result<Duration> {
    let server = serve(directory).await?;
    let account = json!({"metadata": {"name": "default"}});
    make(&server, vec![("/api/v1/namespaces/default/serviceaccounts".into(), account)]).await?;
    make(&server, (0..NODES).map(|number| ("/api/v1/nodes".into(), node(number))).collect()).await?;
    let pods = (0..PODS).map(|number| ("/api/v1/namespaces/default/pods".into(), pod("web", number, json!({}))));
    make(&server, pods.collect()).await?;
    let watch = watch(&server).await?;
    let config = coracle_scheduler::Config {
        election: Election::default(),
        identity: "bench".into(),
        scheduler: SchedulerConfiguration::default(),
    };
    let client = in_process(server.service(User::new("system:kube-scheduler", &[])));
    let start = Instant::now();
    let scheduler = tokio::spawn(coracle_scheduler::run(client, config));
    tokio::time::timeout(PATIENCE, all_are_bound(watch)).await??;
    scheduler.abort();
    Ok(start.elapsed())
}

/// A watch of the pods that have a node: each is in it from its binding on. It is not read as objects, which would cost as much
/// as the scheduler's own does: who asks again and again, or decodes, would slow down what is measured.
async fn watch(server: &Server) -> Result<BoxStream<'static, Result<bytes::Bytes>>> {
    let request =
        Request::get("/api/v1/pods?watch=true&fieldSelector=spec.nodeName!%3D").body(Full::new(bytes::Bytes::new()))?;
    let response = server.handle(request, Some(Arc::new(User::new("admin", &[MASTERS])))).await;
    ensure!(response.status().is_success(), "the watch is refused: {}", response.status());
    Ok(response.into_body().into_data_stream().map_err(|error| anyhow!("{error}")).boxed())
}

/// Reads a watch until it has told of every pod.
async fn all_are_bound(mut watch: BoxStream<'static, Result<bytes::Bytes>>) -> Result<()> {
    const ADDED: &[u8] = br#"{"type":"ADDED""#;
    let (mut bound, mut line) = (0, Vec::new());
    while bound < PODS {
        let data = watch.next().await.context("the watch ended")??;
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            // No more of a line is looked at than its beginning.
            line.extend_from_slice(&piece[..piece.len().min(ADDED.len())]);
            if piece.ends_with(b"\n") {
                bound += usize::from(line.starts_with(ADDED));
                line.clear();
            }
        }
    }
    Ok(())
}

async fn serve(directory: &Path) -> Result<Server> {
    Server::new(Config::in_directory(directory)?).await
}

async fn make(server: &Server, objects: Vec<(String, Value)>) -> Result<()> {
    let admin = Arc::new(User::new("admin", &[MASTERS]));
    for chunk in objects.chunks(AT_ONCE) {
        let requests = chunk.iter().map(|(path, object)| {
            let request = Request::post(path).body(Full::new(bytes::Bytes::from(object.to_string())));
            let admin = admin.clone();
            async move { anyhow::Ok(server.handle(request?, Some(admin)).await.status()) }
        });
        for status in futures::future::try_join_all(requests).await? {
            ensure!(status.is_success(), "an object is refused: {status}");
        }
    }
    Ok(())
}
