//! The garbage collector: deletes what all owners of are gone, and carries out foreground deletion and orphaning.
//!
//! A graph of all objects is fed by the informers that other controllers have anyway, and by metadata-only watches
//! of every other deletable resource, custom ones included. The graph says where to look; whether an owner is
//! really gone is asked of the API before anything is deleted.

mod graph;
mod metadata;
mod monitor;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventRecorder, EventType, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use crate::common::Context;
use crate::discovery::Deletable;
use graph::{Action, FOREGROUND, Graph, Identity, ORPHAN, Type};
use metadata::Facts;

const WORKERS: usize = 10;
/// How soon what cannot be decided yet is looked at again; twice as long each time, up to the second.
const SOON: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

/// What the collector knows; shared by monitors and workers.
#[derive(Clone)]
struct Collector {
    client: Client,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<Action>,
    /// Resources by type.
    kinds: Arc<RwLock<HashMap<Type, Deletable>>>,
    /// How long what could not be decided waits, by UID.
    undecided: Arc<Mutex<HashMap<String, Duration>>>,
    recorder: EventRecorder,
}

/// How an owner stands.
enum Owner {
    Absent,
    /// It is being deleted and waits for its dependents.
    Waiting,
    Present,
    /// Its kind is not known (yet), so it may well exist.
    Unknown,
    /// It is in a namespace, and what names it in none: nothing can be said of it.
    OutOfReach,
}

/// Runs the collector until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let collector = Collector {
        client: context.client.clone(),
        graph: Arc::default(),
        queue: WorkQueue::named("garbage_collector_attempt_to_delete"),
        kinds: Arc::default(),
        undecided: Arc::default(),
        recorder: context.recorder("garbage-collector-controller"),
    };
    let monitors = monitor::start(&context, &collector).await;
    let workers = coracle_client::run(collector.queue.clone(), WORKERS, move |action| {
        let collector = collector.clone();
        async move {
            let outcome = match &action {
                Action::Check(uid) => {
                    collector.check(uid).await.inspect(|again| collector.decided(uid, again.is_none()))
                }
                Action::Orphan(uid) => collector.orphan(uid).await,
            };
            match outcome {
                Err(error) if is_conflict(&error) => Ok(Some(Duration::from_millis(50))),
                Err(error) if is_not_found(&error) => Ok(None),
                other => other,
            }
        }
    });
    tokio::select! {
        () = workers => Ok(()),
        ended = monitors => ended,
    }
}

impl Collector {
    fn observe(&self, id: Identity, facts: Facts<'_>) {
        let actions = self.graph.lock().observe(id, facts);
        self.act(actions);
    }

    fn forget(&self, uid: &str) {
        let actions = self.graph.lock().forget(uid);
        self.act(actions);
    }

    fn act(&self, actions: Vec<Action>) {
        actions.into_iter().for_each(|action| self.queue.add(action));
    }

    /// How long what cannot be decided yet waits.
    fn later(&self, uid: &str) -> Duration {
        let mut undecided = self.undecided.lock();
        let next = undecided.get(uid).map_or(SOON, |last| last.saturating_mul(2).min(SELDOM));
        undecided.insert(uid.to_owned(), next);
        next
    }

    fn decided(&self, uid: &str, is_decided: bool) {
        if is_decided {
            self.undecided.lock().remove(uid);
        }
    }

    /// What is known of a kind; `None` when it is not (yet).
    fn kind(&self, of: &Type) -> Option<Deletable> {
        let kinds = self.kinds.read();
        let group = |api_version: &str| api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let found = kinds.get(of).or_else(|| {
            // A reference may name another version of the kind.
            let wanted = group(&of.api_version);
            let is_wanted = |other: &Type| other.kind == of.kind && group(&other.api_version) == wanted;
            kinds.iter().find(|(of, _)| is_wanted(of)).map(|(_, found)| found)
        });
        found.cloned()
    }

    /// The API of an object; `None` when its kind is not known (yet).
    fn api(&self, id: &Identity) -> Option<Api<DynamicObject>> {
        Some(self.kind(&id.of)?.api(&self.client, &id.namespace))
    }

