//! The Node objects of hollow nodes: registration, status, and the end of those that are not wanted any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Decoded, EventType, Follower, NodeLease, Source, WorkQueue, follow, is_conflict};
use coracle_values::hollow;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::pods::Pods;
use super::{HollowNodes, Shared, taint};
use crate::eviction::Pressure;
use crate::node::{CHECK_PERIOD, REPORT_PERIOD};
use crate::node_object::{Registration, addresses, architecture, conditions, is_changed, labels, now, report};
use crate::retire;

/// Nodes that are worked on at the same time.
const WORKERS: usize = 32;
/// Resources of which every node tells.
const NONE: [&str; 2] = ["hugepages-1Gi", "hugepages-2Mi"];

/// A node that is registered.
pub(super) struct Registered {
    uid: Option<String>,
    /// None while it is being renewed.
    lease: Option<NodeLease>,
    reported: Instant,
}

/// All of them, by number.
pub(super) struct Nodes {
    shared: Arc<Shared>,
    pods: Arc<Pods>,
    /// Those that were there at the start: an earlier process made them.
    found: Mutex<HashSet<u32>>,
    listed: watch::Sender<bool>,
    queue: WorkQueue<u32>,
    /// Told how many are registered.
    told: watch::Sender<u32>,
}

impl Nodes {
    pub(super) fn new(shared: Arc<Shared>, pods: Arc<Pods>, told: watch::Sender<u32>) -> Arc<Nodes> {
        Arc::new(Nodes {
            shared,
            pods,
            found: Mutex::default(),
            listed: watch::Sender::new(false),
            queue: WorkQueue::new(),
            told,
        })
    }

    pub(super) fn name(&self, number: u32) -> String {
        self.shared.name(number)
    }

    /// How many there are to be.
    pub(super) fn count(&self) -> u32 {
        self.shared.wanted.borrow().count
    }

