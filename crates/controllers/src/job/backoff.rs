//! How long a job waits before it replaces a pod that failed: 10 s, doubled with every failure in a row, up to ten minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::pod::finished_at;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// The failures of a job since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Record {
    failures: u32,
    last: Timestamp,
}

impl Record {
    /// The record once these pods, which ended since, are counted.
    pub fn with(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Record {
        let ends = |pods: &[Arc<Pod>]| pods.iter().map(|pod| finished_at(pod)).collect::<Vec<_>>();
        let last_success = ends(succeeded).into_iter().max();
        let before = if last_success.is_some() { Record::default() } else { self };
        let failures: Vec<Timestamp> =
            ends(failed).into_iter().filter(|end| last_success.is_none_or(|success| *end > success)).collect();
        let count = u32::try_from(failures.len()).unwrap_or(u32::MAX);
        Record {
            failures: before.failures.saturating_add(count),
            last: failures.into_iter().max().unwrap_or(before.last),
        }
    }

    /// How long no pod is made.
    pub fn remaining(self, now: Timestamp) -> Duration {
        remaining(self.failures, self.last, now)
    }
}

/// How long after the last of so many failures no pod is made.
pub(super) fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = FIRST.checked_mul(doubled).unwrap_or(LONGEST).min(LONGEST);
    // A clock that was set back does not make the wait longer.
    let elapsed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    whole.saturating_sub(elapsed)
}

/// The records of all jobs, each with the job's UID: another job of the name begins without. They are lost when the process
/// ends, and begin anew then.
#[derive(Default)]
pub(super) struct Records(Mutex<HashMap<ObjectKey, (String, Record)>>);

impl Records {
    pub fn get(&self, key: &ObjectKey, job: &str) -> Record {
        let all = self.0.lock();
        all.get(key).filter(|(owner, _)| owner == job).map(|(_, record)| *record).unwrap_or_default()
    }

    /// Keeps a record, once its pods are in the status of the job.
    pub fn set(&self, key: &ObjectKey, job: &str, record: Record) {
        let mut all = self.0.lock();
        if record == Record::default() {
            all.remove(key);
        } else {
            all.insert(key.clone(), (job.to_owned(), record));
        }
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(second: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(second).unwrap();
        let value = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "c", "image": "",
            "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": at}}}]}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_wait_doubles_and_ends() {
        let seconds = |failures, now| remaining(failures, at(1000), at(now)).as_secs();
        assert_eq!(seconds(0, 1000), 0);
        assert_eq!(seconds(1, 1000), 10);
        assert_eq!(seconds(3, 1000), 40);
        assert_eq!(seconds(3, 1030), 10);
        assert_eq!(seconds(3, 2000), 0);
        assert_eq!(seconds(4_000_000_000, 1000), 600);
        assert_eq!(seconds(1, 900), 10);
    }

    #[test]
    fn a_success_forgets_the_failures_before_it() {
        let record = Record::default().with(&[], &[ended(10), ended(20)]);
        assert_eq!(record, Record { failures: 2, last: at(20) });
        assert_eq!(record.with(&[], &[]), record);
        assert_eq!(record.with(&[ended(30)], &[]), Record::default());
        assert_eq!(record.with(&[ended(30)], &[ended(25), ended(40)]), Record { failures: 1, last: at(40) });
    }

    #[test]
    fn another_job_of_the_name_begins_without_a_record() {
        let (records, key) = (Records::default(), ObjectKey::new("n", "j"));
        let record = Record { failures: 2, last: at(20) };
        records.set(&key, "a", record);
        assert_eq!((records.get(&key, "a"), records.get(&key, "b")), (record, Record::default()));
    }
}