    /// Looks at one object: deletes it when none of its owners is there any more.
    async fn check(&self, uid: &str) -> kube::Result<Option<Duration>> {
        let Some(vertex) = self.graph.lock().get(uid).cloned() else { return Ok(None) };
        if vertex.deleting && !vertex.foreground {
            return Ok(None);
        }
        // Until the kind is discovered nothing can be said about its objects.
        let Some(api) = self.api(&vertex.id) else { return Ok(Some(self.later(uid))) };
        let live = api.get_metadata_opt(&vertex.id.name).await?.map(|found| found.metadata);
        let Some(mut live) = live.filter(|meta| meta.uid.as_deref() == Some(uid)) else {
            self.forget(uid);
            return Ok(None);
        };
        if vertex.is_virtual {
            // It exists; its own watch will bring it, unless there is none, or it goes before.
            return Ok(Some(self.later(uid)));
        }
        if vertex.foreground {
            return self.finish_foreground(uid, &api, &live).await;
        }
        let owners = live.owner_references.clone().unwrap_or_default();
        if owners.is_empty() || live.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let (mut present, mut waiting, mut stale) = (0, 0, Vec::new());
        for owner in &owners {
            match self.owner(owner, uid, &vertex.id).await? {
                Owner::Present | Owner::Unknown => present += 1,
                Owner::Waiting => {
                    waiting += 1;
                    stale.push(owner.uid.as_str());
                }
                Owner::Absent => stale.push(owner.uid.as_str()),
                Owner::OutOfReach => return Ok(None),
            }
        }
        if present > 0 {
            if !stale.is_empty() {
                self.drop_owners(&api, &live, &stale).await?;
            }
            return Ok(None);
        }
        if waiting > 0 && self.graph.lock().has_waiting_dependent(uid) {
            live = self.release_owners(&api, live).await?;
        }
        let finalizer = |name: &str| live.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        let policy = if waiting > 0 && !vertex.dependents.is_empty() || finalizer(FOREGROUND) {
            PropagationPolicy::Foreground
        } else if finalizer(ORPHAN) {
            PropagationPolicy::Orphan
        } else {
            PropagationPolicy::Background
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            // The version too: an owner that was just added must not be overlooked.
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: live.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        api.delete(&vertex.id.name, &params).await?;
        Ok(None)
    }

    /// Lets a foreground deletion go on once nothing blocks it.
    async fn finish_foreground(
        &self,
        uid: &str,
        api: &Api<DynamicObject>,
        live: &ObjectMeta,
    ) -> kube::Result<Option<Duration>> {
        let blockers = self.graph.lock().blockers(uid);
        if blockers.is_empty() {
            self.drop_finalizer(api, live, FOREGROUND).await?;
            return Ok(None);
        }
        let graph = self.graph.lock();
        let idle = blockers.into_iter().filter(|uid| graph.get(uid).is_some_and(|blocker| !blocker.deleting));
        let actions: Vec<Action> = idle.map(Action::Check).collect();
        drop(graph);
        self.act(actions);
        Ok(None)
    }

    /// How the owner of an object stands.
    async fn owner(&self, owner: &OwnerReference, uid: &str, of: &Identity) -> kube::Result<Owner> {
        let namespace = &of.namespace;
        let known = self.graph.lock().get(&owner.uid).filter(|vertex| !vertex.is_virtual).cloned();
        match known {
            Some(known) if known.is_meant(owner, namespace) => {
                return Ok(if known.foreground { Owner::Waiting } else { Owner::Present });
            }
            Some(known) if !known.id.namespace.is_empty() && known.id.namespace != *namespace => {
                self.report_namespace(owner, uid, of);
            }
            _ => {}
        }
        let id = Identity::of_owner(owner, namespace);
        let Some(found) = self.kind(&id.of) else { return Ok(Owner::Unknown) };
        if found.namespaced && namespace.is_empty() {
            self.report_namespace(owner, uid, of);
            return Ok(Owner::OutOfReach);
        }
        let live = found.api(&self.client, namespace).get_metadata_opt(&owner.name).await?;
        let live = live.map(|found| found.metadata).filter(|meta| meta.uid.as_deref() == Some(owner.uid.as_str()));
        if live.is_some() && self.graph.lock().link(owner, uid, namespace) {
            // Who looked for it elsewhere, as another reference said, may have forgotten who belongs to it.
            self.queue.add(Action::Check(owner.uid.clone()));
        }
        Ok(match live {
            None => Owner::Absent,
            Some(meta)
                if meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|f| f == FOREGROUND) =>
            {
                Owner::Waiting
            }
            Some(_) => Owner::Present,
        })
    }

