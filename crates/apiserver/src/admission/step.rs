//! How long plugins take, for the metrics.

use std::time::Instant;

use coracle_api::status::Status;

use super::{Plugin, Verdict};
use crate::metrics::METRICS;
use crate::operation::{Operation, Verb};

/// One of the two times at which all plugins are asked.
pub(super) struct Step {
    name: &'static str,
    operation: &'static str,
    began: Instant,
}

impl Step {
    /// `admit` or `validate`, of a write.
    pub fn begin(name: &'static str, op: &Operation) -> Step {
        Step { name, operation: operation(op.verb), began: Instant::now() }
    }

    /// Waits for what a plugin says. When it refuses, the step is over.
    pub async fn asked(&self, plugin: &dyn Plugin, verdict: Verdict<'_>) -> Result<(), Status> {
        let began = Instant::now();
        let verdict = verdict.await;
        let rejected = if verdict.is_err() { "true" } else { "false" };
        if !plugin.name().is_empty() {
            let labels = [plugin.name(), self.operation, rejected, self.name];
            METRICS.plugins.with(labels, |duration| duration.observe_since(began));
        }
        if verdict.is_err() {
            self.ends(rejected);
        }
        verdict
    }

    /// Nobody refused.
    pub fn passed(&self) -> Result<(), Status> {
        self.ends("false");
        Ok(())
    }

    fn ends(&self, rejected: &str) {
        METRICS.steps.with([self.operation, rejected, self.name], |duration| duration.observe_since(self.began));
    }
}

/// What is done, as metrics have it.
pub(super) fn operation(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "CREATE",
        Verb::Update => "UPDATE",
        Verb::Delete => "DELETE",
        Verb::Connect => "CONNECT",
    }
}
