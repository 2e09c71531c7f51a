//! The audit log: who asked for what, and what came of it, as far as a policy wants it written down.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>

mod body;
mod event;
mod log;
mod policy;
mod rotation;
mod trail;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use log::Counts;
use log::Log;
pub use log::{Mode, Target};
use policy::Policy;
pub use rotation::Rotation;
pub(crate) use trail::{Asked, Trail};

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
    pub log: Option<Target>,
    /// Whether requests wait for it.
    pub mode: Mode,
    /// How many entries may wait to be written.
    pub buffer: usize,
}

/// Writes down what a policy wants.
pub(crate) struct Auditor {
    policy: Policy,
    log: Log,
}

impl Auditor {
    /// # Errors
    /// The policy makes no sense, or the log cannot be written to.
    pub fn open(options: &Options, counts: Counts) -> Result<Option<Arc<Auditor>>> {
        let policy = options.policy.as_deref().map(Policy::read).transpose()?;
        let (policy, target) = match (policy, &options.log) {
            (Some(policy), Some(target)) => (policy, target),
            (Some(_), None) => {
                tracing::warn!("there is an audit policy but no audit log: nothing is written down");
                return Ok(None);
            }
            (None, Some(_)) => {
                tracing::warn!("there is an audit log but no audit policy: nothing is written down");
                return Ok(None);
            }
            (None, None) => return Ok(None),
        };
        let log = Log::open(target, options.mode, options.buffer, counts)?;
        Ok(Some(Arc::new(Auditor { policy, log })))
    }
}
