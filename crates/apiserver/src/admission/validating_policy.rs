//! ValidatingAdmissionPolicy: expressions refuse what does not fit, where bindings say so.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use std::borrow::Cow;

use coracle_api::meta::{self, list};
use coracle_api::status::{Cause, Status};
use coracle_policy::admission::{Decision, Outcome, Scope, ValidatingPolicy, review_request};
use serde_json::{Value, json};

use super::asked::Asked;
use super::bound_policies::{Policies, Policy, concerns, configuration_error, matching, narrows, params};
use super::configured::Configured;
use super::target::{Target, Versioned};
use super::{Asking, Plugin, Request, Verdict};
use crate::operation::Operation;

pub(super) struct ValidatingAdmissionPolicy {
    asking: Asking,
    policies: Configured<Policies<ValidatingPolicy>>,
}

/// A refusal, and by which binding of which policy; without a binding, the policy itself is wrong.
struct Denied {
    policy: String,
    binding: Option<String>,
    decision: Decision,
}

impl ValidatingAdmissionPolicy {
    pub fn new(asking: Asking) -> Self {
        let plurals = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
        let policies = Configured::of(&asking.storage, "v1", &plurals, Policies::of);
        Self { asking, policies }
    }
}

impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, op: &Operation) -> bool {
        concerns(op) && !self.policies.get().0.is_empty()
    }

    fn shows_all(&self) -> bool {
        true
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        Box::pin(self.check(request, object))
    }
}

impl ValidatingAdmissionPolicy {
    async fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let target = Target::of(&self.asking, request, object);
        let mut denied = Vec::new();
        for (name, policy) in &self.policies.get().0 {
            let constraints = &policy.object["spec"]["matchConstraints"];
            let kind = match matching(&target, constraints) {
                Ok(Some(kind)) => kind,
                Ok(None) => continue,
                Err(why) => {
                    denied.extend(misconfigured(policy, name, None, &why));
                    continue;
                }
            };
            let versioned = match target.in_version(&kind).await {
                Ok(versioned) => versioned,
                Err(status) => {
                    denied.extend(misconfigured(policy, name, None, &status.message));
                    continue;
                }
            };
            for binding in &policy.bindings {
                match self.bound(&target, &versioned, policy, binding).await {
                    Ok(outcomes) => {
                        outcomes.into_iter().for_each(|outcome| act(&target, name, binding, outcome, &mut denied))
                    }
                    Err(why) => denied.extend(misconfigured(policy, name, Some(meta::name(binding)), &why)),
                }
            }
        }
        denied.into_iter().next().map_or(Ok(()), |denied| Err(refusal(&target, denied)))
    }

    /// What a policy says by a binding, for each of its parameters; nothing if the binding is about something else.
    async fn bound(
        &self,
        target: &Target<'_>,
        versioned: &Versioned,
        policy: &Policy<ValidatingPolicy>,
        binding: &Value,
    ) -> Result<Vec<Outcome>, String> {
        let resources = &binding["spec"]["matchResources"];
        if !resources.is_null() && !narrows(target, resources)? {
            return Ok(Vec::new());
        }
        let namespace = target.namespace_object()?;
        let admitted = target.admitted(versioned);
        let request = review_request(&admitted);
        let mut asked = Asked::new(&*self.asking.authorizer, &target.op.user);
        let kind = &policy.object["spec"]["paramKind"];
        let params = params(&self.asking, kind, &binding["spec"]["paramRef"], target.namespace()).await?;
        let evaluate = |authorizer: &Asked<'_>| {
            let scope =
                |params| Scope { admitted: &admitted, request: &request, params, namespace: &namespace, authorizer };
            params.iter().map(|params| policy.compiled.evaluate(&scope(params))).collect()
        };
        Ok(asked.evaluate(evaluate).await)
    }
}

/// The refusal for a policy or binding that cannot be used, unless failures are ignored.
fn misconfigured(policy: &Policy<ValidatingPolicy>, name: &str, binding: Option<&str>, why: &str) -> Option<Denied> {
    let message = configuration_error(binding, why);
    let decision = Decision { index: 0, message, reason: "Invalid".into() };
    let denied = || Denied { policy: name.to_owned(), binding: binding.map(Into::into), decision };
    (!policy.ignores_failures()).then(denied)
}

/// Does what a binding says with what its policy found.
fn act(target: &Target<'_>, policy: &str, binding: &Value, outcome: Outcome, denied: &mut Vec<Denied>) {
    let (notes, name) = (&target.op.notes, meta::name(binding));
    let refuse = |decision: Decision| Denied { policy: policy.to_owned(), binding: Some(name.to_owned()), decision };
    let actions: Vec<&str> = list(binding, &["spec", "validationActions"]).iter().filter_map(Value::as_str).collect();
    for decision in outcome.denials {
        let message = &decision.message;
        if actions.contains(&"Warn") {
            notes.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{name}': {message}"
            ));
        }
        if actions.contains(&"Audit") {
            let failure = json!([{"message": message, "policy": policy, "binding": name,
                "expressionIndex": decision.index, "validationActions": actions}]);
            notes.annotate("validation.policy.admission.k8s.io/validation_failure", failure.to_string());
        }
        if actions.contains(&"Deny") {
            denied.push(refuse(decision));
        }
    }
    denied.extend(outcome.failures.into_iter().map(refuse));
    for annotation in outcome.annotations {
        notes.annotate(format!("{policy}/{}", annotation.key), annotation.value);
    }
}

fn refusal(target: &Target<'_>, denied: Denied) -> Status {
    let Denied { policy, binding, decision } = denied;
    let bound = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
    let why = format!("ValidatingAdmissionPolicy '{policy}'{bound} denied request: {}", decision.message);
    let kind = &target.op.kind;
    let mut status = Status::forbidden(&kind.group, &kind.plural, target.name(), &why);
    status.code = match &*decision.reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = Cow::Owned(decision.reason);
    status.details.get_or_insert_default().causes.push(Cause { message: why, ..Cause::default() });
    status
}
