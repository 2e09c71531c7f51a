//! The status of ValidatingAdmissionPolicies: what is wrong with their expressions for the kinds that they are about.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::schema::expression_types;
use coracle_api::status::Status;
use coracle_api::{Kind, kinds, meta};
use coracle_policy::admission::Type;
use coracle_policy::admission::type_check::{CheckedKind, expression_warnings, named_resources};
use serde_json::{Value, json};

use crate::kinds::Kinds;
use crate::object::Object;
use crate::objects::Objects;
use crate::operation::Operation;

/// How often is looked for policies that are left, and whose write failed.
const AGAIN: Duration = Duration::from_secs(60);

fn policies() -> Option<&'static Arc<Kind>> {
    kinds::by_resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
}

/// Tells in the status of each policy what is wrong with it, until the server is dropped.
pub(crate) fn start(objects: &Arc<Objects>) {
    let Some(cache) = policies().and_then(|kind| objects.storage.caches.of(kind)) else { return };
    let mut changed = cache.subscribe();
    changed.mark_changed();
    let objects = Arc::downgrade(objects);
    drop(cache);
    tokio::spawn(async move {
        loop {
            // Closed with the cache, which goes with the server.
            if let Ok(Err(_)) = tokio::time::timeout(AGAIN, changed.changed()).await {
                break;
            }
            let Some(objects) = objects.upgrade() else { break };
            if let Err(status) = settle(&objects).await {
                tracing::warn!("the status of an admission policy: {}", status.message);
            }
        }
    });
}

async fn settle(objects: &Arc<Objects>) -> Result<(), Status> {
    let Some(kind) = policies() else { return Ok(()) };
    let snapshot = objects.storage.cache(kind)?.snapshot();
    for object in snapshot.range("", None) {
        if is_told(object) {
            continue;
        }
        let op = Operation::status_by_server(kind);
        let kinds = &objects.storage.kinds;
        let mut tell = |policy: &Value| {
            let mut new = policy.clone();
            new["status"]["observedGeneration"] = meta::generation(policy).into();
            new["status"]["typeChecking"] = type_checking(kinds, policy);
            Ok(new)
        };
        match objects.update(&op, object.key(), &mut tell).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the status is of the policy as it is now.
fn is_told(object: &Object) -> bool {
    let policy = object.value();
    policy["status"]["observedGeneration"].as_i64() == Some(meta::generation(&policy))
}

fn type_checking(kinds: &Kinds, policy: &Value) -> Value {
    let registry = kinds.snapshot();
    let checked: Vec<CheckedKind> = named_resources(policy)
        .iter()
        .filter_map(|[group, version, plural]| registry.by_resource(group, version, plural))
        .map(|kind| CheckedKind {
            name: format!("{}, Kind={}", kind.api_version(), kind.kind),
            of: expression_types::of(&kind.schema),
        })
        .collect();
    let params = &policy["spec"]["paramKind"];
    let (api_version, name) = (meta::api_version(params), meta::kind(params));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let params = registry.by_kind(group, version, name).map_or(Type::Dyn, |kind| expression_types::of(&kind.schema));
    match expression_warnings(policy, &checked, &params) {
        none if none.is_empty() => json!({}),
        warnings => json!({"expressionWarnings": warnings}),
    }
}
