//! Namespace deletion: everything in it goes first, then the namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, WorkQueue, is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use kube::api::{Api, DeleteParams, ListParams, PostParams, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Client, ResourceExt};

use crate::common::{Context, is_deleting, now};
use crate::discovery::{Deletable, deletable};
use crate::run::reconcile_all;

const FINALIZER: &str = "kubernetes";

/// What is left in a namespace.
#[derive(Default)]
struct Remaining {
    /// Objects by resource.
    objects: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<String> = WorkQueue::named("namespace");
    let namespaces = context.namespaces();
    let q = queue.clone();
    namespaces.subscribe(move |event| {
        if let Event::Added(namespace) | Event::Updated { new: namespace, .. } = event
            && is_deleting(&**namespace)
        {
            q.add(namespace.name_any());
        }
    });
    let (store, client) = (namespaces.store(), context.client);
    reconcile_all(&[&namespaces], &queue, 5, move |name| {
        let namespace = store.get("", &name).filter(|namespace| is_deleting(&**namespace));
        let client = client.clone();
        async move {
            let Some(namespace) = namespace else { return Ok::<_, kube::Error>(None) };
            match sync(&client, &namespace).await {
                Err(error) if is_conflict(&error) => Ok(Some(Duration::from_millis(50))),
                Err(error) if is_not_found(&error) => Ok(None),
                other => other,
            }
        }
    })
    .await
}

fn finalizers(namespace: &Namespace) -> Vec<String> {
    namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default()
}

async fn sync(client: &Client, namespace: &Arc<Namespace>) -> kube::Result<Option<Duration>> {
    if !finalizers(namespace).iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(None);
    }
    let name = namespace.name_any();
    let api: Api<Namespace> = Api::all(client.clone());
    let discovered = deletable(client).await?;
    let resources: Vec<&Deletable> = discovered.resources.iter().filter(|found| found.namespaced).collect();
    let is_pods = |found: &&&Deletable| found.resource.group.is_empty() && found.resource.plural == "pods";
    let mut remaining = Remaining::default();
    // Pods go first: what they use (policies, secrets) must last as long as they run.
    for pods in resources.iter().filter(is_pods) {
        empty(client, &name, pods, &mut remaining).await;
    }
    if remaining.objects.is_empty() && remaining.failures.is_empty() {
        for other in resources.iter().filter(|found| !is_pods(found)) {
            empty(client, &name, other, &mut remaining).await;
        }
    }
    let mut current = (**namespace).clone();
    let status = desired_status(&current, &remaining, &discovered.failures);
    if current.status.as_ref() != Some(&status) {
        current.status = Some(status);
        current = api.replace_status(&name, &PostParams::default(), &current).await?;
    }
    if remaining.objects.is_empty() && remaining.failures.is_empty() && discovered.failures.is_empty() {
        let spec = current.spec.get_or_insert_default();
        spec.finalizers = Some(finalizers(namespace).into_iter().filter(|f| f != FINALIZER).collect());
        let body = serde_json::to_vec(&current).map_err(kube::Error::SerdeError)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        client.request::<serde_json::Value>(request).await?;
        return Ok(None);
    }
    Ok(Some(next_look(namespace)))
}

/// The longer it takes, the rarer the looks.
fn next_look(namespace: &Namespace) -> Duration {
    let since = namespace.metadata.deletion_timestamp.as_ref().map_or(Timestamp::now(), |time| time.0);
    let waited = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
    (waited / 4).clamp(Duration::from_millis(100), Duration::from_secs(15))
}

/// Deletes all objects of a resource in a namespace and counts those that stay.
async fn empty(client: &Client, namespace: &str, found: &Deletable, remaining: &mut Remaining) {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &found.resource);
    let outcome = async {
        if api.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
            return Ok(Vec::new());
        }
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        match api.delete_collection(&params, &ListParams::default()).await {
            Ok(_) => {}
            // A resource without collection deletion.
            Err(kube::Error::Api(status)) if status.code == 405 => {
                for object in api.list_metadata(&ListParams::default()).await?.items {
                    match api.delete(&object.name_any(), &params).await {
                        Err(error) if !is_not_found(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(api.list_metadata(&ListParams::default()).await?.items)
    }
    .await;
    let resource = match found.resource.group.as_str() {
        "" => format!("{}.", found.resource.plural),
        group => format!("{}.{group}", found.resource.plural),
    };
    match outcome {
        Ok(left) => {
            if !left.is_empty() {
                remaining.objects.insert(resource, left.len());
            }
            for finalizer in left.iter().flat_map(|object| object.finalizers()) {
                *remaining.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        // The resource itself went.
        Err(error) if is_not_found(&error) => {}
        Err(error) => remaining.failures.push(format!("{resource}: {error}")),
    }
}

fn desired_status(namespace: &Namespace, remaining: &Remaining, undiscovered: &[String]) -> NamespaceStatus {
    let mut status = namespace.status.clone().unwrap_or_default();
    status.phase = Some("Terminating".into());
    let listed = |map: &BTreeMap<String, usize>, verb: &str| {
        map.iter()
            .map(|(name, count)| format!("{name} {verb} {count} resource instances"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            !undiscovered.is_empty(),
            (
                "DiscoveryFailed",
                format!(
                    "Discovery failed for some groups, {} failing: {}",
                    undiscovered.len(),
                    undiscovered.join(", ")
                ),
            ),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            ("GroupVersionParsingFailed", String::new()),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            !remaining.failures.is_empty(),
            (
                "ContentDeletionFailed",
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    remaining.failures.len(),
                    remaining.failures.join(", ")
                ),
            ),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            !remaining.objects.is_empty(),
            ("SomeResourcesRemain", format!("Some resources are remaining: {}", listed(&remaining.objects, "has"))),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            !remaining.finalizers.is_empty(),
            (
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    listed(&remaining.finalizers, "in")
                ),
            ),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let all = status.conditions.get_or_insert_default();
    for (kind, set, (bad, bad_text), (good, good_text)) in conditions {
        let (value, reason, text) = if set { ("True", bad, bad_text) } else { ("False", good, good_text.to_owned()) };
        let old = all.iter().position(|condition| condition.type_ == kind);
        let since = old
            .filter(|at| all[*at].status == value)
            .and_then(|at| all[at].last_transition_time.clone())
            .unwrap_or_else(now);
        let new = NamespaceCondition {
            type_: kind.into(),
            status: value.into(),
            reason: Some(reason.into()),
            message: Some(text),
            last_transition_time: Some(since),
        };
        match old {
            Some(at) => all[at] = new,
            None => all.push(new),
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left() {
        let mut remaining = Remaining::default();
        remaining.objects.insert("pods.".into(), 2);
        let status = desired_status(&Namespace::default(), &remaining, &[]);
        let conditions = status.conditions.unwrap();
        let left = conditions.iter().find(|c| c.type_ == "NamespaceContentRemaining").unwrap();
        assert_eq!(left.message.as_deref(), Some("Some resources are remaining: pods. has 2 resource instances"));
        assert_eq!(conditions.iter().filter(|condition| condition.status == "True").count(), 1);
    }
}
