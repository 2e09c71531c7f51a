//! The job of one run.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::due::job_name;
use crate::common::controller_reference;

/// When the run was to start, by the clock of its schedule.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub(super) fn job(cron_job: &CronJob, at: Timestamp, zone: &TimeZone) -> Job {
    let template = cron_job.spec.clone().unwrap_or_default().job_template;
    let metadata = template.metadata.unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), rfc3339(at, zone));
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron_job, at)),
            namespace: cron_job.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// The time with the offset of the zone, which is `Z` for none.
fn rfc3339(at: Timestamp, zone: &TimeZone) -> String {
    let text = at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.strip_suffix("+00:00").map(|time| format!("{time}Z")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_says_when_it_was_to_start() {
        let cron_job =
            serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": {
            "schedule": "", "jobTemplate": {"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}}}}}))
            .unwrap();
        let at = "2026-07-09T11:00:00Z".parse().unwrap();
        let made = job(&cron_job, at, &TimeZone::get("Europe/Berlin").unwrap());
        assert_eq!(made.annotations()[SCHEDULED], "2026-07-09T13:00:00+02:00");
        assert_eq!((made.annotations()["x"].as_str(), made.labels()["a"].as_str()), ("y", "b"));
        assert_eq!(made.owner_references()[0].kind, "CronJob");
        assert_eq!(job(&cron_job, at, &TimeZone::UTC).annotations()[SCHEDULED], "2026-07-09T11:00:00Z");
    }
}
