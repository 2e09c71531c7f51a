//! What a StatefulSet does next, and says.

use super::plan::{Plan, plan};
use super::*;
use coracle_client::Store;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

/// Serves, runs but does not serve, waits, has failed, is being deleted.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Ready,
    Unready,
    Pending,
    Failed,
    Deleting,
}

fn set(replicas: i32, more: Value) -> StatefulSet {
    let mut set = json!({"metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 2}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "updateStrategy": {"type": "RollingUpdate"},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}});
    for (key, value) in more.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

fn parallel(replicas: i32) -> StatefulSet {
    set(replicas, json!({"podManagementPolicy": "Parallel"}))
}

fn pod(ordinal: i32, revision: &str, is: Is) -> Arc<Pod> {
    let mut pod = new_pod(&set(1, json!({})), &spec_of(&set(1, json!({}))).template, revision, ordinal);
    pod.metadata.uid = Some(format!("{ordinal}"));
    if is == Is::Deleting {
        pod.metadata.deletion_timestamp = Some(now());
    }
    let status = json!({
        "phase": match is { Is::Pending => "Pending", Is::Failed => "Failed", _ => "Running" },
        "conditions": [{"type": "Ready", "status": if is == Is::Ready {"True"} else {"False"},
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    pod.status = serde_json::from_value(status).unwrap();
    Arc::new(pod)
}

fn with<T>(set: &StatefulSet, pods: &[Arc<Pod>], ask: impl FnOnce(&State<'_>) -> T) -> T {
    let claims = Store::of(Vec::new(), Vec::new());
    let now = "2026-01-01T00:00:10Z".parse().unwrap();
    ask(&State { set, pods, claims: &claims, update_revision: "new", now })
}

/// The ordinals that are made, and those that are deleted.
fn steps(set: &StatefulSet, pods: &[Arc<Pod>]) -> (Vec<i32>, Vec<i32>) {
    let Plan { create, delete, .. } = with(set, pods, plan);
    (create, delete.iter().filter_map(|pod| ordinal_of(set, pod)).collect())
}

fn new(ordinal: i32, is: Is) -> Arc<Pod> {
    pod(ordinal, "new", is)
}

fn old(ordinal: i32, is: Is) -> Arc<Pod> {
    pod(ordinal, "old", is)
}

#[test]
fn pods_are_made_in_order_each_after_its_predecessor_serves() {
    let ordered = set(3, json!({}));
    assert_eq!(steps(&ordered, &[]), (vec![0], vec![]));
    assert_eq!(steps(&ordered, &[new(0, Is::Unready)]), (vec![], vec![]));
    assert_eq!(steps(&ordered, &[new(0, Is::Ready)]), (vec![1], vec![]));
    assert_eq!(steps(&ordered, &[new(0, Is::Ready), new(2, Is::Ready)]), (vec![1], vec![]));
    let patient = set(3, json!({"minReadySeconds": 60}));
    assert_eq!(steps(&patient, &[new(0, Is::Ready)]), (vec![], vec![]));
    let again = with(&patient, &[new(0, Is::Ready)], |state| until_available(state.pods, 60, state.now));
    assert_eq!(again, Some(Duration::from_secs(50)));
    assert_eq!(steps(&parallel(3), &[new(1, Is::Unready)]), (vec![0, 2], vec![]));
    assert_eq!(steps(&set(2, json!({"ordinals": {"start": 5}})), &[]), (vec![5], vec![]));
}

#[test]
fn a_pod_that_failed_is_made_anew() {
    assert_eq!(steps(&set(2, json!({})), &[new(0, Is::Failed), new(1, Is::Ready)]), (vec![], vec![0]));
    assert_eq!(steps(&parallel(2), &[new(0, Is::Failed), new(1, Is::Failed)]), (vec![], vec![0, 1]));
}

#[test]
fn a_pass_deletes_only_so_many() {
    let pods: Vec<_> = (0..800).map(|ordinal| new(ordinal, Is::Failed)).collect();
    assert_eq!(steps(&parallel(800), &pods).1.len(), 500);
    assert_eq!(steps(&parallel(400), &pods).1.len(), 500);
}

#[test]
fn the_last_pod_goes_first_and_alone() {
    let all = |last: Is| [new(0, Is::Ready), new(1, Is::Ready), new(2, Is::Ready), new(3, last)];
    let ordered = set(2, json!({}));
    assert_eq!(steps(&ordered, &all(Is::Ready)), (vec![], vec![3]));
    assert_eq!(steps(&ordered, &all(Is::Deleting)), (vec![], vec![]));
    assert_eq!(steps(&ordered, &all(Is::Unready)), (vec![], vec![3]));
    let unhealthy = [new(0, Is::Unready), new(1, Is::Ready), new(2, Is::Ready)];
    assert_eq!(steps(&ordered, &unhealthy), (vec![], vec![]));
    let before = [new(0, Is::Ready), new(1, Is::Ready), new(2, Is::Unready), new(3, Is::Unready)];
    assert_eq!(steps(&ordered, &before), (vec![], vec![]));
    assert_eq!(steps(&parallel(2), &all(Is::Unready)), (vec![], vec![3, 2]));
}

#[test]
fn an_update_replaces_one_pod_after_the_other_from_the_last() {
    let ordered = set(3, json!({}));
    let pods = [old(0, Is::Ready), old(1, Is::Ready), old(2, Is::Ready)];
    assert_eq!(steps(&ordered, &pods), (vec![], vec![2]));
    let pods = [old(0, Is::Ready), old(1, Is::Ready), new(2, Is::Ready)];
    assert_eq!(steps(&ordered, &pods), (vec![], vec![1]));
    let pods = [old(0, Is::Ready), old(1, Is::Ready), new(2, Is::Unready)];
    assert_eq!(steps(&ordered, &pods), (vec![], vec![]));
    let rolling = |rolling: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
    let pods = [old(0, Is::Ready), old(1, Is::Ready), old(2, Is::Ready)];
    assert_eq!(steps(&set(3, rolling(json!({"partition": 3}))), &pods), (vec![], vec![]));
    assert_eq!(steps(&set(3, rolling(json!({"maxUnavailable": 2}))), &pods), (vec![], vec![2, 1]));
    assert_eq!(steps(&set(3, rolling(json!({"maxUnavailable": 2, "partition": 2}))), &pods), (vec![], vec![2]));
    // A share is rounded down, but is one at least.
    let pods: Vec<_> = (0..25).map(|ordinal| old(ordinal, Is::Ready)).collect();
    assert_eq!(steps(&set(25, rolling(json!({"maxUnavailable": "10%"}))), &pods), (vec![], vec![24, 23]));
    assert_eq!(steps(&set(25, rolling(json!({"maxUnavailable": "1%"}))), &pods), (vec![], vec![24]));
    let pods = [old(0, Is::Ready), old(1, Is::Ready), old(2, Is::Ready)];
    assert_eq!(steps(&set(3, json!({"updateStrategy": {"type": "OnDelete"}})), &pods), (vec![], vec![]));
}

#[test]
fn a_broken_update_is_taken_back_where_pods_need_not_wait_for_each_other() {
    let pods = [new(0, Is::Ready), new(1, Is::Ready), old(2, Is::Pending)];
    assert_eq!(steps(&parallel(3), &pods), (vec![], vec![2]));
    // As documented, somebody has to delete the pod that never serves.
    assert_eq!(steps(&set(3, json!({})), &pods), (vec![], vec![]));
    let pods = [old(0, Is::Ready), old(1, Is::Pending), old(2, Is::Ready)];
    assert_eq!(steps(&parallel(3), &pods), (vec![], vec![1]));
}

#[test]
fn the_status_follows_the_revisions() {
    let ordered = set(2, json!({}));
    let of = |pods: &[Arc<Pod>]| with(&ordered, pods, |state| status::desired_status(state, "old", None));
    let half = of(&[old(0, Is::Ready), new(1, Is::Unready)]);
    assert_eq!((half.replicas, half.ready_replicas, half.available_replicas), (2, Some(1), Some(1)));
    assert_eq!((half.current_replicas, half.updated_replicas), (Some(1), Some(1)));
    assert_eq!((half.current_revision.as_deref(), half.update_revision.as_deref()), (Some("old"), Some("new")));
    assert_eq!((half.observed_generation, half.collision_count), (Some(2), Some(0)));
    let done = of(&[new(0, Is::Ready), new(1, Is::Ready)]);
    assert_eq!((done.current_revision.as_deref(), done.current_replicas), (Some("new"), Some(2)));
}

#[test]
fn a_pod_waits_for_the_claim_of_the_one_before_to_go() {
    let set = set(
        1,
        json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"}}),
    );
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": "data-web-0",
        "namespace": "n", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "before"}]}}))
    .unwrap();
    let claims = Store::of(vec![claim], Vec::new());
    let state = State { set: &set, pods: &[], claims: &claims, update_revision: "new", now: Timestamp::now() };
    assert_eq!(plan(&state), Plan::default());
}

#[test]
fn the_claims_of_a_pod_that_is_too_many_go_with_it_whatever_it_lacks() {
    let set = set(
        0,
        json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"}}),
    );
    let claim: PersistentVolumeClaim =
        serde_json::from_value(json!({"metadata": {"name": "data-web-0", "namespace": "n"}})).unwrap();
    let mut stripped = (*new(0, Is::Ready)).clone();
    stripped.metadata.labels = None;
    let pods = [Arc::new(stripped)];
    let claims = Store::of(vec![claim], Vec::new());
    let state = State { set: &set, pods: &pods, claims: &claims, update_revision: "new", now: Timestamp::now() };
    let found = plan(&state);
    assert_eq!((found.hand_over.len(), found.mend.len()), (1, 0));
}
