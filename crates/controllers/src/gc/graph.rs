//! Who owns whom, by UID.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// What finds an object in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
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

/// Gives the room back that a map has kept for what is gone.
pub(crate) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 256 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Vertex> {
        self.0.get(uid).map(|vertex| &**vertex)
    }

    /// Takes in an object's state. Objects without owners, dependents or finalizers cost a vertex too, for they
    /// may become owners.
    pub fn observe(&mut self, id: Identity, meta: &ObjectMeta) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(uid) = meta.uid.clone() else { return actions };
        let finalizer = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        let deleting = meta.deletion_timestamp.is_some();
        let owners = meta.owner_references.clone().unwrap_or_default();
        let before = self.0.get(&uid).cloned().unwrap_or_default();
        let vertex = self.0.entry(uid.clone()).or_default();
        vertex.id = id;
        vertex.is_virtual = false;
        vertex.owners.clone_from(&owners);
        vertex.deleting = deleting;
        vertex.foreground = deleting && finalizer(FOREGROUND);
        vertex.orphan = deleting && finalizer(ORPHAN);
        let (foreground, orphan) = (vertex.foreground, vertex.orphan);
        let namespace = vertex.id.namespace.clone();
        let dependents: Vec<String> = vertex.dependents.iter().cloned().collect();
        if before.owners != owners {
            for owner in before.owners.iter().filter(|old| !owners.iter().any(|new| new.uid == old.uid)) {
                self.unlink(&owner.uid, &uid, &mut actions);
            }
            for owner in &owners {
                // An owner that no longer waits for this object may be done waiting.
                let unblocked = before.owners.iter().any(|old| {
                    old.uid == owner.uid
                        && old.block_owner_deletion == Some(true)
                        && owner.block_owner_deletion != Some(true)
                });
                if self.link(owner, &uid, &namespace) || unblocked {
                    actions.push(Action::Check(owner.uid.clone()));
                }
            }
            let waited_for = owners.iter().any(|owner| self.0.get(&owner.uid).is_some_and(|owner| owner.foreground));
            if !before.owners.is_empty() || waited_for {
                actions.push(Action::Check(uid.clone()));
            }
        }
        if orphan && !before.orphan {
            actions.push(Action::Orphan(uid.clone()));
        }
        if foreground && !before.foreground {
            actions.extend(dependents.into_iter().map(Action::Check));
            actions.push(Action::Check(uid));
        }
        actions
    }

    /// Makes `dependent` known to its owner; says whether the owner is not known itself.
    fn link(&mut self, owner: &OwnerReference, dependent: &str, namespace: &str) -> bool {
        let vertex = self.0.entry(owner.uid.clone()).or_insert_with(|| {
            Box::new(Vertex {
                id: Identity {
                    api_version: owner.api_version.clone(),
                    kind: owner.kind.clone(),
                    namespace: namespace.to_owned(),
                    name: owner.name.clone(),
                },
                is_virtual: true,
                ..Vertex::default()
            })
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
    use serde_json::json;

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
        assert_eq!(graph.observe(Identity::default(), &owned("d", "o")), [Action::Check("o".into())]);
        assert!(graph.get("o").unwrap().is_virtual);
        assert!(graph.observe(Identity::default(), &meta(json!({"uid": "o"}))).is_empty());
        assert!(!graph.get("o").unwrap().is_virtual);
        assert_eq!(graph.forget("o"), [Action::Check("d".into())]);
    }

    #[test]
    fn foreground_deletion_checks_dependents_and_then_the_owner() {
        let mut graph = Graph::default();
        graph.observe(Identity::default(), &meta(json!({"uid": "o"})));
        graph.observe(Identity::default(), &owned("d", "o"));
        let deleting = meta(json!({"uid": "o", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": [FOREGROUND]}));
        assert_eq!(
            graph.observe(Identity::default(), &deleting),
            [Action::Check("d".into()), Action::Check("o".into())]
        );
        assert_eq!(graph.blockers("o"), ["d"]);
        assert_eq!(graph.forget("d"), [Action::Check("o".into())]);
        assert!(graph.blockers("o").is_empty());
    }

    #[test]
    fn a_circle_closes_where_a_dependent_waits_already() {
        let mut graph = Graph::default();
        for (uid, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
            graph.observe(Identity::default(), &owned(uid, owner));
        }
        let mut deleting = owned("a", "c");
        deleting.deletion_timestamp = meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})).deletion_timestamp;
        deleting.finalizers = Some(vec![FOREGROUND.into()]);
        graph.observe(Identity::default(), &deleting);
        assert!(graph.has_waiting_dependent("c"), "a waits, and c is its owner");
        assert!(!graph.has_waiting_dependent("b") && !graph.has_waiting_dependent("a"));
    }

    #[test]
    fn an_owner_that_is_no_longer_held_up_is_checked() {
        let mut graph = Graph::default();
        graph.observe(Identity::default(), &meta(json!({"uid": "o"})));
        graph.observe(Identity::default(), &owned("d", "o"));
        let mut released = owned("d", "o");
        released.owner_references.iter_mut().flatten().for_each(|owner| owner.block_owner_deletion = Some(false));
        assert!(graph.observe(Identity::default(), &released).contains(&Action::Check("o".into())));
        assert!(graph.blockers("o").is_empty());
    }

    #[test]
    fn orphaning_is_asked_for_once() {
        let mut graph = Graph::default();
        let deleting = meta(json!({"uid": "o", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [ORPHAN]}));
        assert_eq!(graph.observe(Identity::default(), &deleting), [Action::Orphan("o".into())]);
        assert!(graph.observe(Identity::default(), &deleting).is_empty());
    }
}
