//! Jobs.

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";

async fn create(cluster: &Cluster, name: &str, spec: Value) -> Job {
    let mut spec = spec;
    spec["template"]["spec"] = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]});
    cluster.create(json!({"metadata": {"name": name}, "spec": spec})).await
}

fn labels(name: &str) -> String {
    format!("batch.kubernetes.io/job-name={name}")
}

fn status(job: &Job) -> JobStatus {
    job.status.clone().unwrap_or_default()
}

/// The conditions that hold, with their reasons.
fn conditions(job: &Job) -> Vec<(String, String)> {
    let conditions = status(job).conditions.unwrap_or_default();
    conditions.into_iter().filter(|c| c.status == "True").map(|c| (c.type_, c.reason.unwrap_or_default())).collect()
}

fn holds(job: &Job, kind: &str) -> bool {
    conditions(job).iter().any(|(held, _)| held == kind)
}

async fn done(cluster: &Cluster, name: &str, kind: &str) -> Job {
    cluster.wait::<Job>(name, &format!("{name} to be {kind}"), |job| holds(job, kind)).await
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, reason)| ((*kind).to_owned(), (*reason).to_owned())).collect()
}

#[tokio::test]
async fn a_job_runs_pods_until_enough_have_succeeded() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 2, "completions": 3})).await;
    let pods = cluster.active_pods(&labels("j"), 2).await;
    assert!(pods.iter().all(|pod| pod.finalizers() == [TRACKING]));
    cluster.run(&pods[0]).await;
    cluster.wait::<Job>("j", "a ready pod", |job| status(job).ready == Some(1) && status(job).active == Some(2)).await;
    for pod in &pods {
        cluster.end(pod, 0, 0).await;
    }
    let last = cluster.active_pods(&labels("j"), 1).await;
    cluster.end(&last[0], 0, 0).await;
    let job = done(&cluster, "j", "Complete").await;
    let reached = "CompletionsReached";
    assert_eq!(conditions(&job), pairs(&[("SuccessCriteriaMet", reached), ("Complete", reached)]));
    let status = status(&job);
    assert_eq!((status.succeeded, status.failed, status.active), (Some(3), None, None));
    assert_eq!((status.ready, status.terminating), (Some(0), Some(0)));
    assert!(status.completion_time >= status.start_time && status.start_time.is_some());
    cluster.event("j", "SuccessfulCreate").await;
    cluster.event("j", "Completed").await;
    assert!(cluster.pods(&labels("j")).await.iter().all(|pod| pod.finalizers().is_empty()));
}

#[tokio::test]
async fn too_many_failures_fail_a_job_with_every_pod_counted() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 2, "completions": 2, "backoffLimit": 1})).await;
    let pods = cluster.active_pods(&labels("j"), 2).await;
    cluster.end(&pods[0], 1, 60).await;
    let pods = cluster.active_pods(&labels("j"), 2).await;
    cluster.bind(&pods[1]).await;
    cluster.end(&pods[0], 1, 60).await;
    let job = done(&cluster, "j", "FailureTarget").await;
    assert!(!holds(&job, "Failed"), "a pod is still ending");
    cluster.wait::<Pod>(&pods[1].name_any(), "its deletion", |pod| pod.metadata.deletion_timestamp.is_some()).await;
    cluster.bury(&pods[1]).await;
    let job = done(&cluster, "j", "Failed").await;
    let exceeded = "BackoffLimitExceeded";
    assert_eq!(conditions(&job), pairs(&[("FailureTarget", exceeded), ("Failed", exceeded)]));
    assert_eq!((status(&job).failed, status(&job).completion_time), (Some(3), None));
    let event = cluster.event("j", exceeded).await;
    assert_eq!(event.message.as_deref(), Some("Job has reached the specified backoff limit"));
}

#[tokio::test]
async fn a_failure_is_followed_by_a_pause() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({})).await;
    let pods = cluster.active_pods(&labels("j"), 1).await;
    cluster.end(&pods[0], 1, 0).await;
    cluster.wait::<Job>("j", "the failure", |job| status(job).failed == Some(1)).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(cluster.pods(&labels("j")).await.len(), 1);
}

