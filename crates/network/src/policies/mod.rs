//! Network policies, and those of administrators: who may begin a connection with whom, as nftables sets and chains.
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>
//! <https://network-policy-api.sigs.k8s.io/>
//!
//! [`follow`] watches, [`policy`] and [`admin`] read a policy, [`state`] keeps what follows from policies, pods and namespaces, and [`render`] says how that
//! stands in nftables. A thread of its own takes in what changed, all there is at once, and has the kernel take it over.
//!
//! # What is allowed
//! Policies are asked of what is forwarded, after services are translated and before sources are masqueraded. So the node
//! always reaches its own pods, with its probes, and they reach it, the cluster's DNS among the rest; a pod always reaches
//! itself. Policies of administrators can forbid pods to send to their node, all but DNS. A client that comes by a node port of another node is that node, unless the service's traffic policy keeps it.
//! Protocols without ports are allowed by rules without ports only.
//!
//! # Guarantees
//! A pod sends and receives nothing before its policies are in force: while it is not known whose the address of a sandbox
//! is, or what its namespace is, nothing but the node reaches it. The tables stay when the process ends, and are replaced as a whole once the next
//! one knows everything. Connections that were allowed end when a policy forbids them.

mod admin;
mod flows;
mod follow;
mod objects;
mod policy;
mod render;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use coracle_client::{ObjectKey, Store};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::mailbox::{CloseOnDrop, Mailbox};
use crate::netlink::Socket;
use crate::nft::{self, Batch, Family};
use objects::{NamespaceObject, NodeObject, PodObject};
use policy::{Policy, PolicyKey};
use render::{HELD, address_key};
use state::State;

pub(crate) use render::TABLE;

/// The service account in `kube-system` as which policies are followed.
pub const ACCOUNT: &str = "network-policy";
/// How long a kernel that refuses the tables is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a pod waits for its policies to be in force.
const PATIENCE: Duration = Duration::from_secs(60);

/// The network policies of a node.
pub struct Policies {
    mailbox: CloseOnDrop<Inbox>,
    /// Told when the thread ends, which it should not.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What the thread has not looked at yet: of objects which ones, so that it never is more than there are.
#[derive(Default)]
struct Inbox {
    pods: HashSet<ObjectKey>,
    namespaces: HashSet<ObjectKey>,
    policies: HashSet<ObjectKey>,
    nodes: HashSet<ObjectKey>,
    /// What became of policies of administrators.
    admin: HashMap<PolicyKey, Option<Policy>>,
    sandboxes: Vec<Sandbox>,
    /// Everything there is was listed.
    caches: Option<Caches>,
}

/// What became of the address of a sandbox.
enum Sandbox {
    /// It is that of a pod, or of one that started before this process; whoever waits is told when its policies are in force.
    Attached(IpAddr, Option<ObjectKey>, oneshot::Sender<()>),
    Detached(IpAddr),
}

/// What the API has.
#[derive(Clone)]
struct Caches {
    node: String,
    policies: Store<NetworkPolicy>,
    /// Only where there are policies.
    others: Option<(Store<PodObject>, Store<NamespaceObject>)>,
    /// Only where a policy names nodes.
    nodes: Option<Store<NodeObject>>,
}

impl Policies {
    /// Starts the thread, for pods with addresses of these families. What they ask the node at the address `dns` for names,
    /// no policy forbids. It ends with the last use of what is returned.
    ///
    /// # Errors
    /// There can be no thread or netlink socket, or the kernel refuses the table.
    pub fn start(families: &[Family], dns: IpAddr) -> Result<Arc<Policies>> {
        let mailbox = Arc::new(Mailbox::new());
        let (mut kernel, own) = (Kernel::open(families, Some(dns))?, mailbox.clone());
        let (running, ended) = oneshot::channel();
        let run = move || {
            let _running: oneshot::Sender<()> = running;
            while let Some(inbox) = own.next(kernel.refused.then_some(AGAIN)) {
                kernel.take_in(inbox);
            }
        };
        std::thread::Builder::new().name("network-policy".into()).spawn(run)?;
        Ok(Arc::new(Policies { mailbox: CloseOnDrop(mailbox), ended: Mutex::new(Some(ended)) }))
    }

