//! ValidatingAdmissionPolicy: expressions refuse what does not fit, where bindings say so.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::meta::{self, list, text};
use coracle_api::selector::LabelSelector;
use coracle_api::status::{Cause, Status};
use coracle_policy::admission::{Decision, Outcome, Scope, ValidatingPolicy, review_request};
use coracle_store::Revision;
use serde_json::{Value, json};

use super::asked::Asked;
use super::configured::{Configured, GROUP};
use super::target::{Target, Versioned};
use super::{Plugin, Request, Verdict, asks_others, at_once};
use crate::authz::Chain;
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::{Storage, key};
use crate::version::in_version_value;

pub(super) struct ValidatingAdmissionPolicy {
    storage: Arc<Storage>,
    authorizer: Arc<Chain>,
    policies: Configured<Policies>,
}

/// The policies that are bound, by name.
#[derive(Default)]
struct Policies(BTreeMap<String, Arc<Policy>>);

struct Policy {
    revision: Revision,
    object: Value,
    compiled: Arc<ValidatingPolicy>,
    bindings: Vec<Value>,
}

/// A refusal, and by which binding of which policy; without a binding, the policy itself is wrong.
struct Denied {
    policy: String,
    binding: Option<String>,
    decision: Decision,
}

impl ValidatingAdmissionPolicy {
    pub fn new(storage: Arc<Storage>, authorizer: Arc<Chain>) -> Self {
        let plurals = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
        let policies = Configured::of(&storage, &plurals, Policies::of);
        Self { storage, authorizer, policies }
    }
}

impl Policies {
    fn of(objects: &[Vec<Object>], before: &Policies) -> Policies {
        let [policies, bindings] = objects else { return Policies::default() };
        let mut bound: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for binding in bindings.iter().map(Object::value) {
            bound.entry(text(&binding, &["spec", "policyName"]).to_owned()).or_default().push(binding);
        }
        let policy = |object: &Object| {
            let bindings = bound.remove(object.name())?;
            let known = before.0.get(object.name()).filter(|known| known.revision == object.revision());
            let value = object.value();
            // Compiling is dear, and most policies stay as they are.
            let compiled =
                known.map_or_else(|| Arc::new(ValidatingPolicy::new(&value)), |known| known.compiled.clone());
            let policy = Policy { revision: object.revision(), object: value, compiled, bindings };
            Some((object.name().to_owned(), Arc::new(policy)))
        };
        Policies(policies.iter().filter_map(policy).collect())
    }
}

impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, op: &Operation) -> bool {
        // Nobody is locked out of what locks them out.
        let is_policy = op.kind.group == GROUP && op.kind.kind.contains("AdmissionPolicy");
        !is_policy && asks_others(op) && !self.policies.get().0.is_empty()
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        at_once(self.check(request, object))
    }
}

impl ValidatingAdmissionPolicy {
    fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let target = Target::of(&self.storage, request, object);
        let mut denied = Vec::new();
        for (name, policy) in &self.policies.get().0 {
            let constraints = &policy.object["spec"]["matchConstraints"];
            let kind = match matching(&target, constraints) {
                Ok(Some(kind)) => kind,
                Ok(None) => continue,
                Err(why) => {
                    denied.extend(policy.misconfigured(name, None, &why));
                    continue;
                }
            };
            let versioned = target.in_version(&kind);
            for binding in &policy.bindings {
                match self.bound(&target, &versioned, policy, binding) {
                    Ok(outcomes) => {
                        outcomes.into_iter().for_each(|outcome| act(&target, name, binding, outcome, &mut denied))
                    }
                    Err(why) => denied.extend(policy.misconfigured(name, Some(meta::name(binding)), &why)),
                }
            }
        }
        denied.into_iter().next().map_or(Ok(()), |denied| Err(refusal(&target, denied)))
    }

    /// What a policy says by a binding, for each of its parameters; nothing if the binding is about something else.
    fn bound(
        &self,
        target: &Target<'_>,
        versioned: &Versioned,
        policy: &Policy,
        binding: &Value,
    ) -> Result<Vec<Outcome>, String> {
        let resources = &binding["spec"]["matchResources"];
        if !resources.is_null() && !narrows(target, resources)? {
            return Ok(Vec::new());
        }
        let namespace = target.namespace_object()?;
        let admitted = target.admitted(versioned);
        let request = review_request(&admitted);
        let authorizer = Asked { authorizer: &*self.authorizer, user: &target.op.user };
        let evaluate = |params: &Value| {
            let scope = Scope {
                admitted: &admitted,
                request: &request,
                params,
                namespace: &namespace,
                authorizer: &authorizer,
            };
            policy.compiled.evaluate(&scope)
        };
        let kind = &policy.object["spec"]["paramKind"];
        let params = params(&self.storage, kind, &binding["spec"]["paramRef"], target.namespace())?;
        Ok(params.iter().map(evaluate).collect())
    }
}

