//! Pods bound by way of an API server in this process, to nodes that are objects only. A binding counts once it is on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use coracle_apiserver::auth::{MASTERS, User};
use coracle_apiserver::{Config, Server};
use coracle_client::{Election, Event, Informers, in_process};
use coracle_scheduler::SchedulerConfiguration;
use http::Request;
use http_body_util::Full;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

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
    // Who asks again and again would slow down what is measured.
    let informer = Informers::new(in_process(server.service(User::new("admin", &[MASTERS])))).all::<Pod>();
    let (bound, all) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
    let told = all.clone();
    informer.subscribe(move |event| {
        let is_bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        if let Event::Updated { old, new } = event
            && is_bound(new)
            && !is_bound(old)
        {
            let mut bound = bound.lock();
            *bound += 1;
            if *bound == PODS {
                told.notify_one();
            }
        }
    });
    informer.synced().await;
    let config = coracle_scheduler::Config {
        election: Election::default(),
        identity: "bench".into(),
        scheduler: SchedulerConfiguration::default(),
    };
    let client = in_process(server.service(User::new("system:kube-scheduler", &[])));
    let start = Instant::now();
    let scheduler = tokio::spawn(coracle_scheduler::run(client, config));
    tokio::time::timeout(PATIENCE, all.notified()).await?;
    scheduler.abort();
    Ok(start.elapsed())
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