    /// Has the address of a pod's sandbox follow its policies from now on; nothing of the pod may run before this returns.
    ///
    /// # Errors
    /// The policies ended, or the kernel does not take them over for long.
    pub async fn attached(&self, pod: ObjectKey, address: IpAddr) -> Result<()> {
        self.sandbox(Some(pod), address).await
    }

    /// As [`Policies::attached`], for a sandbox of an earlier process: whose it is, the API says.
    ///
    /// # Errors
    /// As there.
    pub async fn found(&self, address: IpAddr) -> Result<()> {
        self.sandbox(None, address).await
    }

    async fn sandbox(&self, pod: Option<ObjectKey>, address: IpAddr) -> Result<()> {
        let (sender, done) = oneshot::channel();
        self.mailbox.0.tell(|inbox| inbox.sandboxes.push(Sandbox::Attached(address, pod, sender)));
        let told = tokio::time::timeout(PATIENCE, done).await;
        told.ok().and_then(Result::ok).ok_or_else(|| anyhow!("the network policies are not in force"))
    }

    /// Nothing has the address any more.
    pub fn detached(&self, address: IpAddr) {
        self.mailbox.0.tell(|inbox| inbox.sandboxes.push(Sandbox::Detached(address)));
    }

    /// Follows the API as a user who may list and watch policies of all kinds, the definitions of those of administrators, pods,
    /// namespaces and nodes. Pods and namespaces are watched from the first policy on.
    ///
    /// # Errors
    /// The thread ended. Without an error it never returns.
    pub async fn run(self: Arc<Self>, client: Client, node: String) -> Result<()> {
        let ended = self.ended.lock().take();
        let ended = async {
            match ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = follow::follow_all(&self.mailbox.0, client, node) => Ok(()),
            () = ended => bail!("the thread of the network policies ended"),
        }
    }
}

/// What the thread has: the state, and the kernel that is to be as it.
pub(crate) struct Kernel {
    netfilter: Socket,
    route: Socket,
    state: State,
    caches: Option<Caches>,
    /// The kernel has not taken over the state.
    refused: bool,
    /// The table is this process's, so that it knows of no sandbox found.
    fresh: bool,
    /// New addresses that the kernel is still to hold.
    to_hold: BTreeSet<IpAddr>,
    /// Those who are told once the kernel has taken over the state.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Kernel {
    /// Tables of an earlier process stay until it is known what comes in their place.
    pub(crate) fn open(families: &[Family], dns: Option<IpAddr>) -> Result<Kernel> {
        let mut netfilter = Socket::netfilter()?;
        let mut state = State::new(families, dns);
        let mut fresh = true;
        for family in families {
            fresh &= !nft::table_exists(&mut netfilter, *family, TABLE)?;
        }
        if fresh {
            state.commit(&mut netfilter).context("failed to make the nftables table of network policies")?;
        }
        let (route, to_hold, waiting) = (Socket::route()?, BTreeSet::new(), Vec::new());
        Ok(Kernel { netfilter, route, state, caches: None, refused: false, fresh, to_hold, waiting })
    }