#[tokio::test]
async fn every_index_has_its_pod_and_is_counted_once() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 4, "completions": 4, "completionMode": "Indexed"})).await;
    let pods = cluster.active_pods(&labels("j"), 4).await;
    let mut indexes: Vec<String> =
        pods.iter().map(|pod| pod.annotations()["batch.kubernetes.io/job-completion-index"].clone()).collect();
    indexes.sort();
    assert_eq!(indexes, ["0", "1", "2", "3"]);
    let named =
        |index: &str| pods.iter().find(|pod| pod.name_any().starts_with(&format!("j-{index}-"))).expect("a pod");
    for index in ["0", "2", "3"] {
        cluster.end(named(index), 0, 0).await;
    }
    let job = cluster.wait::<Job>("j", "three indexes", |job| status(job).succeeded == Some(3)).await;
    assert_eq!(status(&job).completed_indexes.as_deref(), Some("0,2,3"));
    cluster.end(named("1"), 1, 60).await;
    let again = cluster.active_pods(&labels("j"), 1).await;
    assert_eq!(again[0].spec.as_ref().and_then(|spec| spec.hostname.as_deref()), Some("j-1"));
    cluster.end(&again[0], 0, 0).await;
    let job = done(&cluster, "j", "Complete").await;
    assert_eq!((status(&job).completed_indexes.as_deref(), status(&job).failed), (Some("0-3"), Some(1)));
}

#[tokio::test]
async fn an_index_fails_alone_and_the_job_with_the_last_of_the_others() {
    let cluster = Cluster::new().await;
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1});
    create(&cluster, "j", spec).await;
    let pods = cluster.active_pods(&labels("j"), 2).await;
    let (first, second) =
        if pods[0].name_any().starts_with("j-0") { (&pods[0], &pods[1]) } else { (&pods[1], &pods[0]) };
    cluster.end(first, 1, 60).await;
    let again = until("another pod of the index", || async {
        let pods = cluster.active_pods(&labels("j"), 2).await;
        pods.into_iter().find(|pod| pod.name_any().starts_with("j-0") && pod.name_any() != first.name_any())
    })
    .await;
    assert_eq!(again.annotations()["batch.kubernetes.io/job-index-failure-count"], "1");
    cluster.end(&again, 1, 60).await;
    cluster.wait::<Job>("j", "the failed index", |job| status(job).failed_indexes.as_deref() == Some("0")).await;
    cluster.end(second, 0, 0).await;
    let job = done(&cluster, "j", "Failed").await;
    assert_eq!(conditions(&job), pairs(&[("FailureTarget", "FailedIndexes"), ("Failed", "FailedIndexes")]));
    let status = status(&job);
    assert_eq!((status.completed_indexes.as_deref(), status.failed_indexes.as_deref()), (Some("1"), Some("0")));
    assert_eq!(status.failed, Some(2));
}

#[tokio::test]
async fn a_rule_ends_the_job_or_ignores_the_failure() {
    let cluster = Cluster::new().await;
    let rules = json!([
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]);
    create(&cluster, "j", json!({"backoffLimit": 0, "podFailurePolicy": {"rules": rules}})).await;
    let pods = cluster.active_pods(&labels("j"), 1).await;
    cluster.end(&pods[0], 7, 60).await;
    let ignored = pods[0].name_any();
    let pods = until("its replacement", || async {
        let pods = cluster.active_pods(&labels("j"), 1).await;
        Some(pods).filter(|pods| pods[0].name_any() != ignored)
    })
    .await;
    cluster.end(&pods[0], 42, 60).await;
    let job = done(&cluster, "j", "Failed").await;
    assert_eq!(conditions(&job), pairs(&[("FailureTarget", "PodFailurePolicy"), ("Failed", "PodFailurePolicy")]));
    assert_eq!(status(&job).failed, Some(1));
    let event = cluster.event("j", "PodFailurePolicy").await;
    let expected = format!(
        "Container c for pod default/{} failed with exit code 42 matching FailJob rule at index 1",
        pods[0].name_any()
    );
    assert_eq!(event.message, Some(expected));
}

