//! Whether the cluster takes writes, looked after in the background.

use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::Inner;
use super::client::Repeat;
use super::messages::{AlarmRequest, AlarmResponse, AlarmType};
use crate::Error;

/// How often the cluster is asked how it is.
const EVERY: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(3);

/// What keeps the cluster from taking writes although it answers.
#[derive(Default)]
pub struct Health(Mutex<Option<Error>>);

impl Health {
    /// Why it takes no writes, if so.
    pub fn alarm(&self) -> Option<Error> {
        self.0.lock().clone()
    }

    /// Notes why a write failed.
    pub fn note(&self, error: &Error) {
        if matches!(error, Error::NoSpace(_)) {
            self.set(Some(error.clone()));
        }
    }

    /// Notes that a write was taken.
    pub fn note_written(&self) {
        let is_full = matches!(&*self.0.lock(), Some(Error::NoSpace(_)));
        if is_full {
            self.set(None);
        }
    }

    fn set(&self, alarm: Option<Error>) {
        let before = std::mem::replace(&mut *self.0.lock(), alarm.clone());
        match (before, alarm) {
            (None, Some(error)) => tracing::error!(%error, "etcd takes no writes"),
            (Some(_), None) => tracing::info!("etcd takes writes again"),
            _ => {}
        }
    }
}

/// Asks again and again until the store is dropped.
pub async fn run(inner: Weak<Inner>) {
    loop {
        sleep(EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        match timeout(LIMIT, inner.current_revision()).await {
            Ok(Ok(_)) => look(&inner).await,
            // The client has noted it.
            Ok(Err(_)) => {}
            Err(_) => drop(inner.client.note_down(format!("no answer within {LIMIT:?}"))),
        }
    }
}

async fn look(inner: &Inner) {
    let asked = inner.client.ask("/etcdserverpb.Maintenance/Alarm", AlarmRequest {}, Repeat::Freely, 0).await;
    // Who may not ask learns it from the writes that fail.
    let Ok(AlarmResponse { alarms, .. }) = asked else { return };
    let raised = |what: AlarmType| alarms.iter().any(|member| member.alarm() == what);
    let alarm = if raised(AlarmType::Corrupt) {
        Some(Error::Refused("a member of etcd has found its data corrupt (alarm CORRUPT)".into()))
    } else if raised(AlarmType::NoSpace) {
        Some(Error::NoSpace("alarm NOSPACE".into()))
    } else {
        None
    };
    inner.health.set(alarm);
}