    /// Those that are registered.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.shared.registered.lock().keys().copied().collect()
    }

    /// Works until the future is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let source = Source {
            client: self.shared.account.clone(),
            url: "/api/v1/nodes".into(),
            labels: Some(format!("{}=true", hollow::LABEL)),
            fields: None,
            metadata_only: false,
        };
        let worker = self.clone();
        let work = coracle_client::run(self.queue.clone(), WORKERS, move |number| {
            let nodes = worker.clone();
            async move { nodes.reconcile(number).await }
        });
        tokio::join!(follow(&source, &*self), work, self.follow_wishes());
    }

    /// Looks at all nodes whenever something else is wanted.
    async fn follow_wishes(&self) {
        let mut wanted = self.shared.wanted.clone();
        // The sender is kept, so that waiting cannot fail.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
        loop {
            let count = wanted.borrow_and_update().count;
            // Known ones beyond the count are to go.
            let known = self.numbers();
            (1..=count).chain(known).for_each(|number| self.queue.add(number));
            if wanted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn tell_count(&self) {
        let count = u32::try_from(self.shared.registered.lock().len()).unwrap_or(u32::MAX);
        self.told.send_if_modified(|told| std::mem::replace(told, count) != count);
    }

    async fn reconcile(&self, number: u32) -> kube::Result<Option<Duration>> {
        let wanted = self.shared.wanted();
        if number > wanted.count {
            self.shared.registered.lock().remove(&number);
            remove(&self.shared.account, &self.name(number)).await?;
            self.tell_count();
            return Ok(None);
        }
        let api: Api<Node> = Api::all(self.shared.client_of(number));
        let is_found = self.found.lock().remove(&number);
        let is_known = is_found || self.shared.registered.lock().contains_key(&number);
        let Some(node) = self.current(&api, number, &wanted, is_known).await? else { return Ok(Some(REPORT_PERIOD)) };
        let old = serde_json::to_value(&node.status).map_err(kube::Error::SerdeError)?;
        let new = self.status(number, &wanted, &old);
        let due = |known: &Registered| known.uid != node.metadata.uid || known.reported.elapsed() >= REPORT_PERIOD;
        let force = self.shared.registered.lock().get(&number).map_or(!is_found, due);
        let reported = force || is_changed(&old, &new);
        let node = report(&api, &self.name(number), &node, (&old, &new), force).await?;
        self.taint(&node, wanted.tainted).await?;
        self.registered_as(number, &node, reported).await?;
        // A first report soon spreads the others, which would all come at once for ever.
        let part =
            if is_known && !is_found { REPORT_PERIOD } else { REPORT_PERIOD / 97 * (number % 97).saturating_add(1) };
        Ok(Some(part))
    }

    /// The object, which is made if there is none. None if it is another's.
    async fn current(
        &self,
        api: &Api<Node>,
        number: u32,
        wanted: &HollowNodes,
        is_known: bool,
    ) -> kube::Result<Option<Node>> {
        let name = self.name(number);
        if is_known && let Some(node) = api.get_opt(&name).await?.filter(is_own) {
            return Ok(Some(node));
        }
        let (provider_id, labels_of_all) = (provider_id(&name), [(hollow::LABEL.to_owned(), "true".to_owned())].into());
        let taints: Vec<Taint> = wanted.tainted.then(taint).into_iter().collect();
        let ranges = self.shared.config.families.iter().map(|family| hollow::range(*family, number).to_string());
        let registration = Registration {
            name: &name,
            labels: &labels_of_all,
            annotations: Default::default(),
            taints: &taints,
            provider_id: Some(&provider_id),
            ranges: Some(ranges.collect()),
        };
        let object =
            registration.object(&self.status(number, wanted, &Value::Null)).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &object).await {
            Ok(node) => return Ok(Some(node)),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        let node = api.get(&name).await?;
        if !is_own(&node) {
            tracing::warn!(node = name, "there is a node of this name that is not hollow: it is left alone");
            return Ok(None);
        }
        let labels = labels(&labels_of_all, &name);
        if labels.iter().all(|(key, value)| node.labels().get(key) == Some(value)) {
            return Ok(Some(node));
        }
        let patch = json!({"metadata": {"labels": labels}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(Some)
    }

    fn status(&self, number: u32, wanted: &HollowNodes, old: &Value) -> Value {
        let name = self.name(number);
        let mut capacity = json!(wanted.capacity);
        for resource in NONE.into_iter().filter(|resource| !wanted.capacity.contains_key(*resource)) {
            capacity[resource] = "0".into();
        }
        let known = old["conditions"].as_array().cloned().unwrap_or_default();
        let machine = format!("{number:032x}");
        json!({
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions(&Pressure::default(), None, &known, &now()),
            "addresses": addresses(&self.shared.addresses(number), &name),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": machine, "systemUUID": machine, "bootID": machine, "kernelVersion": "", "osImage": "hollow",
                "containerRuntimeVersion": "hollow://0", "kubeletVersion": self.shared.config.kubernetes_version,
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": architecture(),
            },
        })
    }

    /// Has the node the taint or not, of which its own user has no say once it is there.
    async fn taint(&self, node: &Node, wanted: bool) -> kube::Result<()> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let is_ours = |known: &Taint| known.key == hollow::TAINT;
        if taints.iter().any(is_ours) == wanted {
            return Ok(());
        }
        let kept = taints.into_iter().filter(|known| !is_ours(known));
        let all: Vec<Taint> = kept.chain(wanted.then(taint)).collect();
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": all}});
        let api: Api<Node> = Api::all(self.shared.account.clone());
        api.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Notes that a node is there, and gives it a lease if it is new.
    async fn registered_as(&self, number: u32, node: &Node, reported: bool) -> kube::Result<()> {
        let uid = node.metadata.uid.clone();
        {
            let mut registered = self.shared.registered.lock();
            if let Some(known) = registered.get_mut(&number).filter(|known| known.uid == uid) {
                if reported {
                    known.reported = Instant::now();
                }
                return Ok(());
            }
        }
        let name = self.name(number);
        let mut lease = NodeLease::new(&name, uid.clone());
        lease.renew(self.shared.client_of(number)).await?;
        let new = Registered { uid, lease: Some(lease), reported: Instant::now() };
        self.shared.registered.lock().insert(number, new);
        let told = format!("Node {name} status is now: NodeReady");
        self.shared.recorder.on_host(&name).event(node, EventType::Normal, "NodeReady", told);
        self.tell_count();
        self.pods.node_came(number);
        Ok(())
    }

    /// Renews the lease of a node.
    pub(super) async fn renew(&self, number: u32) -> kube::Result<()> {
        let taken = self
            .shared
            .registered
            .lock()
            .get_mut(&number)
            .and_then(|known| Some((known.uid.clone(), known.lease.take()?)));
        let Some((uid, mut lease)) = taken else { return Ok(()) };
        let renewed = lease.renew(self.shared.client_of(number)).await;
        // It may be another node's of this name by now.
        if let Some(known) = self.shared.registered.lock().get_mut(&number).filter(|known| known.uid == uid) {
            known.lease = Some(lease);
        }
        renewed
    }

    fn changed(&self, node: &Node) {
        let Some(number) = hollow::number(&self.shared.config.server, &node.name_any()) else { return };
        let wanted = self.shared.wanted();
        if number > wanted.count {
            return self.queue.add(number);
        }
        let known =
            self.shared.registered.lock().get(&number).map(|known| (known.uid.clone(), known.reported.elapsed()));
        let Some((uid, since)) = known else { return };
        let old = json!(node.status);
        let is_as_told = uid == node.metadata.uid && !is_changed(&old, &self.status(number, &wanted, &old));
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        let is_tainted = taints.into_iter().flatten().any(|known| known.key == hollow::TAINT);
        if !is_as_told || is_tainted != wanted.tainted {
            self.queue.add_after(number, CHECK_PERIOD.saturating_sub(since));
        }
    }
}

impl Follower for Nodes {
    type Object = Decoded<Node>;

    fn replace(&self, objects: Vec<Decoded<Node>>) {
        if !*self.listed.borrow() {
            let known = objects.iter().filter_map(|object| self.shared.number(&object.key().name));
            self.found.lock().extend(known);
        }
        objects.into_iter().for_each(|object| self.put(object));
        self.listed.send_replace(true);
        // Those that are gone are found by looking at all.
        self.numbers().into_iter().for_each(|number| self.queue.add(number));
    }

    fn put(&self, object: Decoded<Node>) {
        object.object().iter().for_each(|node| self.changed(node));
    }

    fn remove(&self, object: Decoded<Node>) {
        let name = object.key().name;
        if let Some(number) = self.shared.number(&name) {
            // It registers anew, as a kubelet does whose node was deleted.
            self.shared.registered.lock().remove(&number);
            self.tell_count();
            self.queue.add(number);
        }
    }
}

fn provider_id(name: &str) -> String {
    format!("coracle-hollow://{name}")
}

/// Whether a node was made by a server's hollow nodes: that cannot be said of it later.
fn is_own(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()) == Some(&provider_id(&node.name_any()))
}

async fn remove(client: &Client, name: &str) -> kube::Result<()> {
    match Api::<Node>::all(client.clone()).get_opt(name).await?.filter(is_own) {
        Some(node) => retire(client, &node).await,
        None => Ok(()),
    }
}

/// Removes the nodes that an earlier process of this server had, when there are to be none.
pub(super) async fn remove_left(server: &str, client: &Client) {
    let api: Api<Node> = Api::all(client.clone());
    let params = ListParams::default().labels(&format!("{}=true", hollow::LABEL));
    let left = async {
        for node in api.list(&params).await? {
            if hollow::number(server, &node.name_any()).is_some() && is_own(&node) {
                retire(client, &node).await?;
            }
        }
        kube::Result::Ok(())
    };
    if let Err(error) = left.await {
        tracing::warn!("hollow nodes of before are not all removed: {}", crate::message_of(&error));
    }
}
