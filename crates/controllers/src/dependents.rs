//! What a workload controller hears of the objects that it owns, or could own: they queue their owner, and tell what
//! was expected of them.

use std::sync::Arc;

use coracle_client::{Cached, Event, Informer, ObjectKey, Store, WorkQueue};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use kube::{Resource, ResourceExt};

use crate::common::{controller_of, is_deleting, namespace_of, resolve, selector_is_empty, selector_of, uid};
use crate::expectations::Expectations;

/// A kind that owns the objects that its selector matches.
pub(crate) trait Owner: Cached<Scope = NamespaceResourceScope> {
    /// `None` matches nothing: an empty selector is not valid, and takes no hostages.
    fn selector(&self) -> Option<Selector>;
}

fn not_empty(selector: &LabelSelector) -> Option<Selector> {
    if selector_is_empty(selector) { None } else { selector_of(selector) }
}

macro_rules! owners {
    ($($kind:ty),*) => {$(
        impl Owner for $kind {
            fn selector(&self) -> Option<Selector> {
                not_empty(&self.spec.as_ref()?.selector)
            }
        }
    )*};
}

owners!(DaemonSet, Deployment, ReplicaSet, StatefulSet);

impl Owner for ReplicationController {
    fn selector(&self) -> Option<Selector> {
        let labels = self.spec.as_ref()?.selector.clone();
        not_empty(&LabelSelector { match_labels: labels, match_expressions: None })
    }
}

/// The owners of one kind, and what they await of their objects. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dependents<O: Owner> {
    owners: Store<O>,
    queue: WorkQueue<ObjectKey>,
    expectations: Arc<Expectations>,
}

impl<O: Owner> Dependents<O> {
    /// Queues every owner that comes, changes or goes. Of one that is gone nothing is expected any more, whoever has its
    /// name next.
    pub fn of(owners: &Informer<O>, queue: &WorkQueue<ObjectKey>, expectations: &Arc<Expectations>) -> Dependents<O> {
        let dependents =
            Dependents { owners: owners.store(), queue: queue.clone(), expectations: expectations.clone() };
        let d = dependents.clone();
        owners.subscribe(move |event| {
            let gone = match event {
                Event::Added(_) => false,
                Event::Updated { old, new } => uid(&**old) != uid(&**new),
                Event::Deleted(_) => true,
            };
            let (Event::Added(owner) | Event::Updated { new: owner, .. } | Event::Deleted(owner)) = event;
            let key = ObjectKey::of(&**owner);
            if gone {
                d.expectations.forget(&key);
            }
            d.queue.add(key);
        });
        dependents
    }

    /// Queues an owner whenever an object that it owns, or may adopt, comes, changes or goes. An object whose deletion
    /// has begun counts as gone.
    pub fn follow<K>(&self, objects: &Informer<K>) -> &Dependents<O>
    where
        K: Cached,
    {
        let dependents = self.clone();
        objects.subscribe(move |event| match event {
            Event::Added(object) if is_deleting(&**object) => dependents.deleted(&**object),
            Event::Added(object) => dependents.added(&**object),
            Event::Updated { old, new } => dependents.updated(&**old, &**new),
            Event::Deleted(object) => dependents.deleted(&**object),
        });
        self
    }

    fn owner_of<K: Resource>(&self, object: &K) -> Option<ObjectKey> {
        let owner = resolve(&self.owners, namespace_of(object), controller_of(object.meta())?)?;
        Some(ObjectKey::of(&*owner))
    }

    fn added<K: Resource>(&self, object: &K) {
        if let Some(key) = self.owner_of(object) {
            self.expectations.creation_observed(&key);
            self.queue.add(key);
        } else if controller_of(object.meta()).is_none() {
            self.queue_adopters(object);
        }
    }

    fn updated<K: Resource>(&self, old: &K, new: &K) {
        if is_deleting(new) && !is_deleting(old) {
            return self.deleted(new);
        }
        let (before, after) = (controller_of(old.meta()), controller_of(new.meta()));
        if before != after
            && let Some(key) = self.owner_of(old)
        {
            self.queue.add(key);
        }
        if let Some(key) = self.owner_of(new) {
            self.queue.add(key);
        } else if after.is_none() && (before.is_some() || old.labels() != new.labels()) {
            self.queue_adopters(new);
        }
    }

    fn deleted<K: Resource>(&self, object: &K) {
        if let Some(key) = self.owner_of(object) {
            self.expectations.deletion_observed(&key, uid(object));
            self.queue.add(key);
        }
    }

    fn queue_adopters<K: Resource>(&self, object: &K) {
        for owner in self.owners.list_namespace(namespace_of(object)) {
            if owner.selector().is_some_and(|selector| selector.matches(object.labels())) {
                self.queue.add(ObjectKey::of(&*owner));
            }
        }
    }
}