#[tokio::test]
async fn a_success_policy_ends_the_job_early() {
    let cluster = Cluster::new().await;
    let policy = json!({"rules": [{"succeededIndexes": "1"}]});
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": policy});
    create(&cluster, "j", spec).await;
    let pods = cluster.active_pods(&labels("j"), 3).await;
    let leader = pods.iter().find(|pod| pod.name_any().starts_with("j-1-")).expect("a pod");
    cluster.end(leader, 0, 0).await;
    let job = done(&cluster, "j", "Complete").await;
    assert_eq!(conditions(&job), pairs(&[("SuccessCriteriaMet", "SuccessPolicy"), ("Complete", "SuccessPolicy")]));
    assert_eq!((status(&job).succeeded, status(&job).failed), (Some(1), None));
    assert_eq!(cluster.active_pods(&labels("j"), 0).await.len(), 0);
}

#[tokio::test]
async fn a_suspended_job_has_no_pods_and_its_clock_starts_anew() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"suspend": true, "parallelism": 2, "completions": 2})).await;
    let job = done(&cluster, "j", "Suspended").await;
    assert_eq!((status(&job).start_time, cluster.pods(&labels("j")).await.len()), (None, 0));
    cluster.patch::<Job>("j", json!({"spec": {"suspend": false}})).await;
    cluster.active_pods(&labels("j"), 2).await;
    let job =
        cluster.wait::<Job>("j", "its start", |job| status(job).start_time.is_some() && !holds(job, "Suspended")).await;
    cluster.event("j", "Resumed").await;
    cluster.patch::<Job>("j", json!({"spec": {"suspend": true}})).await;
    cluster.active_pods(&labels("j"), 0).await;
    let suspended = done(&cluster, "j", "Suspended").await;
    assert_eq!((status(&suspended).failed, status(&suspended).active), (None, None), "no pod has failed");
    assert_eq!(status(&suspended).start_time, status(&job).start_time);
    cluster.event("j", "Suspended").await;
}

#[tokio::test]
async fn a_job_that_was_suspended_while_it_ran_comes_to_its_end_once_resumed() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({})).await;
    cluster.active_pods(&labels("j"), 1).await;
    let begun = cluster.wait::<Job>("j", "its start", |job| status(job).start_time.is_some()).await;
    cluster.patch::<Job>("j", json!({"spec": {"suspend": true}})).await;
    done(&cluster, "j", "Suspended").await;
    // Times of a status are whole seconds: in another one the start differs.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    cluster.patch::<Job>("j", json!({"spec": {"suspend": false}})).await;
    let pods = cluster.active_pods(&labels("j"), 1).await;
    let resumed = cluster.wait::<Job>("j", "its resumption", |job| !holds(job, "Suspended")).await;
    assert!(status(&resumed).start_time > status(&begun).start_time);
    cluster.end(&pods[0], 0, 0).await;
    let job = done(&cluster, "j", "Complete").await;
    assert_eq!((status(&job).succeeded, status(&job).start_time), (Some(1), status(&resumed).start_time));
}

#[tokio::test]
async fn a_suspended_job_that_wants_no_successes_ends() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"suspend": true, "completions": 0})).await;
    let job = done(&cluster, "j", "Complete").await;
    assert!(status(&job).start_time.is_some() && status(&job).completion_time >= status(&job).start_time);
}

#[tokio::test]
async fn a_deadline_ends_a_job() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"activeDeadlineSeconds": 1})).await;
    let job = done(&cluster, "j", "Failed").await;
    assert_eq!(conditions(&job), pairs(&[("FailureTarget", "DeadlineExceeded"), ("Failed", "DeadlineExceeded")]));
}

#[tokio::test]
async fn a_job_of_another_controller_is_left_alone() {
    let cluster = Cluster::new().await;
    create(&cluster, "theirs", json!({"managedBy": "example.com/theirs"})).await;
    create(&cluster, "ours", json!({"managedBy": "kubernetes.io/job-controller"})).await;
    cluster.active_pods(&labels("ours"), 1).await;
    assert_eq!(cluster.pods(&labels("theirs")).await.len(), 0);
    assert_eq!(cluster.api::<Job>().get("theirs").await.expect("a job").status, Some(JobStatus::default()));
}

