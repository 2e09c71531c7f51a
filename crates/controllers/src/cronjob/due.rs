//! Which run of a CronJob is due, and when to look again.

use std::time::Duration;

use coracle_api::cron::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt;

/// More runs than this that were missed are worth a warning.
const MANY: usize = 100;
/// How much later than the schedule says one looks: clocks are set by fractions of a second.
const DELTA: Duration = Duration::from_millis(100);

/// A schedule by the clock of its zone.
pub(super) struct Clock {
    pub schedule: Schedule,
    pub zone: TimeZone,
}

/// A run whose time has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due {
    /// The latest time of the schedule.
    pub at: Timestamp,
    /// Whether many before it were missed.
    pub missed_many: bool,
}

impl Clock {
    /// The latest run that has not been started; `None` when there is none. Runs before the last one, or so long ago that they
    /// may not start any more, do not count.
    pub fn due(&self, job: &CronJob, now: Timestamp) -> Option<Due> {
        let deadline = job.spec.as_ref().and_then(|spec| spec.starting_deadline_seconds);
        let earliest = deadline.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
        let after = last_run(job).max(earliest.unwrap_or(Timestamp::MIN));
        let mut at = self.schedule.next(after, &self.zone).filter(|first| *first <= now)?;
        for _ in 0..MANY {
            match self.schedule.next(at, &self.zone) {
                Some(next) if next <= now => at = next,
                _ => return Some(Due { at, missed_many: false }),
            }
        }
        Some(Due { at: self.latest(at, now), missed_many: true })
    }

    /// The latest time of the schedule up to `now`, of which `known` is one.
    fn latest(&self, known: Timestamp, now: Timestamp) -> Timestamp {
        if let Schedule::Every(every) = &self.schedule {
            let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
            let elapsed = now.as_second().saturating_sub(known.as_second());
            let late = elapsed.checked_rem(every).unwrap_or(0);
            return Timestamp::from_second(now.as_second().saturating_sub(late)).unwrap_or(known);
        }
        // Halves what is between a time after which one is due and one after which none is.
        let (mut latest, mut low, mut high) = (known, known.as_second(), now.as_second());
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            let next = Timestamp::from_second(middle).ok().and_then(|from| self.schedule.next(from, &self.zone));
            match next.filter(|next| *next <= now) {
                Some(found) => (latest, low) = (found, middle),
                None => high = middle,
            }
        }
        latest
    }

    /// How long until the next run after `now`.
    pub fn until_next(&self, job: &CronJob, now: Timestamp) -> Option<Duration> {
        let from = match self.schedule {
            // What comes again after a time goes on from the last run.
            Schedule::Every(_) => self
                .schedule
                .next(last_run(job), &self.zone)
                .map_or(now, |first| if first > now { last_run(job) } else { self.latest(first, now) }),
            Schedule::Times(_) => now,
        };
        let wait = self.schedule.next(from, &self.zone)?.duration_since(now);
        Some(Duration::try_from(wait).unwrap_or_default().saturating_add(DELTA))
    }
}

/// When the last run was to start, or since when there is the job.
fn last_run(job: &CronJob) -> Timestamp {
    let last = job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    last.or(job.metadata.creation_timestamp.as_ref()).map_or(Timestamp::MAX, |time| time.0)
}

/// The name of the job of a run: the same run is not started twice.
pub(super) fn job_name(job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", job.name_any(), at.as_second().div_euclid(60))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(last: Option<&str>, deadline: Option<i64>) -> CronJob {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "creationTimestamp": "2026-07-09T10:00:30Z"},
            "spec": {"schedule": "", "jobTemplate": {}, "startingDeadlineSeconds": deadline},
            "status": {"lastScheduleTime": last},
        }))
        .unwrap()
    }

    fn clock(schedule: &str) -> Clock {
        Clock { schedule: Schedule::parse(schedule).unwrap(), zone: TimeZone::UTC }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn due(schedule: &str, last: Option<&str>, deadline: Option<i64>, now: &str) -> Option<(String, bool)> {
        clock(schedule).due(&job(last, deadline), at(now)).map(|due| (due.at.to_string(), due.missed_many))
    }

    #[test]
    fn the_first_run_comes_after_the_creation() {
        assert_eq!(due("* * * * *", None, None, "2026-07-09T10:00:59Z"), None);
        let first = Some(("2026-07-09T10:01:00Z".to_owned(), false));
        assert_eq!(due("* * * * *", None, None, "2026-07-09T10:01:00Z"), first);
    }

    #[test]
    fn of_missed_runs_the_latest_is_due() {
        let last = Some("2026-07-09T11:00:00Z");
        assert_eq!(due("0 * * * *", last, None, "2026-07-09T11:59:00Z"), None);
        let latest = Some(("2026-07-09T15:00:00Z".to_owned(), false));
        assert_eq!(due("0 * * * *", last, None, "2026-07-09T15:59:00Z"), latest);
        let after_days = Some(("2026-07-29T15:00:00Z".to_owned(), true));
        assert_eq!(due("0 * * * *", last, None, "2026-07-29T15:59:00Z"), after_days);
        let every = Some(("2026-07-29T15:59:00Z".to_owned(), true));
        assert_eq!(due("@every 7m", Some("2026-07-09T11:00:00Z"), None, "2026-07-29T16:00:00Z"), every);
        let irregular = Some(("2027-07-09T22:00:00Z".to_owned(), true));
        assert_eq!(due("0 6-22/4 * * 1-5", last, None, "2027-07-11T12:00:00Z"), irregular);
    }

    #[test]
    fn the_latest_of_a_month_long_ago_is_found_at_once() {
        let latest = Some(("2026-01-31T23:59:00Z".to_owned(), true));
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(due("* * * 1 *", Some("2025-12-31T23:00:00Z"), None, "2026-08-09T10:00:30Z"), latest);
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_deadline_forgets_what_is_too_late() {
        let last = Some("2026-07-09T11:00:00Z");
        assert_eq!(due("0 * * * *", last, Some(60), "2026-07-29T15:59:00Z"), None);
        let just = Some(("2026-07-29T16:00:00Z".to_owned(), false));
        assert_eq!(due("0 * * * *", last, Some(60), "2026-07-29T16:00:59Z"), just);
    }

    #[test]
    fn one_looks_again_at_the_next_time() {
        let wait = |schedule: &str, now: &str| clock(schedule).until_next(&job(None, None), at(now)).unwrap();
        assert_eq!(wait("0 * * * *", "2026-07-09T11:59:00Z"), Duration::from_millis(60_100));
        assert_eq!(wait("@every 1h", "2026-07-09T10:00:40Z"), Duration::from_millis(3_590_100));
        assert_eq!(wait("@every 1h", "2026-07-09T13:00:40Z"), Duration::from_millis(3_590_100));
        assert_eq!(clock("0 0 31 2 *").until_next(&job(None, None), at("2026-07-09T11:59:00Z")), None);
    }

    #[test]
    fn a_run_has_one_name() {
        assert_eq!(job_name(&job(None, None), at("2026-07-09T11:00:00Z")), "c-29726580");
    }
}