impl Policy {
    /// The refusal for a policy or binding that cannot be used, unless failures are ignored.
    fn misconfigured(&self, name: &str, binding: Option<&str>, why: &str) -> Option<Denied> {
        let what = if binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {why}");
        let decision = Decision { index: 0, message, reason: "Invalid".into() };
        (self.object["spec"]["failurePolicy"] != "Ignore").then(|| Denied {
            policy: name.to_owned(),
            binding: binding.map(Into::into),
            decision,
        })
    }
}

/// The kind that match resources are about, if they are about the target at all.
fn matching(target: &Target<'_>, resources: &Value) -> Result<Option<Arc<coracle_api::Kind>>, String> {
    if !target.is_selected(resources)? {
        return Ok(None);
    }
    let policy = text(resources, &["matchPolicy"]);
    if target.matching(policy, list(resources, &["excludeResourceRules"])).is_some() {
        return Ok(None);
    }
    Ok(target.matching(policy, list(resources, &["resourceRules"])))
}

/// Whether a binding is about the target; one without rules is about all that its policy is about.
fn narrows(target: &Target<'_>, resources: &Value) -> Result<bool, String> {
    if !list(resources, &["resourceRules"]).is_empty() {
        return Ok(matching(target, resources)?.is_some());
    }
    let policy = text(resources, &["matchPolicy"]);
    let excluded = target.matching(policy, list(resources, &["excludeResourceRules"])).is_some();
    Ok(!excluded && target.is_selected(resources)?)
}

/// The parameters that a binding refers to; `null` where there is nothing to refer to.
fn params(storage: &Storage, kind: &Value, reference: &Value, namespace: &str) -> Result<Vec<Value>, String> {
    if kind.is_null() || reference.is_null() {
        return Ok(vec![Value::Null]);
    }
    let (api_version, name) = (text(kind, &["apiVersion"]), text(kind, &["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(kind) = storage.kinds.snapshot().by_kind(group, version, name).cloned() else {
        return Err(format!("paramKind kind `&ParamKind{{APIVersion:{api_version},Kind:{name},}}` not known"));
    };
    let own = text(reference, &["namespace"]);
    let namespace = match (kind.namespaced, own, namespace) {
        (false, "", _) => None,
        (false, ..) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
        (true, "", "") => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        (true, "", namespace) | (true, namespace, _) => Some(namespace),
    };
    let told = |status: Status| status.message;
    let cache = storage.cache(&kind).map_err(told)?;
    let found: Vec<Object> = match text(reference, &["name"]) {
        "" => {
            let selector = LabelSelector::from_object(&reference["selector"])?;
            let prefix = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
            let snapshot = cache.snapshot();
            let is_selected = |object: &&Object| selector.matches(&object.value()["metadata"]["labels"]);
            snapshot.range(&prefix, None).filter(is_selected).cloned().collect()
        }
        name => cache.get(&key(namespace, name)).map_err(told)?.into_iter().collect(),
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.iter().map(|object| in_version_value(&kind, object.value())).collect())
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