    /// Tells whoever made an object that its owner cannot be where it says.
    fn report_namespace(&self, owner: &OwnerReference, dependent: &str, id: &Identity) {
        let OwnerReference { api_version, kind, name, uid, .. } = owner;
        let (of, namespace) = (&id.of, &id.namespace);
        let meant = format!("[{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}]");
        let text = format!("ownerRef {meant} does not exist in namespace {namespace:?}");
        let object = ObjectReference {
            api_version: Some(of.api_version.clone()),
            kind: Some(of.kind.clone()),
            namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(id.name.clone()),
            uid: Some(dependent.to_owned()),
            ..ObjectReference::default()
        };
        self.recorder.record(object, EventType::Warning, "OwnerRefInvalidNamespace", text);
    }

    /// Removes the references to an owner from all its dependents, then lets the owner go.
    async fn orphan(&self, uid: &str) -> kube::Result<Option<Duration>> {
        let Some(vertex) = self.graph.lock().get(uid).cloned() else { return Ok(None) };
        let Some(api) = self.api(&vertex.id) else { return Ok(None) };
        for dependent in &vertex.dependents {
            let Some(dependent) = self.graph.lock().get(dependent).cloned() else { continue };
            let Some(api) = self.api(&dependent.id) else { continue };
            if let Some(live) = api.get_metadata_opt(&dependent.id.name).await? {
                match self.drop_owners(&api, &live.metadata, &[uid]).await {
                    Err(error) if is_not_found(&error) => {}
                    other => other?,
                }
            }
        }
        let live = api.get_metadata_opt(&vertex.id.name).await?.map(|found| found.metadata);
        if let Some(live) = live.filter(|meta| meta.uid.as_deref() == Some(uid)) {
            self.drop_finalizer(&api, &live, ORPHAN).await?;
        }
        Ok(None)
    }

    async fn drop_owners(&self, api: &Api<DynamicObject>, live: &ObjectMeta, uids: &[&str]) -> kube::Result<()> {
        let owners = live.owner_references.clone().unwrap_or_default();
        let kept: Vec<&OwnerReference> = owners.iter().filter(|owner| !uids.contains(&owner.uid.as_str())).collect();
        if kept.len() == owners.len() {
            return Ok(());
        }
        self.patch_meta(api, live, json!({"ownerReferences": kept})).await.map(|_| ())
    }

    /// Lets owners go without waiting for this dependent, and returns it as it is then.
    async fn release_owners(&self, api: &Api<DynamicObject>, live: ObjectMeta) -> kube::Result<ObjectMeta> {
        let mut owners = live.owner_references.clone().unwrap_or_default();
        let blocking = owners.iter_mut().filter(|owner| owner.block_owner_deletion == Some(true));
        if blocking.map(|owner| owner.block_owner_deletion = Some(false)).count() == 0 {
            return Ok(live);
        }
        self.patch_meta(api, &live, json!({"ownerReferences": owners})).await
    }

    async fn drop_finalizer(&self, api: &Api<DynamicObject>, live: &ObjectMeta, name: &str) -> kube::Result<()> {
        let finalizers = live.finalizers.clone().unwrap_or_default();
        let kept: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != name).collect();
        if kept.len() == finalizers.len() {
            return Ok(());
        }
        self.patch_meta(api, live, json!({"finalizers": kept})).await.map(|_| ())
    }

    /// Merge-patches metadata of exactly the state that was read: lists are replaced whole.
    async fn patch_meta(
        &self,
        api: &Api<DynamicObject>,
        live: &ObjectMeta,
        mut change: serde_json::Value,
    ) -> kube::Result<ObjectMeta> {
        change["resourceVersion"] = json!(live.resource_version);
        change["uid"] = json!(live.uid);
        let name = live.name.clone().unwrap_or_default();
        let patch = json!({ "metadata": change });
        api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|patched| patched.metadata)
    }
}
