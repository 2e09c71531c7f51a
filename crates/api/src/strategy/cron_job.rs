//! CronJob.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_text, default_to, object_mut, spec_mut, text_or_none};
use super::{AGE, Column, NAME, Strategy, column, int_column, masked, wide};
use crate::cron::Schedule;
use crate::field::{self, FieldError, Path};
use crate::meta::{self, at, list, text};

/// A CronJob.
pub struct CronJob;

impl Strategy for CronJob {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut out = Vec::new();
        let path = Path::new("spec").child("jobTemplate").child("spec").child("template");
        let template = at(obj, &["spec", "jobTemplate", "spec", "template"]);
        super::pod::warnings::workload_name(obj, &mut out);
        super::pod::warnings::template(template, &path, &mut out);
        out
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "concurrencyPolicy", "Allow");
        default_to(spec, "suspend", false);
        default_to(spec, "successfulJobsHistoryLimit", 3);
        default_to(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = object_mut(spec, "jobTemplate").and_then(|t| object_mut(t, "spec"))
            && let Some(pod) = object_mut(job, "template").and_then(|t| object_mut(t, "spec"))
        {
            super::pod::defaults::pod_spec(pod);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let schedule = text(obj, &["spec", "schedule"]);
        if schedule.is_empty() {
            errors.push(FieldError::required(&path.child("schedule"), ""));
        } else if schedule.contains("TZ") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid_str(&path.child("schedule"), schedule, detail));
        } else if let Err(why) = Schedule::parse(schedule) {
            errors.push(FieldError::invalid_str(&path.child("schedule"), schedule, why));
        }
        if let Some(zone) = at(obj, &["spec", "timeZone"]).as_str()
            && let Err(why) = time_zone(zone)
        {
            errors.push(FieldError::invalid_str(&path.child("timeZone"), zone, why));
        }
        let policies = ["Allow", "Forbid", "Replace"];
        common::one_of(
            &mut errors,
            &path.child("concurrencyPolicy"),
            at(obj, &["spec", "concurrencyPolicy"]),
            &policies,
            true,
        );
        super::workload::numbers(
            obj,
            &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"],
            &mut errors,
        );
        let job = at(obj, &["spec", "jobTemplate", "spec"]);
        let job_path = path.child("jobTemplate").child("spec");
        super::job::validate_job_spec(job, &job_path, &mut errors);
        if !job["selector"].is_null() {
            let detail = "`selector` will be auto-generated";
            errors.push(FieldError::invalid(&job_path.child("selector"), &job["selector"], detail));
        }
        if job["manualSelector"] == true {
            errors.push(FieldError::not_supported(&job_path.child("manualSelector"), "true", &["nil", "false"]));
        }
        errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let mut out = field::dns1123_subdomain(&masked(name, prefix));
        // The names of its jobs have eleven more characters.
        if name.len() > 52 {
            out.push("must be no more than 52 characters".into());
        }
        out
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Schedule"),
                column("Timezone"),
                column("Suspend"),
                int_column("Active"),
                column("Last Schedule"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "schedule"]).into(),
            text_or_none(obj, &["spec", "timeZone"]),
            if at(obj, &["spec", "suspend"]) == true { "True".into() } else { "False".into() },
            list(obj, &["status", "active"]).len().into(),
            match text(obj, &["status", "lastScheduleTime"]) {
                "" => "<none>".into(),
                time => crate::table::duration::since(time, now).into(),
            },
            age(obj, now),
            common::containers(at(obj, &["spec", "jobTemplate", "spec", "template", "spec"]))[0].clone(),
            common::containers(at(obj, &["spec", "jobTemplate", "spec", "template", "spec"]))[1].clone(),
            match at(obj, &["spec", "jobTemplate", "spec", "selector"]) {
                Value::Null => "<none>".into(),
                s => common::selector(s),
            },
        ]
    }
}

/// Checks the name of a time zone; names are written as the IANA writes them.
fn time_zone(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("timeZone must be nil or non-empty string".into());
    }
    if name.eq_ignore_ascii_case("Local") {
        return Err("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".into());
    }
    let known = jiff::tz::db().get(name).ok().is_some_and(|zone| zone.iana_name() == Some(name));
    if known { Ok(()) } else { Err(format!("unknown time zone {name}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones_are_those_of_the_database() {
        for name in ["Europe/Berlin", "UTC", "Etc/UTC", "America/New_York", "US/Pacific"] {
            assert_eq!(time_zone(name), Ok(()), "{name}");
        }
        assert_eq!(time_zone("Mars/X"), Err("unknown time zone Mars/X".into()));
        assert_eq!(time_zone("europe/berlin"), Err("unknown time zone europe/berlin".into()));
        assert!(time_zone("Local").is_err() && time_zone("").is_err());
    }
}