#[tokio::test]
async fn an_indexed_job_may_become_smaller() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"})).await;
    cluster.active_pods(&labels("j"), 3).await;
    cluster.patch::<Job>("j", json!({"spec": {"parallelism": 1, "completions": 1}})).await;
    let pods = cluster.active_pods(&labels("j"), 1).await;
    assert!(pods[0].name_any().starts_with("j-0-"));
    cluster.end(&pods[0], 0, 0).await;
    let job = done(&cluster, "j", "Complete").await;
    assert_eq!((status(&job).completed_indexes.as_deref(), status(&job).failed), (Some("0"), None));
}

#[tokio::test]
async fn pods_are_adopted_with_their_finalizer_and_released_without() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 1})).await;
    let pod = cluster.active_pods(&labels("j"), 1).await.remove(0);
    cluster.patch::<Pod>(&pod.name_any(), json!({"metadata": {"ownerReferences": null}})).await;
    let owned = |pod: &Pod| !pod.owner_references().is_empty() && pod.finalizers() == [TRACKING];
    cluster.wait::<Pod>(&pod.name_any(), "its adoption", owned).await;
    cluster
        .patch::<Pod>(&pod.name_any(), json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "x"}}}))
        .await;
    let free = |pod: &Pod| pod.owner_references().is_empty() && pod.finalizers().is_empty();
    cluster.wait::<Pod>(&pod.name_any(), "its release", free).await;
}

#[tokio::test]
async fn a_deletion_that_says_nothing_of_pods_leaves_them() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 2})).await;
    cluster.active_pods(&labels("j"), 2).await;
    cluster.api::<Job>().delete("j", &DeleteParams::default()).await.expect("a deletion");
    let free = |pod: &Pod| pod.owner_references().is_empty() && pod.finalizers().is_empty();
    until("the job to go and its pods to be free", || async {
        let gone = cluster.api::<Job>().get_opt("j").await.expect("an answer").is_none();
        let pods = cluster.active_pods(&labels("j"), 2).await;
        (gone && pods.iter().all(free)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_of_the_name_of_one_that_is_gone_begins_anew() {
    let cluster = Cluster::new().await;
    for round in 0..3 {
        create(&cluster, "j", json!({"parallelism": 2})).await;
        let pods = cluster.active_pods(&labels("j"), 2).await;
        cluster.end(&pods[0], 1, 60).await;
        cluster.wait::<Job>("j", "one failure", |job| status(job).failed == Some(1)).await;
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        cluster.api::<Job>().delete("j", &params).await.expect("a deletion");
        until(&format!("all pods to go in round {round}"), || async {
            cluster.pods(&labels("j")).await.is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn finalizers_go_with_the_job() {
    let cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 2})).await;
    cluster.active_pods(&labels("j"), 2).await;
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    cluster.api::<Job>().delete("j", &params).await.expect("a deletion");
    until("all pods to go", || async { cluster.pods(&labels("j")).await.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn counts_are_exact_while_the_controllers_are_killed() {
    let mut cluster = Cluster::new().await;
    create(&cluster, "j", json!({"parallelism": 10, "completions": 60, "backoffLimit": 1000})).await;
    let mut failures = 0;
    for round in 0_usize.. {
        let job = cluster.api::<Job>().get("j").await.expect("a job");
        if holds(&job, "Complete") {
            assert_eq!((status(&job).succeeded, status(&job).failed), (Some(60), Some(failures)));
            break;
        }
        for (n, pod) in cluster.pods(&labels("j")).await.iter().enumerate() {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Pending") && pod.metadata.deletion_timestamp.is_none() {
                let fails = (n + round) % 7 == 0;
                failures += i32::from(fails);
                cluster.end(pod, i32::from(fails), 3600).await;
            } else if n % 5 == 0 {
                // Ended pods go as soon as they may.
                cluster.bury(pod).await;
            }
        }
        if round % 3 == 2 {
            cluster.restart_controllers();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
