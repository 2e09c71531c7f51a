//! The roles and bindings that every cluster has: made when they are missing, and completed when a newer version brings
//! more. What else was given is kept, and an object with the annotation
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation>

mod addons;
mod cluster;
mod controllers;
mod namespaced;
mod reconcile;
mod table;

use anyhow::{Result, anyhow};
use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use coracle_api::{Kind, kinds};
use serde_json::Value;

use self::reconcile::{Plan, binding_plan, role_plan};
use self::table::{Binding, Role, Subject};
use super::rbac::{GROUP, Rule};
use crate::request;
use crate::rest::{self, DeleteOptions, Operation, Verb};
use crate::server::Inner;

/// What the names of controllers' roles begin with.
const CONTROLLER: &str = "system:controller:";
/// Attempts at an object that others change at the same time.
const ATTEMPTS: usize = 4;

/// Whether a service account of `kube-system` is that of a controller.
pub(super) fn is_controller(account: &str) -> bool {
    controllers::ROLES.iter().any(|role| role.name.strip_prefix(CONTROLLER) == Some(account))
}

/// The rules of a default role of the cluster.
pub(super) fn rules_of(name: &str) -> Vec<Rule> {
    cluster::ROLES.iter().find(|role| role.name == name).map(Role::rules).unwrap_or_default()
}

/// Makes and completes all of them.
///
/// # Errors
/// The store refuses.
pub(crate) async fn run(inner: &Arc<Inner>) -> Result<()> {
    let all = objects().into_iter().map(|object| ensure(inner, object));
    futures::future::try_join_all(all).await.map(drop)
}

/// All of them, as they are made.
fn objects() -> Vec<Value> {
    let of_cluster = |roles: &[Role]| roles.iter().map(|role| role.object("")).collect::<Vec<_>>();
    let bound = |bindings: &[Binding]| bindings.iter().map(|binding| binding.object("")).collect::<Vec<_>>();
    let mut out = of_cluster(cluster::ROLES);
    out.extend(bound(cluster::BINDINGS));
    out.extend(of_cluster(addons::ROLES));
    out.extend(bound(addons::BINDINGS));
    for role in controllers::ROLES {
        let account = role.name.strip_prefix(CONTROLLER).unwrap_or_default();
        out.extend([role.object(""), role.bound_to(&Subject::ServiceAccount("kube-system", account))]);
    }
    out.extend(namespaced::ROLES.iter().map(|(namespace, role)| role.object(namespace)));
    out.extend(namespaced::BINDINGS.iter().map(|(namespace, binding)| binding.object(namespace)));
    out
}

async fn ensure(inner: &Arc<Inner>, expected: Value) -> Result<()> {
    let kind = kinds::by_kind(GROUP, "v1", meta::kind(&expected)).ok_or_else(|| anyhow!("a role's kind is missing"))?;
    for _ in 0..ATTEMPTS {
        match attempt(inner, kind, &expected).await {
            Ok(()) => return Ok(()),
            Err(status) if matches!(status.code, 404 | 409) => continue,
            Err(status) => return Err(failed(&expected, &status.message)),
        }
    }
    Err(failed(&expected, "others change it at the same time"))
}

fn failed(expected: &Value, why: &str) -> anyhow::Error {
    anyhow!("failed to make the default {} {:?}: {why}", meta::kind(expected), meta::name(expected))
}

async fn attempt(inner: &Arc<Inner>, kind: &Arc<Kind>, expected: &Value) -> Result<(), Status> {
    let namespace = Some(meta::namespace(expected)).filter(|namespace| !namespace.is_empty());
    let key = request::key(namespace, meta::name(expected));
    let Some(existing) = rest::cache(inner, kind)?.get(&key)? else {
        return rest::create_object(inner, &Operation::by_server(kind, Verb::Create), expected.clone()).await.map(drop);
    };
    let existing = existing.value();
    let plan = match &*kind.kind {
        "Role" | "ClusterRole" => role_plan(&existing, expected),
        _ => binding_plan(&existing, expected),
    };
    match plan {
        Plan::Keep => Ok(()),
        // It names the version it was made of: a change meanwhile is a conflict.
        Plan::Update(new) => {
            let mut make = |_: &Value| Ok(new.clone());
            rest::update_object(inner, &Operation::by_server(kind, Verb::Update), &key, &mut make).await.map(drop)
        }
        Plan::Replace => {
            let options = DeleteOptions { uid: Some(meta::uid(&existing).into()), ..DeleteOptions::default() };
            rest::delete_object(inner, &Operation::by_server(kind, Verb::Delete), &key, &options).await?;
            rest::create_object(inner, &Operation::by_server(kind, Verb::Create), expected.clone()).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_object_is_valid_and_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for object in objects() {
            let kind = kinds::by_kind(GROUP, "v1", meta::kind(&object)).expect("a kind of the table");
            let mut errors = kind.strategy.validate(&object);
            errors.extend(kind.strategy.validate_create(&object));
            assert!(errors.is_empty(), "{object}: {errors:?}");
            assert_eq!(kind.namespaced, !meta::namespace(&object).is_empty(), "{object}");
            let name = (kind.kind.clone(), meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
            assert!(names.insert(name), "{object}");
        }
    }

    #[test]
    fn every_binding_names_a_role_that_there_is() {
        let objects = objects();
        for binding in objects.iter().filter(|object| !object["roleRef"].is_null()) {
            let role = objects.iter().find(|object| {
                object["kind"] == binding["roleRef"]["kind"]
                    && object["metadata"]["name"] == binding["roleRef"]["name"]
                    && meta::namespace(object) == meta::namespace(binding)
            });
            assert!(role.is_some(), "{binding}");
        }
    }
}
