//! The audit log: who asked for what, and what came of it, as far as a policy wants it written down.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>

mod body;
mod event;
mod log;
mod policy;
mod rotation;
mod trail;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use log::Counts;
use log::Log;
pub use log::{Backend, Mode, Target};
use policy::Policy;
pub use rotation::Rotation;
pub(crate) use trail::{Asked, Trail};
pub use webhook::Webhook;

/// The header by which a request and its answer say under which name it is found in the log.
pub(crate) const ID: HeaderName = HeaderName::from_static("audit-id");

/// The name of a request: what its sender calls it, or a new one.
pub(crate) fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(ID).filter(|id| !id.is_empty() && id.to_str().is_ok());
    let made = || HeaderValue::try_from(uuid::Uuid::new_v4().to_string());
    given.cloned().map_or_else(made, Ok).unwrap_or(HeaderValue::from_static("unnamed"))
}

/// What is written down, and where. Nothing is without both.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file that says what is written down.
    pub policy: Option<PathBuf>,
    /// Where it is written.
    pub backends: Vec<Backend>,
}

/// Writes down what a policy wants.
pub(crate) struct Auditor {
    policy: Policy,
    logs: Vec<Log>,
    counts: Counts,
}

impl Auditor {
    /// # Errors
    /// The policy makes no sense, or the log cannot be written to.
    pub fn open(options: &Options, counts: Counts) -> Result<Option<Arc<Auditor>>> {
        let policy = options.policy.as_deref().map(Policy::read).transpose()?;
        let policy = match (policy, options.backends.is_empty()) {
            (Some(policy), false) => policy,
            (Some(_), true) => {
                tracing::warn!("there is an audit policy but no audit log: nothing is written down");
                return Ok(None);
            }
            (None, false) => {
                tracing::warn!("there is an audit log but no audit policy: nothing is written down");
                return Ok(None);
            }
            (None, true) => return Ok(None),
        };
        let logs: Result<Vec<Log>> = options.backends.iter().map(|log| Log::open(log, &counts)).collect();
        Ok(Some(Arc::new(Auditor { policy, logs: logs?, counts })))
    }

    /// Hands an entry to the logs; whether each of them has it without which nothing may go on.
    async fn write(&self, line: Vec<u8>) -> bool {
        self.counts.events.inc();
        let write = async |log: &Log, line| log.write(line).await || !log.is_strict();
        match self.logs.as_slice() {
            [one] => write(one, line).await,
            several => {
                let all = futures::future::join_all(several.iter().map(|log| write(log, line.clone()))).await;
                all.into_iter().all(|may_go_on| may_go_on)
            }
        }
    }

    /// The same for who cannot wait.
    fn write_later(&self, line: &[u8]) {
        self.counts.events.inc();
        for log in &self.logs {
            log.try_write(line.to_vec());
        }
    }

    /// Counts a request that is refused as it is not written down.
    fn reject(&self) {
        self.counts.rejected.inc();
    }
}
