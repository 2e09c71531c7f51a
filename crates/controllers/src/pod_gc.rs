//! Deletes pods that nobody else will: those of nodes that are gone (at once if they were said to be down for good, else after a
//! while), those that were to end on a node that is down for good, and
//! the oldest of too many finished ones.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, WorkQueue, is_not_found, patch_status_strategic};
use coracle_matching::taints::OUT_OF_SERVICE;
use coracle_metrics::Counter;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Preconditions};
use serde_json::{Value, json};

use crate::common::*;
use crate::metrics::METRICS;
use crate::run::reconcile_all;

/// How long a node has to be gone before its pods are deleted.
const QUARANTINE: Duration = Duration::from_secs(40);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// Look at the pods of a node.
    Node(String),
    /// Look at the pods that end on a node.
    Terminating(String),
    /// Look at the finished pods.
    Finished,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<Task> = WorkQueue::named("orphaned_pods_nodes");
    let (pods, nodes) = (context.pods(), context.nodes());
    let threshold = context.config.terminated_pod_threshold;
    let (q, known) = (queue.clone(), nodes.store());
    pods.subscribe(move |event| {
        let (Event::Added(pod) | Event::Updated { new: pod, .. } | Event::Deleted(pod)) = event;
        let node = node_name(pod);
        if !node.is_empty() && !matches!(event, Event::Deleted(_)) && known.get("", node).is_none() {
            q.add_after(Task::Node(node.to_owned()), QUARANTINE);
        }
        if node.is_empty() && is_deleting(&**pod) {
            q.add(Task::Node(String::new()));
        }
        if is_deleting(&**pod) && known.get("", node).is_some_and(|node| is_out_of_service(&node)) {
            q.add(Task::Terminating(node.to_owned()));
        }
        let finished_before = matches!(event, Event::Updated { old, .. } if is_terminal(old));
        if threshold > 0 && is_terminal(pod) && !finished_before {
            q.add_after(Task::Finished, Duration::from_secs(1));
        }
    });
    let q = queue.clone();
    nodes.subscribe(move |event| match event {
        // A node that was said to be down for good is not to come back.
        Event::Deleted(node) if has_taint(node) => q.add(Task::Node(node.name_any())),
        Event::Deleted(node) => q.add_after(Task::Node(node.name_any()), QUARANTINE),
        Event::Added(node) | Event::Updated { new: node, .. } if is_out_of_service(node) => {
            q.add(Task::Terminating(node.name_any()));
        }
        Event::Added(_) | Event::Updated { .. } => {}
    });
    let (client, running, known) = (context.client, pods.store(), nodes.store());
    reconcile_all(&[&pods, &nodes], &queue, 2, move |task| {
        let (client, pods, nodes) = (client.clone(), running.clone(), known.clone());
        async move {
            let (doomed, orphaned): (Vec<Arc<Pod>>, bool) = match &task {
                Task::Node(name) if name.is_empty() => {
                    (pods.by_index(BY_NODE, "")?.into_iter().filter(|pod| is_deleting(&**pod)).collect(), false)
                }
                Task::Node(name) => {
                    let gone = nodes.get("", name).is_none()
                        && Api::<Node>::all(client.clone()).get_opt(name).await?.is_none();
                    (if gone { pods.by_index(BY_NODE, name)? } else { Vec::new() }, gone)
                }
                Task::Terminating(name) => {
                    let is_down = nodes.get("", name).is_some_and(|node| is_out_of_service(&node));
                    let of_node = if is_down { pods.by_index(BY_NODE, name)? } else { Vec::new() };
                    (of_node.into_iter().filter(|pod| is_deleting(&**pod)).collect(), false)
                }
                Task::Finished => (beyond_threshold(&pods.list(), threshold), false),
            };
            for pod in doomed {
                delete(&client, &pod, orphaned).await?;
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await
}

/// Whether a node is not Ready, and said to be down for good.
fn is_out_of_service(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready =
        |conditions: &Vec<NodeCondition>| conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    has_taint(node) && !conditions.is_some_and(is_ready)
}

fn has_taint(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.is_some_and(|taints: &Vec<Taint>| taints.iter().any(|taint| taint.key == OUT_OF_SERVICE))
}

/// The oldest finished pods beyond the threshold.
fn beyond_threshold(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<Arc<Pod>> =
        pods.iter().filter(|pod| is_terminal(pod) && !is_deleting(&***pod)).cloned().collect();
    if threshold == 0 || finished.len() <= threshold {
        return Vec::new();
    }
    finished.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
    finished.truncate(finished.len() - threshold);
    finished
}

/// The status of a pod that is about to be deleted; whoever counts failed pods must learn that it did not succeed. Of those whose
/// node is gone it says why, so that whoever made them can tell that it is not their fault.
fn failed(pod: &Pod, orphaned: bool) -> Option<Value> {
    if is_terminal(pod) {
        return None;
    }
    let mut status = json!({"phase": "Failed"});
    if orphaned {
        status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": now()}]);
    }
    Some(status)
}

async fn delete(client: &kube::Client, pod: &Pod, orphaned: bool) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace_of(pod));
    let name = pod.name_any();
    if let Some(status) = failed(pod, orphaned) {
        let patch = json!({"metadata": {"uid": uid(pod)}, "status": status});
        match patch_status_strategic(&api, &name, &patch).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
    }
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(&name, &params).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => {
            let reason = if orphaned {
                "orphaned"
            } else if is_terminal(pod) {
                "terminated"
            } else if node_name(pod).is_empty() {
                "unscheduled"
            } else {
                "out-of-service"
            };
            METRICS.force_deleted_pods.with([namespace_of(pod), reason], Counter::inc);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_said_to_be_down_is_believed_to_be_unless_it_is_ready() {
        let node = |ready: &str, taint: &str| {
            let node = json!({"spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            is_out_of_service(&serde_json::from_value(node).unwrap())
        };
        assert!(node("Unknown", OUT_OF_SERVICE) && node("False", OUT_OF_SERVICE));
        assert!(!node("True", OUT_OF_SERVICE) && !node("Unknown", "node.kubernetes.io/unreachable"));
    }

    #[test]
    fn what_did_not_end_by_itself_has_failed() {
        let of = |phase: &str, orphaned: bool| {
            let pod: Pod = serde_json::from_value(json!({"status": {"phase": phase}})).unwrap();
            failed(&pod, orphaned)
        };
        assert_eq!(of("Running", false), Some(json!({"phase": "Failed"})));
        let orphan = of("Pending", true).unwrap();
        assert_eq!(
            (&orphan["phase"], &orphan["conditions"][0]["type"]),
            (&json!("Failed"), &json!("DisruptionTarget"))
        );
        assert_eq!(of("Succeeded", true), None);
        assert_eq!(of("Failed", false), None);
    }
}
