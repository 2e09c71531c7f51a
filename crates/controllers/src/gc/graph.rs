//! Who owns whom, by UID.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coracle_client::shrink;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ApiResource;

use super::metadata::Facts;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// What an object is, and its references say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Type {
    pub api_version: String,
    pub kind: String,
}

impl Type {
    /// That of a resource's objects.
    pub fn of(resource: &ApiResource) -> Type {
        Type { api_version: resource.api_version.clone(), kind: resource.kind.clone() }
    }
}

/// What finds an object in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Shared by all objects of a type.
    pub of: Arc<Type>,
    pub namespace: String,
    pub name: String,
}

impl Identity {
    /// An object that is known from a reference to it.
    pub fn of_owner(owner: &OwnerReference, namespace: &str) -> Identity {
        let of = Type { api_version: owner.api_version.clone(), kind: owner.kind.clone() };
        Identity { of: Arc::new(of), namespace: namespace.to_owned(), name: owner.name.clone() }
    }
}

/// One object, as far as garbage collection cares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vertex {
    pub id: Identity,
    pub owners: Vec<OwnerReference>,
    pub dependents: HashSet<String>,
    pub deleting: bool,
    /// It is being deleted once its dependents are gone.
    pub foreground: bool,
    /// Its dependents are to be orphaned before it goes.
    pub orphan: bool,
    /// Known from a reference only; the object itself was not seen yet.
    pub is_virtual: bool,
}

impl Vertex {
    /// Whether a reference in an object of a namespace can mean it: one to an object of another namespace is not valid.
    pub fn is_meant(&self, owner: &OwnerReference, namespace: &str) -> bool {
        self.id.name == owner.name && (self.id.namespace.is_empty() || self.id.namespace == namespace)
    }
}

/// What a change of the graph calls for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// See whether the object should go.
    Check(String),
    /// Orphan its dependents.
    Orphan(String),
}

