//! Webhooks that may change what is written. They are asked one after the other, each about what those before it made; if
//! one changed something, all of admission has a second round, in which those are asked again that want to.

use std::sync::Arc;
use std::time::Instant;

use coracle_api::Kind;
use coracle_api::patch::json_patch;
use coracle_api::status::Status;
use coracle_policy::admission::refusal;
use serde_json::{Value, json};

use super::hooks::{Failure, Hook, Hooks, concerns};
use crate::admission::configured::Configured;
use crate::admission::rounds::Stage;
use crate::admission::target::Target;
use crate::admission::{Asking, Plugin, Request, Verdict};
use crate::object::Object;
use crate::operation::Operation;

pub(crate) struct MutatingAdmissionWebhook {
    asking: Asking,
    hooks: Configured<Hooks>,
}

impl MutatingAdmissionWebhook {
    pub fn new(asking: Asking) -> Self {
        let make = |objects: &[Vec<Object>], before: &Hooks| Hooks::of(objects.concat().as_slice(), before);
        let hooks = Configured::of(&asking.storage, "v1", &["mutatingwebhookconfigurations"], make);
        Self { asking, hooks }
    }

    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let again = request.rounds.of(Stage::Webhooks).begin(object);
        for hook in &self.hooks.get().hooks {
            let target = Target::of(&self.asking, request, object);
            let Some(kind) = hook.matching(&target, &self.asking.authorizer).await? else { continue };
            if again && !request.rounds.of(Stage::Webhooks).wants(hook.id()) {
                continue;
            }
            let changed = self.ask(request, &target, hook, &kind).await?;
            drop(target);
            if let Some(new) = changed {
                if new != *object {
                    request.rounds.of(Stage::Webhooks).changed();
                }
                *object = new;
            }
            if hook.reinvocable {
                request.rounds.of(Stage::Webhooks).asked(hook.id());
            }
        }
        request.rounds.of(Stage::Webhooks).end(object);
        Ok(())
    }

    /// The object as a webhook wants it; `None` if it is to stay as it is.
    async fn ask(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        hook: &Hook,
        kind: &Arc<Kind>,
    ) -> Result<Option<Value>, Status> {
        let versioned = target.in_version(kind).await?;
        let began = Instant::now();
        let answer = hook.call(&self.asking.storage, target, &versioned, true).await;
        target.op.notes.waited(began.elapsed());
        let round = request.rounds.of(Stage::Webhooks).number();
        let place = format!("round_{round}_index_{}", hook.index);
        let read = match answer {
            Ok(read) if read.allowed => read,
            Ok(read) => return Err(refusal(&hook.name, &read.status)),
            Err(Failure::Refused(status)) => return Err(status),
            Err(Failure::Call(why)) if hook.ignores_failures => {
                tracing::warn!(webhook = hook.name, "{why}; it is let pass");
                let key = format!("failed-open.mutation.webhook.admission.k8s.io/{place}");
                target.op.notes.annotate(key, &hook.name);
                return Ok(None);
            }
            Err(Failure::Call(why)) => return Err(Status::internal(why)),
        };
        let new = match read.patch {
            Some(patch) => match patched(hook, target, kind, versioned.object, &patch)? {
                Some(new) => Some(target.put(&self.asking.conversions, kind, new).await?),
                None => None,
            },
            None => None,
        };
        let mutation = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": new.is_some()});
        target.op.notes.annotate(format!("mutation.webhook.admission.k8s.io/{place}"), mutation.to_string());
        Ok(new)
    }
}

/// An object with the patch of a webhook; `None` if the patch changes nothing.
fn patched(
    hook: &Hook,
    target: &Target<'_>,
    kind: &Kind,
    object: Option<Value>,
    patch: &[u8],
) -> Result<Option<Value>, Status> {
    let name = &hook.name;
    let patch: Value = serde_json::from_slice(patch).map_err(|error| {
        Status::internal(format!(
            "failed calling webhook \"{name}\": received undecodable patch in webhook response: {error}"
        ))
    })?;
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let Some(mut object) = object else {
        return Err(Status::internal(format!(
            "admission webhook \"{name}\" attempted to modify the object, which is not supported for this operation"
        )));
    };
    json_patch(&mut object, &patch).map_err(|status| Status::internal(status.message))?;
    target.decode(kind, &mut object).map_err(Status::internal)?;
    Ok(Some(object))
}

impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn handles(&self, op: &Operation) -> bool {
        concerns(op) && !self.hooks.get().hooks.is_empty()
    }

    fn shows_all(&self) -> bool {
        true
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        Box::pin(self.mutate(request, object))
    }
}
