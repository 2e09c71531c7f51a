//! Putting the kubelet together.

use std::sync::Arc;

use anyhow::{Context, Result};
use coracle_client::{EventRecorder, Informer, observed, user_agent};
use coracle_runtime::cri::{ImageService, RuntimeService};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Client;
use kube::api::Api;
use tokio::task::JoinSet;

use crate::certificates::Kept;
use crate::config::KubeletConfig;
use crate::eviction::Pressure;
use crate::images::ImageManager;
use crate::kubelet::Kubelet;
use crate::metrics::{Metrics, Shared};
use crate::objects::Objects;
use crate::observed_runtime::ObservedRuntime;
use crate::pods::Pods;
use crate::shutdown::Shutdown;
use crate::stats::disk::Disks;
use crate::volumes::state::State;
use crate::volumes::token::Tokens;
use crate::volumes::{VolumeManager, make_private};
use crate::worker::Message;
use crate::{eviction, gc, image_gc, node, server, shutdown};

/// Runs the node agent until `shutdown` answers with how the node is to end; then its containers do, hooks first.
/// One that is dropped leaves them running, and the next start finds them.
///
/// # Errors
/// When its directories or its server's port cannot be had, or a certificate is malformed.
pub fn run(
    config: KubeletConfig,
    client: Client,
    runtime: Arc<dyn RuntimeService>,
    images: Arc<dyn ImageService>,
    shutdown: impl Future<Output = Shutdown> + Send + 'static,
) -> BoxFuture<'static, Result<()>> {
    Box::pin(agent(config, client, runtime, images, Box::pin(shutdown)))
}

async fn agent(
    config: KubeletConfig,
    client: Client,
    runtime: Arc<dyn RuntimeService>,
    images: Arc<dyn ImageService>,
    shutdown: BoxFuture<'static, Shutdown>,
) -> Result<()> {
    let metrics = Shared::new(Metrics::default());
    let counts = metrics.clone();
    let seen = move |method: &_, status, after| counts.answered(method, status, after);
    let client = observed(user_agent(client, "kubelet"), seen);
    let made = |dir: &std::path::Path| format!("failed to make the kubelet's directory {}", dir.display());
    for dir in [config.root_dir.clone(), config.root_dir.join("pods")] {
        make_private(&dir).with_context(|| made(&dir))?;
    }
    std::fs::create_dir_all(&config.log_dir).with_context(|| made(&config.log_dir))?;
    for dir in [&config.root_dir.join("pods"), &config.log_dir] {
        coracle_runtime::tree::spread(dir);
    }
    let mut tasks = JoinSet::new();
    if config.server_tls_bootstrap {
        let serving = Kept::serving(&config);
        let was_asked_for = serving.load();
        tasks.spawn(serving.keep(client.clone(), was_asked_for));
    }
    if let Some(certificate) = &config.client_certificate {
        let kept = Kept::client(&config.root_dir, &config.node_name, certificate.clone());
        tasks.spawn(kept.keep(client.clone(), true));
    }
    let runtime = ObservedRuntime::new(runtime, metrics.clone());
    let (listener, acceptor) = server::listen(&config).await?;
    let port = listener.local_addr()?.port();
    let recorder = EventRecorder::new(client.clone(), "kubelet", &config.node_name);
    let pods = Arc::new(Pods::default());
    let told = pods.clone();
    let changed: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |uid| told.send(uid, Message::VolumesChanged));
    let (_, allocatable) = node::resources(&config);
    let this_node = format!("metadata.name={}", config.node_name);
    let nodes: Informer<Node> = Informer::with_selectors(Api::all(client.clone()), None, Some(this_node), Vec::new());
    let services: Informer<Service> = Informer::new(Api::all(client.clone()));
    let root = config.root_dir.clone();
    let state = tokio::task::spawn_blocking(move || State::reconstruct(&root)).await?.counted_by(metrics.clone());
    let volumes = VolumeManager {
        client: client.clone(),
        root_dir: config.root_dir.clone(),
        state: Arc::new(state),
        config_maps: Objects::new(client.clone(), changed.clone()),
        secrets: Objects::new(client.clone(), changed),
        tokens: Tokens::new(client.clone()),
        host_ips: config.node_ips(),
        allocatable: allocatable.clone(),
    };
    let on_this_node = format!("spec.nodeName={}", config.node_name);
    let wanted: Informer<Pod> =
        Informer::with_selectors(Api::all(client.clone()), None, Some(on_this_node), Vec::new());
    let reviews = server::Reviews::new(client.clone(), &config.node_name);
    let kubelet = Arc::new(Kubelet {
        images: ImageManager::new(images, recorder.clone()),
        config,
        client,
        volumes,
        recorder,
        services,
        nodes,
        pods: pods.clone(),
        reviews,
        disks: Disks::default(),
        rates: server::Rates::default(),
        started: jiff::Timestamp::now(),
        pressure: Pressure::default(),
        known_images: image_gc::Known::default(),
        metrics: metrics.clone(),
        allocatable,
        memory: node::memory(),
        runtime,
    });
    pods.attach(&kubelet);
    // Events are followed before pods are known, so that none is missed.
    tasks.spawn(pods.clone().follow(kubelet.runtime.container_events()));
    wanted.subscribe(move |event| pods.on_event(event));
    kubelet.services.start();
    kubelet.nodes.start();
    wanted.start();
    let name = kubelet.config.node_name.clone();
    tasks.spawn(node::run(kubelet.clone(), port, move || tracing::info!(node = name, "the node is registered")));
    tasks.spawn(server::serve(kubelet.clone(), listener, acceptor));
    tasks.spawn(eviction::run(kubelet.clone()));
    tasks.spawn(image_gc::run(kubelet.clone()));
    let (synced, garbage) = (wanted.clone(), kubelet.clone());
    tasks.spawn(async move {
        synced.synced().await;
        garbage.pods.set_listed();
        gc::run(garbage).await;
    });
    let how = shutdown.await;
    tasks.shutdown().await;
    shutdown::run(&kubelet, how).await;
    Ok(())
}