    fn take_in(&mut self, inbox: Inbox) {
        for sandbox in inbox.sandboxes {
            match sandbox {
                Sandbox::Attached(address, pod, done) => {
                    self.look_at(pod.iter());
                    // What an earlier process left has the policies of the pods that run already.
                    if self.caches.is_none() && (pod.is_some() || self.fresh) {
                        self.to_hold.insert(address);
                    }
                    self.state.attach(address, pod);
                    self.waiting.push(done);
                }
                Sandbox::Detached(address) => {
                    self.to_hold.remove(&address);
                    self.state.detach(address);
                }
            }
        }
        if let Some(caches) = inbox.caches {
            self.look_at_all(caches);
        }
        for (key, policy) in inbox.admin {
            self.state.set_policy(&key, policy);
        }
        self.look_at(inbox.pods.iter());
        if let Some(caches) = self.caches.clone() {
            for key in &inbox.policies {
                let policy = caches.policies.get_key(key).map(|object| Policy::read(&object));
                self.state.set_policy(&PolicyKey::Network(key.clone()), policy);
            }
            if let Some(nodes) = &caches.nodes {
                for key in &inbox.nodes {
                    self.state.set_node(&key.name, nodes.get_key(key).map(|object| object.seen()));
                }
            }
            if let Some((_, namespaces)) = &caches.others {
                for key in &inbox.namespaces {
                    self.state.set_namespace(&key.name, namespaces.get_key(key).map(|object| object.labels()));
                }
            }
            self.to_hold.clear();
            self.commit();
        } else {
            self.hold();
        }
        // A pod starts with its policies or not at all. Who waited may have given up.
        if self.refused {
            self.waiting.retain(|done| !done.is_closed());
        } else {
            for done in self.waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// A pod of a namespace without labels, without a cache that has them.
    pub(crate) fn set_pod(&mut self, pod: PodObject, node: &str) {
        let key = ObjectKey::of(&pod);
        self.state.set_namespace(&key.namespace, Some(BTreeMap::new()));
        self.state.set_pod(&key, pod.seen_from(node));
    }

    /// A policy, without a cache that has it.
    pub(crate) fn set_policy(&mut self, policy: &NetworkPolicy) {
        self.state.set_policy(&PolicyKey::Network(ObjectKey::of(policy)), Some(Policy::read(policy)));
    }

    /// What of these pods policies see.
    fn look_at<'a>(&mut self, pods: impl Iterator<Item = &'a ObjectKey>) {
        let Some(Caches { node, others: Some((store, _)), .. }) = self.caches.clone() else { return };
        for key in pods {
            self.state.set_pod(key, store.get_key(key).and_then(|object| object.seen_from(&node)));
        }
    }

    fn look_at_all(&mut self, caches: Caches) {
        if self.caches.is_none() {
            // The kernel has what an earlier process left, and addresses that were held since.
            self.state.renew();
        }
        if let Some((pods, namespaces)) = &caches.others {
            for object in namespaces.list() {
                self.state.set_namespace(&ObjectKey::of(&*object).name, Some(object.labels()));
            }
            for object in pods.list() {
                self.state.set_pod(&ObjectKey::of(&*object), object.seen_from(&caches.node));
            }
        }
        for object in caches.nodes.iter().flat_map(Store::list) {
            self.state.set_node(&ObjectKey::of(&*object).name, Some(object.seen()));
        }
        for object in caches.policies.list() {
            self.state.set_policy(&PolicyKey::Network(ObjectKey::of(&*object)), Some(Policy::read(&object)));
        }
        self.state.knows_pods(caches.others.is_some());
        self.caches = Some(caches);
    }

    /// Has what an earlier process left forward nothing of new addresses: their policies are not known yet.
    fn hold(&mut self) {
        let held = Family::ALL.into_iter().try_for_each(|family| {
            let own = self.to_hold.iter().filter(|address| Family::of(**address) == family);
            let keys: Vec<_> = own.map(|address| address_key(*address)).collect();
            let mut batch = Batch::of(family);
            batch.add_set_elements(TABLE, HELD, &keys);
            if keys.is_empty() { Ok(()) } else { batch.commit(&mut self.netfilter) }
        });
        self.took_over(held);
        if !self.refused {
            self.to_hold.clear();
        }
    }

    fn took_over(&mut self, result: std::io::Result<()>) {
        self.refused = result.is_err();
        if let Err(error) = result {
            tracing::error!(%error, "the kernel does not take over the network policies; it is tried again");
        }
    }

    fn commit(&mut self) {
        self.enforce();
        self.end_forbidden();
    }

    /// Has it take over what changed.
    pub(crate) fn enforce(&mut self) {
        let result = self.state.commit(&mut self.netfilter);
        self.took_over(result);
    }

    /// Ends the connections that came to be forbidden.
    pub(crate) fn end_forbidden(&mut self) {
        if !self.refused && self.state.take_narrowed() {
            let ended = flows::end_forbidden(&self.state, &mut self.netfilter, &mut self.route);
            if let Err(error) = ended {
                tracing::warn!(%error, "failed to end connections that network policies forbid");
            }
        }
    }
}

/// Removes the tables; that they are not there is no error.
pub(crate) fn remove(socket: &mut Socket) -> std::io::Result<()> {
    const ENOENT: i32 = 2;
    for family in Family::ALL {
        let mut batch = Batch::of(family);
        batch.delete_table(TABLE);
        match batch.commit(socket) {
            Err(error) if error.raw_os_error() != Some(ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
