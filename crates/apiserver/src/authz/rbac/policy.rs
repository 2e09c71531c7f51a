//! Roles and bindings as decisions need them: rules by role, grants by subject. A decision looks at the bindings of the
//! user and of their groups only, and reads no JSON.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::HashMap;

use super::objects::{Binding, Role, RoleRef, Subject};
use super::rules::RoleRules;
use crate::auth::User;
use crate::index::Derived;
use crate::object::Object;

/// Who is given which role, and what the roles allow.
#[derive(Default)]
pub struct Policy {
    /// By name, and by namespace and name.
    cluster_roles: HashMap<Box<str>, RoleRules>,
    roles: HashMap<Box<str>, RoleRules>,
    /// By the same keys, to find what a binding granted when it changes.
    cluster_bindings: HashMap<Box<str>, Binding>,
    bindings: HashMap<Box<str>, Binding>,
    /// In the whole cluster, and by namespace.
    cluster: Subjects,
    namespaces: HashMap<Box<str>, Subjects>,
}

/// Who is given what in one scope.
#[derive(Default)]
struct Subjects {
    users: Grants,
    groups: Grants,
}

/// By subject the roles it is given, and of each by the key of the binding why its holder may do what it allows: a role
/// that is given many times is looked at once.
type Grants = HashMap<Box<str>, BTreeMap<RoleKey, Reasons>>;
type Reasons = BTreeMap<Box<str>, Arc<str>>;

/// A role, by the key it is found by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum RoleKey {
    Cluster(Box<str>),
    Namespaced(Box<str>),
    Unknown(Box<str>),
}

/// A kind of objects that say who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// ClusterRole.
    ClusterRoles,
    /// Role.
    Roles,
    /// ClusterRoleBinding.
    ClusterRoleBindings,
    /// RoleBinding.
    RoleBindings,
}

impl Policy {
    /// Takes note of an object, or of its absence. One that does not fit its type grants nothing.
    pub fn put(&mut self, source: Source, key: &str, object: Option<&[u8]>) {
        match source {
            Source::ClusterRoles => put_role(&mut self.cluster_roles, key, object),
            Source::Roles => put_role(&mut self.roles, key, object),
            Source::ClusterRoleBindings | Source::RoleBindings => self.put_binding(source, key, object),
        }
    }

    fn put_binding(&mut self, source: Source, key: &str, object: Option<&[u8]>) {
        let is_cluster = source == Source::ClusterRoleBindings;
        let namespace = if is_cluster { "" } else { key.split_once('/').map_or("", |(namespace, _)| namespace) };
        let known = if is_cluster { &mut self.cluster_bindings } else { &mut self.bindings };
        let (old, new) = (known.remove(key), object.and_then(parse::<Binding>));
        let scope = match is_cluster {
            true => &mut self.cluster,
            false => self.namespaces.entry(namespace.into()).or_default(),
        };
        old.iter().for_each(|old| scope.remove(key, namespace, old));
        if let Some(new) = new {
            scope.add(key, namespace, &new);
            known.insert(key.into(), new);
        }
        if !is_cluster && self.namespaces.get(namespace).is_some_and(Subjects::is_empty) {
            self.namespaces.remove(namespace);
        }
    }

