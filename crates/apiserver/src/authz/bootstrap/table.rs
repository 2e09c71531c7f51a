//! How the tables of default roles are written: lists are texts with spaces between, `core` is the core group.

use serde_json::{Value, json};

use crate::authz::rbac::{GROUP, Rule};

pub(super) const READ: &str = "get list watch";
pub(super) const WRITE: &str = "create delete deletecollection patch update";
pub(super) const READ_WRITE: &str = "create delete deletecollection get list patch update watch";
/// What whoever tells of what happens needs.
pub(super) const EVENTS: RuleRow = rule("create patch update", "core events.k8s.io", "events");

const LABEL: &str = "kubernetes.io/bootstrapping";
const LABEL_VALUE: &str = "rbac-defaults";
pub(super) const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// A rule.
pub(super) struct RuleRow {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

/// A role.
pub(super) struct Role {
    pub name: &'static str,
    rules: &'static [RuleRow],
    /// Its rules are those of all roles given to this one.
    gathers: &'static str,
    given_to: &'static str,
}

/// A binding.
pub(super) struct Binding {
    pub name: &'static str,
    role: &'static str,
    subjects: &'static [Subject],
}

/// Whom a role is bound to.
pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    /// Namespace and name.
    ServiceAccount(&'static str, &'static str),
}

pub(super) const fn rule(verbs: &'static str, groups: &'static str, resources: &'static str) -> RuleRow {
    RuleRow { verbs, groups, resources, names: "", urls: "" }
}

pub(super) const fn urls(verbs: &'static str, urls: &'static str) -> RuleRow {
    RuleRow { verbs, groups: "", resources: "", names: "", urls }
}

pub(super) const fn role(name: &'static str, rules: &'static [RuleRow]) -> Role {
    Role { name, rules, gathers: "", given_to: "" }
}

pub(super) const fn bind(name: &'static str, role: &'static str, subjects: &'static [Subject]) -> Binding {
    Binding { name, role, subjects }
}

fn words(text: &str) -> Vec<Box<str>> {
    text.split_whitespace().map(|word| if word == "core" { "" } else { word }.into()).collect()
}

impl RuleRow {
    pub const fn named(self, names: &'static str) -> RuleRow {
        RuleRow { names, ..self }
    }

    fn rule(&self) -> Rule {
        Rule {
            verbs: words(self.verbs),
            api_groups: words(self.groups),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.urls),
        }
    }
}

impl Role {
    /// The role has the rules of all roles that are [`Role::given_to`] this one.
    pub const fn gathers(self, gathers: &'static str) -> Role {
        Role { gathers, ..self }
    }

    pub const fn given_to(self, given_to: &'static str) -> Role {
        Role { given_to, ..self }
    }

    pub fn rules(&self) -> Vec<Rule> {
        self.rules.iter().map(RuleRow::rule).collect()
    }

    /// The object; of the cluster when the namespace is empty.
    pub fn object(&self, namespace: &str) -> Value {
        let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
        let mut object = object(kind, namespace, self.name);
        if !self.given_to.is_empty() {
            object["metadata"]["labels"][format!("{AGGREGATE}{}", self.given_to)] = "true".into();
        }
        if self.gathers.is_empty() {
            object["rules"] = json!(self.rules());
        } else {
            let label = format!("{AGGREGATE}{}", self.gathers);
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
            object["rules"] = Value::Null;
        }
        object
    }

    /// The binding of the role, of the same name, to one subject in the whole cluster.
    pub fn bound_to(&self, subject: &Subject) -> Value {
        binding("", self.name, self.name, vec![subject.object()])
    }
}

impl Binding {
    /// The object; of the cluster when the namespace is empty.
    pub fn object(&self, namespace: &str) -> Value {
        binding(namespace, self.name, self.role, self.subjects.iter().map(Subject::object).collect())
    }
}

fn binding(namespace: &str, name: &str, role: &str, subjects: Vec<Value>) -> Value {
    let (kind, role_kind) =
        if namespace.is_empty() { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", "Role") };
    let mut object = object(kind, namespace, name);
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        object["subjects"] = subjects.into();
    }
    object
}

impl Subject {
    fn object(&self) -> Value {
        match self {
            Subject::User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
            Subject::Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
            Subject::ServiceAccount(namespace, name) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
        }
    }
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut metadata = json!({"name": name, "labels": {LABEL: LABEL_VALUE}, "annotations": {AUTO_UPDATE: "true"}});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata})
}
