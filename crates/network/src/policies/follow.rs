//! Policies, pods, namespaces and nodes as the API has them, and when each is watched: pods and namespaces from the first
//! policy on, nodes from the first one that names some.
//!
//! Kinds of administrators are custom resources. They are watched while they are defined, and known to be none while not.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use coracle_client::{Cached, Definitions, Event, Followed, Follower, Informer, Informers, ObjectKey, Source, follow};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::admin::{GROUP, Spec, VERSION};
use super::objects::{NamespaceObject, NodeObject, PodObject};
use super::policy::{Peer, Policy, PolicyKey};
use super::{Caches, Inbox};
use crate::mailbox::Mailbox;

/// What there is to watch for.
#[derive(Clone, Copy, Default)]
struct Seen {
    policy: bool,
    nodes: bool,
}

/// Tells of everything, for ever.
pub(super) async fn follow_all(inbox: &Arc<Mailbox<Inbox>>, client: Client, node: String) {
    let seen = Arc::new(watch::Sender::new(Seen::default()));
    let kept = |kind| Kept {
        kind,
        names: Mutex::default(),
        inbox: inbox.clone(),
        seen: seen.clone(),
        known: watch::Sender::new(false),
    };
    let (admin, baseline) = (kept(&ADMIN), kept(&BASELINE));
    let others = follow_others(inbox, client.clone(), node, &seen, [&admin, &baseline]);
    tokio::join!(admin.run(client.clone()), baseline.run(client), others);
}

async fn follow_others(
    inbox: &Arc<Mailbox<Inbox>>,
    client: Client,
    node: String,
    seen: &Arc<watch::Sender<Seen>>,
    admin: [&Kept; 2],
) {
    let informers = Informers::new(client);
    let policies = informers.all::<NetworkPolicy>();
    tell(inbox, &policies, |inbox| &mut inbox.policies);
    let first = seen.clone();
    policies.subscribe(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            see(&first, |seen| seen.policy = true);
        }
    });
    policies.synced().await;
    for kept in admin {
        kept.known().await;
    }
    let mut caches = Caches { node, policies: policies.store(), others: None, nodes: None };
    let mut wanted = seen.subscribe();
    if !wanted.borrow().policy {
        inbox.tell(|inbox| inbox.caches = Some(caches.clone()));
        let _ = wanted.wait_for(|seen| seen.policy).await;
    }
    let (pods, namespaces) = (informers.all::<PodObject>(), informers.all::<NamespaceObject>());
    tell(inbox, &pods, |inbox| &mut inbox.pods);
    tell(inbox, &namespaces, |inbox| &mut inbox.namespaces);
    pods.synced().await;
    namespaces.synced().await;
    caches.others = Some((pods.store(), namespaces.store()));
    if !wanted.borrow().nodes {
        inbox.tell(|inbox| inbox.caches = Some(caches.clone()));
        let _ = wanted.wait_for(|seen| seen.nodes).await;
    }
    let nodes = informers.all::<NodeObject>();
    tell(inbox, &nodes, |inbox| &mut inbox.nodes);
    nodes.synced().await;
    caches.nodes = Some(nodes.store());
    inbox.tell(|inbox| inbox.caches = Some(caches));
    std::future::pending().await
}

fn tell<K>(inbox: &Arc<Mailbox<Inbox>>, informer: &Informer<K>, which: fn(&mut Inbox) -> &mut HashSet<ObjectKey>)
where
    K: Cached,
{
    let inbox = inbox.clone();
    informer.subscribe(move |event| {
        let (Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object)) = event;
        inbox.tell(|inbox| {
            which(inbox).insert(ObjectKey::of(&**object));
        });
    });
}

fn see(seen: &watch::Sender<Seen>, what: impl FnOnce(&mut Seen)) {
    seen.send_modify(what);
}

/// A kind of administrators.
struct AdminKind {
    defined: [(&'static str, &'static str); 1],
    /// Which policy an object is, by its name, if it is one.
    key: fn(&str) -> Option<PolicyKey>,
    read: fn(&Spec, &str) -> Policy,
}

