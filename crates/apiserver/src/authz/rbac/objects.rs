//! Roles and bindings as they are stored, without what decisions do not need.

use serde::{Deserialize, Deserializer};

use super::rule::Rule;

/// A Role or ClusterRole.
#[derive(Deserialize)]
pub struct Role {
    /// What it allows.
    #[serde(default, deserialize_with = "list")]
    pub rules: Vec<Rule>,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    metadata: Metadata,
    /// What is given.
    pub role_ref: RoleRef,
    /// To whom.
    #[serde(default, deserialize_with = "list")]
    pub subjects: Vec<Subject>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Box<str>,
}

/// A role that a binding gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleRef {
    /// `rbac.authorization.k8s.io`.
    pub api_group: Box<str>,
    /// `Role` or `ClusterRole`.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// To whom a role is given.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The namespace of a service account; without one, that of the binding.
    pub namespace: Box<str>,
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Binding {
    /// Why a subject of the binding, which is in a namespace unless that is empty, may do what its role allows.
    pub fn reason(&self, subject: &Subject, namespace: &str) -> String {
        let name = &self.metadata.name;
        let binding = match namespace {
            "" => format!("ClusterRoleBinding \"{name}\""),
            namespace => format!("RoleBinding \"{name}/{namespace}\""),
        };
        let (kind, name) = (&subject.kind, &subject.name);
        let whom = match (&**kind, &*subject.namespace) {
            ("ServiceAccount", "") => format!("\"{name}/{namespace}\""),
            ("ServiceAccount", own) => format!("\"{name}/{own}\""),
            _ => format!("\"{name}\""),
        };
        let RoleRef { kind: role_kind, name: role, .. } = &self.role_ref;
        format!("RBAC: allowed by {binding} of {role_kind} \"{role}\" to {kind} {whom}")
    }
}
