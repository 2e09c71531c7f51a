//! Conformance tests of upstream that are younger than the suite that is run, under upstream's names. Those of jobs that need
//! a node are in `tests/workloads/jobs.rs`.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, until};

fn suspended_job(name: &str) -> serde_json::Value {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}});
    json!({"metadata": {"name": name, "labels": {"e2e-job-label": name}},
        "spec": {"suspend": true, "parallelism": 2, "completions": 4, "backoffLimit": 6, "template": template}})
}

#[tokio::test]
async fn job_should_apply_changes_to_a_job_status() {
    let cluster = Cluster::new().await;
    cluster.create::<Job>(suspended_job("suspend-false-to-true")).await;
    let (jobs, name) = (cluster.api::<Job>(), "suspend-false-to-true");
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"startTime": "2026-01-01T00:00:00Z"}});
    let patched = jobs.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a status");
    let start = |job: &Job| job.status.as_ref()?.start_time.as_ref().map(|time| time.0.to_string());
    assert_eq!(start(&patched).as_deref(), Some("2026-01-01T00:00:00Z"));
    assert_eq!(patched.annotations()["patchedstatus"], "true");
    let updated = until("an update without conflict", || async {
        let mut job = jobs.get_status(name).await.expect("a job");
        let status = job.status.get_or_insert_default();
        status.start_time = serde_json::from_value(json!("2026-01-02T00:00:00Z")).expect("a time");
        jobs.replace_status(name, &PostParams::default(), &job).await.ok()
    })
    .await;
    assert_eq!(start(&updated).as_deref(), Some("2026-01-02T00:00:00Z"));
}

#[tokio::test]
async fn job_should_manage_the_lifecycle_of_a_job() {
    let cluster = Cluster::new().await;
    let jobs = cluster.api::<Job>();
    cluster.create::<Job>(suspended_job("lifecycle")).await;
    let patched = cluster.patch::<Job>("lifecycle", json!({"metadata": {"labels": {"lifecycle": "patched"}}})).await;
    assert_eq!(patched.labels()["lifecycle"], "patched");
    until("an update without conflict", || async {
        let mut job = jobs.get("lifecycle").await.expect("a job");
        job.annotations_mut().insert("updated".into(), "true".into());
        job.spec.get_or_insert_default().suspend = Some(false);
        jobs.replace("lifecycle", &PostParams::default(), &job).await.ok()
    })
    .await;
    cluster.active_pods("batch.kubernetes.io/job-name=lifecycle", 2).await;
    let labelled = ListParams::default().labels("e2e-job-label=lifecycle");
    assert_eq!(jobs.list(&labelled).await.expect("a list").items.len(), 1);
    jobs.delete_collection(&DeleteParams::background(), &labelled).await.expect("a deletion");
    until("no job", || async { jobs.list(&labelled).await.expect("a list").items.is_empty().then_some(()) }).await;
    until("no pod", || async { cluster.pods("batch.kubernetes.io/job-name=lifecycle").await.is_empty().then_some(()) })
        .await;
}

#[tokio::test]
async fn a_job_that_nothing_happens_to_is_not_written() {
    let cluster = Cluster::new().await;
    cluster.create::<Job>(suspended_job("still")).await;
    cluster.patch::<Job>("still", json!({"spec": {"suspend": false}})).await;
    let pods = cluster.active_pods("batch.kubernetes.io/job-name=still", 2).await;
    cluster.run(&pods[0]).await;
    let ready = |job: &Job| job.status.as_ref().is_some_and(|status| status.ready == Some(1));
    let before = cluster.wait::<Job>("still", "a ready pod", ready).await.resource_version();
    cluster.set_status(&pods[1], json!({"message": "nothing that counts"})).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(cluster.api::<Job>().get("still").await.expect("a job").resource_version(), before);
}

#[tokio::test]
async fn controllerrevision_should_manage_the_lifecycle_of_a_controllerrevision() {
    let cluster = Cluster::new().await;
    let template = |image: &str| json!({"metadata": {"labels": {"app": "e2e"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "e2e"}}, "template": template("i:1")});
    cluster.create::<DaemonSet>(json!({"metadata": {"name": "d"}, "spec": spec})).await;
    let revisions = cluster.api::<ControllerRevision>();
    let found = |labels: &'static str, count: usize| {
        let revisions = revisions.clone();
        until("the revisions", move || {
            let revisions = revisions.clone();
            async move {
                let list = revisions.list(&ListParams::default().labels(labels)).await.expect("a list").items;
                (list.len() == count).then_some(list)
            }
        })
    };
    let first = found("app=e2e", 1).await.remove(0);
    let label = |name: &str| json!({"metadata": {"labels": {name: "patched"}}});
    cluster.patch::<ControllerRevision>(&first.name_any(), label("first")).await;
    found("app=e2e,first=patched", 1).await;

    // Another of the same data takes its place.
    let mut second = first.clone();
    second.metadata = serde_json::from_value(json!({"name": "second", "labels": {"app": "e2e"},
        "ownerReferences": first.owner_references()}))
    .expect("metadata");
    second.revision = 2;
    revisions.create(&PostParams::default(), &second).await.expect("another revision");
    // The controller may have seen that one of the two is enough.
    let _ = revisions.delete(&first.name_any(), &DeleteParams::default()).await;
    assert_eq!(found("app=e2e", 1).await[0].name_any(), "second");
    until("an update without conflict", || async {
        let mut revision = revisions.get("second").await.expect("a revision");
        revision.labels_mut().insert("second".into(), "updated".into());
        revisions.replace("second", &PostParams::default(), &revision).await.ok()
    })
    .await;
    found("app=e2e,second=updated", 1).await;

    cluster.patch::<DaemonSet>("d", json!({"spec": {"template": template("i:2")}})).await;
    found("app=e2e", 2).await;
    let updated = ListParams::default().labels("second=updated");
    revisions.delete_collection(&DeleteParams::default(), &updated).await.expect("a deletion");
    assert_eq!(found("app=e2e", 1).await[0].revision, 3);
}