static ADMIN: AdminKind = AdminKind {
    defined: [("adminnetworkpolicies", VERSION)],
    key: |name| Some(PolicyKey::Admin(name.to_owned())),
    read: |spec, name| spec.admin(name),
};

static BASELINE: AdminKind = AdminKind {
    defined: [("baselineadminnetworkpolicies", VERSION)],
    key: |name| (name == "default").then_some(PolicyKey::Baseline),
    read: |spec, _| spec.baseline(),
};

/// An object of such a kind.
#[derive(Deserialize)]
struct AdminObject {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: Option<String>,
}

impl Followed for AdminObject {
    fn read(text: &str) -> serde_json::Result<AdminObject> {
        serde_json::from_str(text)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

/// The policies of a kind that the thread was told of.
struct Kept {
    kind: &'static AdminKind,
    names: Mutex<BTreeSet<String>>,
    inbox: Arc<Mailbox<Inbox>>,
    seen: Arc<watch::Sender<Seen>>,
    /// All that there were at first were told.
    known: watch::Sender<bool>,
}

impl Kept {
    async fn known(&self) {
        // The sender is here, so waiting cannot fail.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    async fn run(&self, client: Client) {
        let [(plural, version)] = self.kind.defined;
        let changed = Arc::new(Notify::new());
        let wake = changed.clone();
        let definitions = Definitions::follow(client.clone(), GROUP, &self.kind.defined, move || wake.notify_one());
        let url = format!("/apis/{GROUP}/{version}/{plural}");
        let source = Source { client, url, labels: None, fields: None, metadata_only: false };
        loop {
            if definitions.serves(plural) {
                let until_gone = async {
                    while definitions.serves(plural) {
                        changed.notified().await;
                    }
                };
                tokio::select! {
                    () = follow(&source, self) => {}
                    () = until_gone => {}
                }
            } else {
                if definitions.are_known() {
                    self.replace(Vec::new());
                }
                changed.notified().await;
            }
        }
    }

    fn tell(&self, name: &str, spec: Option<&Value>) {
        let Some(key) = (self.kind.key)(name) else {
            return tracing::warn!(name, "a BaselineAdminNetworkPolicy is called default: this one is left out");
        };
        let read = |spec: &Value| match Spec::deserialize(spec) {
            Ok(spec) => Some((self.kind.read)(&spec, name)),
            Err(error) => {
                tracing::error!(name, %error, "a policy of an administrator cannot be read: it is left out");
                None
            }
        };
        let policy = spec.and_then(read);
        let (exists, names_nodes) = (policy.is_some(), policy.as_ref().is_some_and(names_nodes));
        self.inbox.tell(|inbox| drop(inbox.admin.insert(key, policy)));
        see(&self.seen, |seen| {
            seen.policy |= exists;
            seen.nodes |= names_nodes;
        });
    }
}

fn names_nodes(policy: &Policy) -> bool {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    rules.flat_map(|rule| rule.peers.iter().flatten()).any(|peer| matches!(peer, Peer::Nodes(_)))
}

impl Follower for Kept {
    type Object = AdminObject;

    fn replace(&self, objects: Vec<AdminObject>) {
        let names = objects.iter().map(|object| object.metadata.name.clone()).collect();
        let before = std::mem::replace(&mut *self.names.lock(), names);
        for name in before.difference(&self.names.lock()) {
            self.tell(name, None);
        }
        for object in objects {
            self.tell(&object.metadata.name, Some(&object.spec));
        }
        self.known.send_replace(true);
    }

    fn put(&self, object: AdminObject) {
        self.tell(&object.metadata.name, Some(&object.spec));
        self.names.lock().insert(object.metadata.name);
    }

    fn remove(&self, object: AdminObject) {
        self.names.lock().remove(&object.metadata.name);
        self.tell(&object.metadata.name, None);
    }
}
