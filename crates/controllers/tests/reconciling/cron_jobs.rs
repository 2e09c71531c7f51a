//! CronJobs, and jobs that go some time after they ended.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

fn job_template(spec: Value) -> Value {
    let mut spec = spec;
    spec["template"]["spec"] = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]});
    json!({"metadata": {"labels": {"cron": "c"}}, "spec": spec})
}

async fn create(cluster: &Cluster, spec: Value) -> CronJob {
    let mut spec = spec;
    if spec["schedule"].is_null() {
        spec["schedule"] = "* * * * *".into();
    }
    spec["jobTemplate"] = job_template(json!({}));
    cluster.create(json!({"metadata": {"name": "c"}, "spec": spec})).await
}

/// The last run was so many minutes ago.
async fn last_run(cluster: &Cluster, minutes: i64) {
    let at = Timestamp::now().checked_sub(SignedDuration::from_mins(minutes)).expect("a time");
    let at = Timestamp::from_second(at.as_second().div_euclid(60) * 60).expect("a time");
    let patch = Patch::Merge(json!({"status": {"lastScheduleTime": at.to_string()}}));
    cluster.api::<CronJob>().patch_status("c", &PatchParams::default(), &patch).await.expect("a status");
}

fn status(cron_job: &CronJob) -> CronJobStatus {
    cron_job.status.clone().unwrap_or_default()
}

fn active(cron_job: &CronJob) -> Vec<String> {
    status(cron_job).active.unwrap_or_default().into_iter().filter_map(|job| job.name).collect()
}

async fn jobs(cluster: &Cluster, count: usize) -> Vec<Job> {
    until(&format!("{count} jobs"), || async {
        let jobs = cluster.api::<Job>().list(&ListParams::default().labels("cron=c")).await.expect("a list").items;
        Some(jobs).filter(|jobs| jobs.len() == count)
    })
    .await
}

async fn complete(cluster: &Cluster, job: &str) {
    let pods = cluster.active_pods(&format!("batch.kubernetes.io/job-name={job}"), 1).await;
    cluster.end(&pods[0], 0, 0).await;
}

#[tokio::test]
async fn a_run_is_started_once_and_noted() {
    let mut cluster = Cluster::new().await;
    create(&cluster, json!({"timeZone": "Europe/Berlin"})).await;
    last_run(&cluster, 3).await;
    let cron_job = cluster.wait::<CronJob>("c", "an active job", |c| active(c).len() == 1).await;
    let last = status(&cron_job).last_schedule_time.expect("a time").0;
    assert_eq!(active(&cron_job), [format!("c-{}", last.as_second() / 60)]);
    let job = jobs(&cluster, 1).await.remove(0);
    let scheduled = &job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(scheduled.parse::<Timestamp>().expect("a time"), last);
    assert!(scheduled.ends_with("+01:00") || scheduled.ends_with("+02:00"));
    cluster.event("c", "SuccessfulCreate").await;
    cluster.restart_controllers();
    complete(&cluster, &job.name_any()).await;
    let ended = |c: &CronJob| status(c).last_successful_time.is_some() && !active(c).contains(&job.name_any());
    cluster.wait::<CronJob>("c", "the success", ended).await;
    cluster.event("c", "SawCompletedJob").await;
}

/// A suspended cron job with an active job `c-1`, and a run that is due as soon as it goes on.
async fn with_active_job(cluster: &Cluster, policy: &str) {
    let owner = create(cluster, json!({"concurrencyPolicy": policy, "suspend": true})).await;
    let reference =
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": owner.uid(), "controller": true});
    let mut job = job_template(json!({}));
    job["metadata"]["name"] = "c-1".into();
    job["metadata"]["ownerReferences"] = json!([reference]);
    let job: Job = cluster.create(job).await;
    cluster.event("c", "UnexpectedJob").await;
    let active =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "c-1", "namespace": "default", "uid": job.uid()}]);
    let patch = Patch::Merge(json!({"status": {"active": active}}));
    cluster.api::<CronJob>().patch_status("c", &PatchParams::default(), &patch).await.expect("a status");
    last_run(cluster, 2).await;
    cluster.patch::<CronJob>("c", json!({"spec": {"suspend": false}})).await;
}

#[tokio::test]
async fn a_run_beside_an_active_job_may_be_forbidden() {
    let cluster = Cluster::new().await;
    with_active_job(&cluster, "Forbid").await;
    cluster.event("c", "JobAlreadyActive").await;
    assert_eq!(jobs(&cluster, 1).await[0].name_any(), "c-1");
}

#[tokio::test]
async fn an_active_job_makes_room_for_the_next() {
    let cluster = Cluster::new().await;
    with_active_job(&cluster, "Replace").await;
    let replaced = |c: &CronJob| active(c).len() == 1 && active(c) != ["c-1"];
    cluster.wait::<CronJob>("c", "the next job", replaced).await;
    cluster.event("c", "SuccessfulDelete").await;
    jobs(&cluster, 1).await;
}

#[tokio::test]
async fn a_suspended_one_starts_its_latest_run_when_it_goes_on() {
    let cluster = Cluster::new().await;
    create(&cluster, json!({"suspend": true})).await;
    last_run(&cluster, 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    jobs(&cluster, 0).await;
    cluster.patch::<CronJob>("c", json!({"spec": {"suspend": false}})).await;
    jobs(&cluster, 1).await;
}

#[tokio::test]
async fn many_missed_runs_are_worth_a_warning() {
    let cluster = Cluster::new().await;
    create(&cluster, json!({})).await;
    last_run(&cluster, 200).await;
    cluster.event("c", "TooManyMissedTimes").await;
    jobs(&cluster, 1).await;
}

#[tokio::test]
async fn few_of_the_jobs_that_ended_are_kept() {
    let cluster = Cluster::new().await;
    let owner = create(&cluster, json!({"suspend": true, "successfulJobsHistoryLimit": 1})).await;
    let reference =
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": owner.uid(), "controller": true});
    for n in 0..3 {
        let mut job = job_template(json!({}));
        job["metadata"]["name"] = format!("c-{n}").into();
        job["metadata"]["ownerReferences"] = json!([reference]);
        cluster.create::<Job>(job).await;
        complete(&cluster, &format!("c-{n}")).await;
    }
    jobs(&cluster, 1).await;
    cluster.event("c", "SuccessfulDelete").await;
}

#[tokio::test]
async fn a_job_goes_with_its_pods_some_time_after_it_ended() {
    let cluster = Cluster::new().await;
    let mut job = job_template(json!({"ttlSecondsAfterFinished": 1}));
    job["metadata"]["name"] = "j".into();
    cluster.create::<Job>(job).await;
    complete(&cluster, "j").await;
    until("the job to go", || async {
        cluster.api::<Job>().get_opt("j").await.expect("an answer").is_none().then_some(())
    })
    .await;
    assert!(cluster.pods("batch.kubernetes.io/job-name=j").await.is_empty());
}
