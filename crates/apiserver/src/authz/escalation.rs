//! Nobody gives out what they do not have: whoever writes a role or binding must hold all that it grants, unless they may
//! `escalate` roles or `bind` the role.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::rbac::{GROUP, RoleRef, Rule, compact, missing, quoted};
use super::{Attributes, Authorizer, Rbac, decide};
use crate::auth::{MASTERS, User};

/// Why something is not granted of which nobody can tell in a reasonable time whether the user holds it.
const TOO_MANY: &str =
    "the rules stand for more permissions than can be compared with those of the user: grant them by several roles";

/// What a writer may grant. It is found out before the object is known, as an authorizer may have to ask elsewhere.
pub(crate) struct Escalation<'a> {
    rbac: &'a Rbac,
    user: &'a User,
    plural: &'a str,
    namespace: &'a str,
    /// Nothing is to be checked: the object grants nothing, or the writer may grant everything.
    free: bool,
    /// The role that the writer may bind without holding its rules.
    may_bind: Option<RoleRef>,
}

impl<'a> Escalation<'a> {
    /// What a user may grant who writes an object: `name` is that of the path, empty for a new object, `object` the new
    /// object or one that refers to the same role.
    pub async fn of(
        (authorizer, rbac): (&dyn Authorizer, &'a Rbac),
        user: &'a User,
        (group, plural): (&'a str, &'a str),
        (namespace, name): (&'a str, &str),
        object: &Value,
    ) -> Escalation<'a> {
        let mut found = Escalation { rbac, user, plural, namespace, free: true, may_bind: None };
        if group != GROUP || user.is_in(MASTERS) {
            return found;
        }
        if matches!(plural, "roles" | "clusterroles") {
            let what = Attributes::resource("escalate", group, plural, namespace, name);
            found.free = decide(authorizer, user, &what).await.is_allowed();
            return found;
        }
        found.free = false;
        let role = role_ref(object);
        let roles = match &*role.kind {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            _ => return found,
        };
        let what = Attributes::resource("bind", &role.api_group, roles, namespace, &role.name);
        if decide(authorizer, user, &what).await.is_allowed() {
            found.may_bind = Some(role);
        }
        found
    }

    /// Checks that the writer may grant what an object does, which was `old` before.
    ///
    /// # Errors
    /// 403 with what the writer lacks, 404 when the object refers to a role that is not there.
    pub fn check(&self, new: &Value, old: Option<&Value>) -> Result<(), Status> {
        if self.free || old.is_some_and(|old| is_only_collection(new, old)) {
            return Ok(());
        }
        let forbidden = |why: &str| Err(Status::forbidden(GROUP, self.plural, meta::name(new), why));
        let held = self.rbac.rules(self.user, self.namespace);
        if matches!(self.plural, "roles" | "clusterroles") {
            match missing(&held.rules, &rules_of(new)) {
                None => return forbidden(TOO_MANY),
                Some(lacking) if !lacking.is_empty() => return forbidden(&self.refusal(lacking, &held.errors)),
                Some(_) => {}
            }
            let aggregates = has_aggregation(new) || old.is_some_and(has_aggregation);
            if aggregates && missing(&held.rules, &everything()).is_none_or(|lacking| !lacking.is_empty()) {
                return forbidden("must have cluster-admin privileges to use the aggregationRule");
            }
            return Ok(());
        }
        let role = role_ref(new);
        if self.may_bind.as_ref() == Some(&role) {
            return Ok(());
        }
        let Some(granted) = self.rbac.rules_of(&role, self.namespace) else {
            let plural = if &*role.kind == "Role" { "roles" } else { "clusterroles" };
            return Err(Status::not_found(GROUP, plural, &role.name));
        };
        match missing(&held.rules, &granted) {
            None => forbidden(TOO_MANY),
            Some(lacking) if lacking.is_empty() => Ok(()),
            Some(lacking) => forbidden(&self.refusal(lacking, &held.errors)),
        }
    }

    fn refusal(&self, lacking: Vec<Rule>, errors: &[String]) -> String {
        let mut lines: Vec<String> = compact(lacking).iter().map(ToString::to_string).collect();
        lines.sort();
        lines.dedup();
        let mut text = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            coracle_api::field::quote(&self.user.name),
            quoted(&self.user.groups),
            lines.join("\n")
        );
        if !errors.is_empty() {
            text.push_str(&format!("; resolution errors: [{}]", errors.join(" ")));
        }
        text
    }
}

fn rules_of(role: &Value) -> Vec<Rule> {
    meta::list(role, &["rules"]).iter().filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

fn role_ref(binding: &Value) -> RoleRef {
    let mut role: RoleRef = serde_json::from_value(binding["roleRef"].clone()).unwrap_or_default();
    // As it is defaulted when it is written.
    if role.api_group.is_empty() {
        role.api_group = GROUP.into();
    }
    role
}

fn has_aggregation(role: &Value) -> bool {
    !meta::list(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty()
}

fn everything() -> [Rule; 2] {
    let all = || vec![Box::from("*")];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// Whether a change touches only what the garbage collector writes: it must not be in the way of an object's end.
fn is_only_collection(new: &Value, old: &Value) -> bool {
    let mut new = new.clone();
    let metadata = meta::metadata_mut(&mut new);
    for field in ["ownerReferences", "finalizers", "selfLink", "managedFields", "resourceVersion"] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    new == *old
}