    /// Shows all that is granted to a user, in the cluster and in a namespace unless that is empty, until `visitor` has
    /// seen enough: the reason and the rules of each role, or why there are none.
    pub fn visit<B>(
        &self,
        user: &User,
        namespace: &str,
        mut visitor: impl FnMut(&Arc<str>, Result<&RoleRules, String>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let local = if namespace.is_empty() { None } else { self.namespaces.get(namespace) };
        for scope in std::iter::once(&self.cluster).chain(local) {
            let own = scope.users.get(user.name.as_str());
            let of_groups = user.groups.iter().filter_map(|group| scope.groups.get(group.as_str()));
            for (role, reasons) in own.into_iter().chain(of_groups).flatten() {
                if let Some(reason) = reasons.values().next() {
                    visitor(reason, self.rules(role))?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn rules(&self, role: &RoleKey) -> Result<&RoleRules, String> {
        let (rules, singular, name) = match role {
            RoleKey::Cluster(name) => (self.cluster_roles.get(name), "clusterrole", &**name),
            RoleKey::Namespaced(key) => {
                (self.roles.get(key), "role", key.split_once('/').map_or(&**key, |(_, name)| name))
            }
            RoleKey::Unknown(kind) => return Err(format!("unsupported role reference kind: \"{kind}\"")),
        };
        rules.ok_or_else(|| format!("{singular}.rbac.authorization.k8s.io \"{name}\" not found"))
    }

    /// The rules of a role that a binding in a namespace, or in the cluster when that is empty, refers to.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<&RoleRules> {
        self.rules(&RoleKey::new(role, namespace)).ok()
    }
}

impl Derived for Policy {
    type Source = Source;

    fn put(&mut self, source: Source, key: &str, _: Option<&Object>, now: Option<&Object>) {
        Policy::put(self, source, key, now.map(Object::stored));
    }

    fn clear(&mut self, source: Source) {
        match source {
            Source::ClusterRoles => self.cluster_roles.clear(),
            Source::Roles => self.roles.clear(),
            Source::ClusterRoleBindings => {
                self.cluster_bindings.clear();
                self.cluster = Subjects::default();
            }
            Source::RoleBindings => {
                self.bindings.clear();
                self.namespaces.clear();
            }
        }
    }
}

impl Subjects {
    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    fn add(&mut self, key: &str, namespace: &str, binding: &Binding) {
        for subject in &binding.subjects {
            let Some((map, name)) = self.place(subject, namespace) else { continue };
            let reasons = map.entry(name).or_default().entry(RoleKey::new(&binding.role_ref, namespace)).or_default();
            reasons.entry(key.into()).or_insert_with(|| binding.reason(subject, namespace).into());
        }
    }

    fn remove(&mut self, key: &str, namespace: &str, binding: &Binding) {
        for subject in &binding.subjects {
            let Some((map, name)) = self.place(subject, namespace) else { continue };
            let role = RoleKey::new(&binding.role_ref, namespace);
            let Some(roles) = map.get_mut(&name) else { continue };
            if let Some(reasons) = roles.get_mut(&role) {
                reasons.remove(key);
                if reasons.is_empty() {
                    roles.remove(&role);
                }
            }
            if roles.is_empty() {
                map.remove(&name);
            }
        }
    }

    /// Where the grants of a subject are and under which name; `None` for one that is nobody.
    fn place(&mut self, subject: &Subject, namespace: &str) -> Option<(&mut Grants, Box<str>)> {
        match &*subject.kind {
            "User" => Some((&mut self.users, subject.name.clone())),
            "Group" => Some((&mut self.groups, subject.name.clone())),
            "ServiceAccount" => {
                let namespace = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
                let name = format!("system:serviceaccount:{namespace}:{}", subject.name);
                (!namespace.is_empty()).then(|| (&mut self.users, name.into()))
            }
            _ => None,
        }
    }
}

impl RoleKey {
    fn new(role: &RoleRef, namespace: &str) -> RoleKey {
        match &*role.kind {
            "ClusterRole" => RoleKey::Cluster(role.name.clone()),
            "Role" => RoleKey::Namespaced(format!("{namespace}/{}", role.name).into()),
            other => RoleKey::Unknown(other.into()),
        }
    }
}

fn put_role(roles: &mut HashMap<Box<str>, RoleRules>, key: &str, object: Option<&[u8]>) {
    match object.and_then(parse::<Role>) {
        Some(role) => drop(roles.insert(key.into(), RoleRules::new(role.rules))),
        None => drop(roles.remove(key)),
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes).inspect_err(|error| tracing::warn!(%error, "a role or binding grants nothing")).ok()
}
