//! Webhooks that may refuse. All are asked at once.

use std::time::Instant;

use coracle_api::status::Status;
use coracle_policy::admission::refusal;
use futures::future::join_all;
use serde_json::Value;

use super::hooks::{Failure, Hook, Hooks, concerns};
use crate::admission::configured::Configured;
use crate::admission::target::Target;
use crate::admission::{Asking, Plugin, Request, Verdict};
use crate::object::Object;
use crate::operation::Operation;

pub(crate) struct ValidatingAdmissionWebhook {
    asking: Asking,
    hooks: Configured<Hooks>,
}

impl ValidatingAdmissionWebhook {
    pub fn new(asking: Asking) -> Self {
        let make = |objects: &[Vec<Object>], before: &Hooks| Hooks::of(objects.concat().as_slice(), before);
        let hooks = Configured::of(&asking.storage, "v1", &["validatingwebhookconfigurations"], make);
        Self { asking, hooks }
    }

    async fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let target = Target::of(&self.asking, request, object);
        let mut asked = Vec::new();
        for hook in &self.hooks.get().hooks {
            if let Some(kind) = hook.matching(&target, &self.asking.authorizer).await? {
                asked.push((hook.clone(), target.in_version(&kind).await?));
            }
        }
        let calls = asked.iter().map(|(hook, versioned)| async {
            let answer = hook.call(&self.asking.storage, &target, versioned, false).await;
            self.judge(&target, hook, answer.map(|read| (read.allowed, read.status)))
        });
        let began = Instant::now();
        let verdicts = join_all(calls).await;
        target.op.notes.waited(began.elapsed());
        verdicts.into_iter().collect()
    }

    fn judge(&self, target: &Target<'_>, hook: &Hook, answer: Result<(bool, Value), Failure>) -> Result<(), Status> {
        match answer {
            Ok((true, _)) => Ok(()),
            Ok((false, status)) => Err(refusal(&hook.name, &status)),
            Err(Failure::Refused(status)) => Err(status),
            Err(Failure::Call(why)) if hook.ignores_failures => {
                tracing::warn!(webhook = hook.name, "{why}; it is let pass");
                let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{}", hook.index);
                target.op.notes.annotate(key, &hook.name);
                Ok(())
            }
            Err(Failure::Call(why)) => Err(Status::internal(why)),
        }
    }
}

impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, op: &Operation) -> bool {
        concerns(op) && !self.hooks.get().hooks.is_empty()
    }

    fn shows_all(&self) -> bool {
        true
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        Box::pin(self.check(request, object))
    }
}