#[derive(Debug, Default)]
pub(crate) struct Graph(HashMap<String, Box<Vertex>>);

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Vertex> {
        self.0.get(uid).map(|vertex| &**vertex)
    }

    /// The UIDs of a type's objects that are not among those that are there.
    pub fn missing(&self, of: &Type, live: &HashSet<&str>) -> Vec<String> {
        let of_type = self.0.iter().filter(|(_, vertex)| !vertex.is_virtual && *vertex.id.of == *of);
        of_type.map(|(uid, _)| uid).filter(|uid| !live.contains(uid.as_str())).cloned().collect()
    }

    /// Takes in an object's state. Objects without owners, dependents or finalizers cost a vertex too, for they
    /// may become owners.
    pub fn observe(&mut self, id: Identity, facts: Facts<'_>) -> Vec<Action> {
        let (uid, owners) = (facts.uid, facts.owners);
        if uid.is_empty() {
            return Vec::new();
        }
        let waits = |name: &str| facts.deleting && facts.finalizers.iter().any(|finalizer| finalizer == name);
        let (foreground, orphan) = (waits(FOREGROUND), waits(ORPHAN));
        if !self.0.contains_key(uid) {
            self.0.insert(uid.to_owned(), Box::default());
        }
        let Some(vertex) = self.0.get_mut(uid) else { return Vec::new() };
        let (begins_foreground, begins_orphan) = (foreground && !vertex.foreground, orphan && !vertex.orphan);
        let appears = std::mem::replace(&mut vertex.is_virtual, false);
        vertex.deleting = facts.deleting;
        vertex.foreground = foreground;
        vertex.orphan = orphan;
        let before = (vertex.owners != owners).then(|| std::mem::replace(&mut vertex.owners, owners.to_vec()));
        let mut last = Vec::new();
        if begins_orphan {
            last.push(Action::Orphan(uid.to_owned()));
        }
        if begins_foreground {
            last.extend(vertex.dependents.iter().cloned().map(Action::Check));
            last.push(Action::Check(uid.to_owned()));
        }
        let namespace = before.as_ref().map(|_| id.namespace.clone()).unwrap_or_default();
        vertex.id = id;
        let mut actions = if appears { self.strangers(uid) } else { Vec::new() };
        if let Some(before) = before {
            for owner in before.iter().filter(|old| !owners.iter().any(|new| new.uid == old.uid)) {
                self.unlink(&owner.uid, uid, &mut actions);
            }
            for owner in owners {
                // An owner that no longer waits for this object may be done waiting.
                let unblocked = before.iter().any(|old| {
                    old.uid == owner.uid
                        && old.block_owner_deletion == Some(true)
                        && owner.block_owner_deletion != Some(true)
                });
                if self.link(owner, uid, &namespace) || unblocked {
                    actions.push(Action::Check(owner.uid.clone()));
                }
                if self.get(&owner.uid).is_some_and(|found| !found.is_virtual && !found.is_meant(owner, &namespace)) {
                    actions.push(Action::Check(uid.to_owned()));
                }
            }
            let waited_for = owners.iter().any(|owner| self.0.get(&owner.uid).is_some_and(|owner| owner.foreground));
            if !before.is_empty() || waited_for {
                actions.push(Action::Check(uid.to_owned()));
            }
        }
        actions.extend(last);
        actions
    }

    /// The checks of the dependents whose references say the vertex' UID but mean nothing that is there.
    fn strangers(&self, uid: &str) -> Vec<Action> {
        let Some(vertex) = self.get(uid) else { return Vec::new() };
        let is_stranger = |dependent: &&String| {
            self.get(dependent).is_some_and(|found| {
                let mut own = found.owners.iter().filter(|owner| owner.uid == uid);
                own.any(|owner| !vertex.is_meant(owner, &found.id.namespace))
            })
        };
        vertex.dependents.iter().filter(is_stranger).cloned().map(Action::Check).collect()
    }

    /// Makes `dependent` known to its owner; says whether the owner is not known itself.
    pub fn link(&mut self, owner: &OwnerReference, dependent: &str, namespace: &str) -> bool {
        let vertex = self.0.entry(owner.uid.clone()).or_insert_with(|| {
            Box::new(Vertex { id: Identity::of_owner(owner, namespace), is_virtual: true, ..Vertex::default() })
        });
        vertex.dependents.insert(dependent.to_owned());
        vertex.is_virtual
    }

    fn unlink(&mut self, owner: &str, dependent: &str, actions: &mut Vec<Action>) {
        if let Some(vertex) = self.0.get_mut(owner) {
            vertex.dependents.remove(dependent);
            if vertex.foreground {
                actions.push(Action::Check(owner.to_owned()));
            }
            if vertex.is_virtual && vertex.dependents.is_empty() {
                self.0.remove(owner);
            }
        }
    }

    /// Forgets an object that is gone: its dependents are checked, and owners that waited for it.
    pub fn forget(&mut self, uid: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(vertex) = self.0.remove(uid) else { return actions };
        shrink(&mut self.0);
        for owner in &vertex.owners {
            self.unlink(&owner.uid, uid, &mut actions);
        }
        actions.extend(vertex.dependents.into_iter().map(Action::Check));
        actions
    }

    /// Dependents that hold up the deletion of an owner.
    pub fn blockers(&self, uid: &str) -> Vec<String> {
        let Some(vertex) = self.0.get(uid) else { return Vec::new() };
        let blocks = |dependent: &&String| {
            self.0.get(*dependent).is_some_and(|dependent| {
                dependent.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
            })
        };
        vertex.dependents.iter().filter(blocks).cloned().collect()
    }

    /// Whether a dependent of it is being deleted and waits for its own dependents. Where objects own each other in
    /// a circle, one that is asked to go after its dependents may be what those wait for.
    pub fn has_waiting_dependent(&self, uid: &str) -> bool {
        let waits = |dependent: &String| self.0.get(dependent).is_some_and(|dependent| dependent.foreground);
        self.0.get(uid).is_some_and(|vertex| vertex.dependents.iter().any(waits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    fn observe(graph: &mut Graph, meta: &ObjectMeta) -> Vec<Action> {
        graph.observe(Identity { name: "o".into(), ..Identity::default() }, meta.into())
    }

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn owned(uid: &str, owner: &str) -> ObjectMeta {
        meta(json!({"uid": uid, "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": owner,
            "blockOwnerDeletion": true}]}))
    }

    #[test]
    fn an_unknown_owner_is_checked_and_dependents_when_it_goes() {
        let mut graph = Graph::default();
        assert_eq!(observe(&mut graph, &owned("d", "o")), [Action::Check("o".into())]);
        assert!(graph.get("o").unwrap().is_virtual);
        assert!(observe(&mut graph, &meta(json!({"uid": "o"}))).is_empty());
        assert!(!graph.get("o").unwrap().is_virtual);
        assert_eq!(graph.forget("o"), [Action::Check("d".into())]);
    }

    #[test]
    fn what_names_an_owner_of_another_namespace_is_checked() {
        let id = |namespace: &str| Identity { name: "o".into(), namespace: namespace.into(), ..Identity::default() };
        let (owner, dependent) = (meta(json!({"uid": "o"})), owned("d", "o"));
        for (of_owner, of_dependent, checked) in
            [("a", "a", false), ("", "a", false), ("", "", false), ("a", "b", true), ("a", "", true)]
        {
            let checks = |actions: Vec<Action>| actions.contains(&Action::Check("d".into()));
            let mut graph = Graph::default();
            graph.observe(id(of_owner), (&owner).into());
            assert_eq!(checks(graph.observe(id(of_dependent), (&dependent).into())), checked, "the owner first");
            let mut graph = Graph::default();
            graph.observe(id(of_dependent), (&dependent).into());
            assert_eq!(checks(graph.observe(id(of_owner), (&owner).into())), checked, "the owner last");
        }
    }

    #[test]
    fn foreground_deletion_checks_dependents_and_then_the_owner() {
        let mut graph = Graph::default();
        observe(&mut graph, &meta(json!({"uid": "o"})));
        observe(&mut graph, &owned("d", "o"));
        let deleting = meta(json!({"uid": "o", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": [FOREGROUND]}));
        assert_eq!(observe(&mut graph, &deleting), [Action::Check("d".into()), Action::Check("o".into())]);
        assert_eq!(graph.blockers("o"), ["d"]);
        assert_eq!(graph.forget("d"), [Action::Check("o".into())]);
        assert!(graph.blockers("o").is_empty());
    }

    #[test]
    fn a_circle_closes_where_a_dependent_waits_already() {
        let mut graph = Graph::default();
        for (uid, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
            observe(&mut graph, &owned(uid, owner));
        }
        let mut deleting = owned("a", "c");
        deleting.deletion_timestamp = meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})).deletion_timestamp;
        deleting.finalizers = Some(vec![FOREGROUND.into()]);
        observe(&mut graph, &deleting);
        assert!(graph.has_waiting_dependent("c"), "a waits, and c is its owner");
        assert!(!graph.has_waiting_dependent("b") && !graph.has_waiting_dependent("a"));
    }

    #[test]
    fn an_owner_that_is_no_longer_held_up_is_checked() {
        let mut graph = Graph::default();
        observe(&mut graph, &meta(json!({"uid": "o"})));
        observe(&mut graph, &owned("d", "o"));
        let mut released = owned("d", "o");
        released.owner_references.iter_mut().flatten().for_each(|owner| owner.block_owner_deletion = Some(false));
        assert!(observe(&mut graph, &released).contains(&Action::Check("o".into())));
        assert!(graph.blockers("o").is_empty());
    }

    #[test]
    fn orphaning_is_asked_for_once() {
        let mut graph = Graph::default();
        let deleting = meta(json!({"uid": "o", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [ORPHAN]}));
        assert_eq!(observe(&mut graph, &deleting), [Action::Orphan("o".into())]);
        assert!(observe(&mut graph, &deleting).is_empty());
    }

    #[test]
    fn what_is_missing_is_of_the_type_and_was_seen() {
        let mut graph = Graph::default();
        let of = |kind: &str| Arc::new(Type { api_version: "v1".into(), kind: kind.into() });
        let id = |kind: &str| Identity { of: of(kind), ..Identity::default() };
        graph.observe(id("A"), (&owned("a", "o")).into());
        graph.observe(id("A"), (&meta(json!({"uid": "b"}))).into());
        graph.observe(id("B"), (&meta(json!({"uid": "c"}))).into());
        assert_eq!(graph.missing(&of("A"), &HashSet::from(["b"])), ["a"]);
        assert!(graph.missing(&of("K"), &HashSet::new()).is_empty(), "the owner is known from a reference only");
    }
}
