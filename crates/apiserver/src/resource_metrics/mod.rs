//! `metrics.k8s.io`, which `kubectl top` and autoscalers ask, with nothing installed. Kubelets are asked when somebody wants to
//! know, and not again for some seconds. Whoever brings a metrics server puts its service into the group's APIService, and is
//! asked instead.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/>

mod kinds;
mod page;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use coracle_api::Kind;
use coracle_api::status::Status;
use futures::future::{BoxFuture, join_all};
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::kubelet::{Client, Kubelet};
use crate::storage::{Storage, core, key};
use crate::upload::Upload;
use page::Page;

pub(crate) use kinds::{GROUP, api_service, kinds};

/// How long nobody is asked again, a little less than autoscalers wait.
const RESOLUTION: Duration = Duration::from_secs(10);
/// A page from before that says nothing of how much is used now. Then two are read, a moment apart.
const STALE: Duration = Duration::from_secs(90);
const MOMENT: Duration = Duration::from_secs(1);
/// How long a kubelet may take, how many are asked at once, and the bytes of a page.
const DEADLINE: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 64;
const MAX_PAGE: usize = 8 << 20;

/// What is known of the usage of nodes.
#[derive(Default)]
pub(crate) struct ResourceMetrics {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When kubelets were asked last.
    asked: Option<Instant>,
    /// The newest page of each node.
    pages: HashMap<String, Page>,
}

/// A node that is asked.
struct Node {
    name: String,
    kubelet: Kubelet,
    labels: Value,
}

impl ResourceMetrics {
    /// Brings up to date what is shown of the kinds of the group. A node that does not answer is left out.
    ///
    /// # Errors
    /// Nodes or pods cannot be read.
    pub async fn refresh(&self, storage: &Storage, kubelet: &Client) -> Result<(), Status> {
        let mut known = self.known.lock().await;
        let age = known.asked.map(|asked| asked.elapsed());
        if age.is_some_and(|age| age < RESOLUTION) {
            return Ok(());
        }
        let nodes = nodes(storage)?;
        let mut before = std::mem::take(&mut known.pages);
        if age.is_none_or(|age| age > STALE) {
            before.clear();
        }
        let mut after = ask(kubelet, &nodes.iter().collect::<Vec<_>>()).await;
        let news: Vec<&Node> =
            nodes.iter().filter(|node| after.contains_key(&node.name) && !before.contains_key(&node.name)).collect();
        if !news.is_empty() {
            tokio::time::sleep(MOMENT).await;
            for (name, page) in ask(kubelet, &news).await {
                if let Some(first) = after.insert(name.clone(), page) {
                    before.insert(name, first);
                }
            }
        }
        let [of_nodes, of_pods] = kinds_of(storage);
        let (mut shown, mut pods) = (Vec::new(), Vec::new());
        let cache = storage.cache(core("pods"))?;
        for node in &nodes {
            let (Some(before), Some(after)) = (before.get(&node.name), after.get(&node.name)) else { continue };
            if let Some(usage) = usage::of_node(before, after) {
                shown.push((node.name.clone(), usage::node_object(&node.name, &node.labels, &usage)));
            }
            for ((namespace, name), containers) in usage::of_pods(before, after) {
                let key = key(Some(&namespace), &name);
                let Some(pod) = cache.get(&key)?.map(|pod| pod.value()) else { continue };
                // A node tells of its own pods only.
                if pod["spec"]["nodeName"] != node.name {
                    continue;
                }
                let labels = &pod["metadata"]["labels"];
                pods.extend(usage::pod_object(&namespace, &name, labels, &containers).map(|object| (key, object)));
            }
        }
        for (kind, objects) in [(of_nodes, shown), (of_pods, pods)] {
            // Gone when a definition took the name of the group for itself.
            if let Some(kind) = kind {
                storage.cache(&kind)?.show(objects);
            }
        }
        *known = Known { asked: Some(Instant::now()), pages: after };
        Ok(())
    }
}

/// Whether a kind shows what is used.
pub(crate) fn is_of(kind: &Kind) -> bool {
    kind.group == GROUP && kind.def().is_none()
}

fn kinds_of(storage: &Storage) -> [Option<Arc<Kind>>; 2] {
    let registry = storage.kinds.look();
    ["nodes", "pods"].map(|plural| registry.by_resource(GROUP, "v1beta1", plural).cloned())
}

fn nodes(storage: &Storage) -> Result<Vec<Node>, Status> {
    let snapshot = storage.cache(core("nodes"))?.snapshot();
    let all = snapshot.range("", None).filter_map(|object| {
        let value = object.value();
        // One without an address is not reached, and has nothing to tell.
        let kubelet = Kubelet::of(&value).ok()?;
        Some(Node { name: object.name().to_owned(), kubelet, labels: value["metadata"]["labels"].clone() })
    });
    Ok(all.collect())
}

/// Asks nodes side by side, each for its page.
async fn ask(kubelet: &Client, nodes: &[&Node]) -> HashMap<String, Page> {
    let page = |node: &Node| -> BoxFuture<'_, Option<(String, Page)>> {
        let (name, at) = (node.name.clone(), node.kubelet.clone());
        Box::pin(async move {
            match tokio::time::timeout(DEADLINE, read(kubelet, &at)).await {
                Ok(Ok(page)) => return Some((name, page)),
                Ok(Err(error)) => tracing::debug!(node = name, "the kubelet does not tell what is used: {error:#}"),
                Err(_) => tracing::debug!(node = name, "the kubelet does not tell what is used in {DEADLINE:?}"),
            }
            None
        })
    };
    let mut pages = HashMap::new();
    for some in nodes.chunks(AT_ONCE) {
        pages.extend(join_all(some.iter().map(|node| page(node))).await.into_iter().flatten());
    }
    pages
}

async fn read(client: &Client, kubelet: &Kubelet) -> anyhow::Result<Page> {
    let mut request = Request::get("/metrics/resource").body(Upload::default())?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&kubelet.address.to_string())?);
    let response = client.send(kubelet, request).await?;
    let (status, received) = (response.status(), Timestamp::now());
    ensure!(status.is_success(), "it answers {status}");
    let body = Limited::new(response.into_body(), MAX_PAGE).collect().await;
    let bytes = body.map_err(|error| anyhow::anyhow!(error)).context("the page breaks off")?.to_bytes();
    Ok(page::parse(&String::from_utf8_lossy(&bytes), received))
}
