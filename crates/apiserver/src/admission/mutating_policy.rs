//! MutatingAdmissionPolicy: expressions change what is written, where bindings say so. Each sees what those before it made;
//! if one changed something, all of admission has a second round.
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>

use std::borrow::Cow;
use std::sync::Arc;

use coracle_api::apply::{Builtin, merge_unowned};
use coracle_api::patch::{TEST_FAILED, json_patch};
use coracle_api::schema::DefId;
use coracle_api::schema::structural::Node;
use coracle_api::status::{Cause, Status};
use coracle_api::{Kind, meta};
use coracle_policy::admission::{Change, MutatingPolicy, Scope, Verdict as Matched, review_request};
use serde_json::Value;

use super::asked::Asked;
use super::bound_policies::{Policies, Policy, concerns, configuration_error, matching, narrows, params};
use super::configured::Configured;
use super::rounds::Stage;
use super::target::Target;
use super::{Asking, Plugin, Request, Verdict};
use crate::operation::Operation;

pub(super) struct MutatingAdmissionPolicy {
    asking: Asking,
    policies: Configured<Policies<MutatingPolicy>>,
}

/// A policy that is about a write, by one of its bindings, with one of the parameters of that.
struct Invocation {
    name: String,
    policy: Arc<Policy<MutatingPolicy>>,
    binding: String,
    params: Value,
    kind: Arc<Kind>,
}

impl Invocation {
    /// Tells it from all others.
    fn id(&self) -> String {
        let params = &self.params;
        format!("{}\0{}\0{}/{}", self.name, self.binding, meta::namespace(params), meta::name(params))
    }
}

/// What goes wrong: by which policy and binding, and why.
struct Failure {
    policy: String,
    binding: Option<String>,
    why: String,
}

impl MutatingAdmissionPolicy {
    pub fn new(asking: Asking) -> Self {
        let plurals = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];
        let policies = Configured::of(&asking.storage, "v1beta1", &plurals, Policies::of);
        Self { asking, policies }
    }

    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let round = request.rounds.of(Stage::Policies);
        let again = round.begin(object);
        let mut failures = Vec::new();
        let invocations = self.invocations(&Target::of(&self.asking, request, object), &mut failures).await;
        for invocation in invocations {
            if again && !round.wants((&invocation.id(), 0)) {
                continue;
            }
            let target = Target::of(&self.asking, request, object);
            let changed = match self.invoke(&target, &invocation, &mut failures).await? {
                None => continue,
                Some(new) => new,
            };
            drop(target);
            if let Some(new) = changed
                && new != *object
            {
                round.changed();
                *object = new;
            }
            if invocation.policy.object["spec"]["reinvocationPolicy"] == "IfNeeded" {
                round.asked((&invocation.id(), 0));
            }
        }
        round.end(object);
        refusal(request.op, failures)
    }

    /// Which policies are about a write, in the order of their names.
    async fn invocations(&self, target: &Target<'_>, failures: &mut Vec<Failure>) -> Vec<Invocation> {
        let mut found = Vec::new();
        for (name, policy) in &self.policies.get().0 {
            let fail = |binding: Option<&str>, why: String| {
                let why = configuration_error(binding, &why);
                let failure = Failure { policy: name.clone(), binding: binding.map(Into::into), why };
                Some(failure).filter(|_| !policy.ignores_failures())
            };
            let kind = match matching(target, &policy.object["spec"]["matchConstraints"]) {
                Ok(Some(kind)) => kind,
                Ok(None) => continue,
                Err(why) => {
                    failures.extend(fail(None, why));
                    continue;
                }
            };
            for binding in &policy.bindings {
                match self.params(target, policy, binding).await {
                    Ok(params) => found.extend(params.into_iter().map(|params| Invocation {
                        name: name.clone(),
                        policy: policy.clone(),
                        binding: meta::name(binding).to_owned(),
                        params,
                        kind: kind.clone(),
                    })),
                    Err(why) => failures.extend(fail(Some(meta::name(binding)), why)),
                }
            }
        }
        found
    }

    /// The parameters of a binding; none if it is about something else.
    async fn params(
        &self,
        target: &Target<'_>,
        policy: &Policy<MutatingPolicy>,
        binding: &Value,
    ) -> Result<Vec<Value>, String> {
        let resources = &binding["spec"]["matchResources"];
        if !resources.is_null() && !narrows(target, resources)? {
            return Ok(Vec::new());
        }
        let kind = &policy.object["spec"]["paramKind"];
        params(&self.asking, kind, &binding["spec"]["paramRef"], target.namespace()).await
    }

    /// Lets a policy change the object: nothing if its conditions do not hold, otherwise what it made of the object, if
    /// anything.
    async fn invoke(
        &self,
        target: &Target<'_>,
        invocation: &Invocation,
        failures: &mut Vec<Failure>,
    ) -> Result<Option<Option<Value>>, Status> {
        let policy = &invocation.policy;
        let mut fail = |why: String| {
            let (name, binding) = (invocation.name.clone(), Some(invocation.binding.clone()));
            if !policy.ignores_failures() {
                failures.push(Failure { policy: name, binding, why });
            }
        };
        let namespace = target.namespace_object().map_err(Status::internal)?;
        let mut versioned = target.in_version(&invocation.kind).await?;
        let mut asked = Asked::new(&*self.asking.authorizer, &target.op.user);
        let (params, namespace) = (&invocation.params, &namespace);
        let matches = |authorizer: &Asked<'_>| {
            let admitted = target.admitted(&versioned);
            let request = review_request(&admitted);
            policy.compiled.matches(&Scope { admitted: &admitted, request: &request, params, namespace, authorizer })
        };
        match asked.evaluate(matches).await {
            Matched::Matches => {}
            Matched::Differs => return Ok(None),
            Matched::Fails(why) => {
                fail(why);
                return Ok(None);
            }
        }
        if versioned.object.is_none() {
            return Ok(Some(None));
        }
        let before = versioned.object.clone();
        for index in 0..policy.compiled.count() {
            let change = |authorizer: &Asked<'_>| {
                let admitted = target.admitted(&versioned);
                let request = review_request(&admitted);
                let scope = Scope { admitted: &admitted, request: &request, params, namespace, authorizer };
                policy.compiled.change(index, &scope)
            };
            let change = asked.evaluate(change).await;
            let Some(object) = &versioned.object else { continue };
            match change.and_then(|change| changed(target, &invocation.kind, object, change)) {
                Ok(new) => versioned.object = Some(new),
                Err(why) => fail(why),
            }
        }
        match versioned.object.filter(|new| Some(new) != before.as_ref()) {
            None => Ok(Some(None)),
            Some(new) => target.put(&self.asking.conversions, &invocation.kind, new).await.map(|new| Some(Some(new))),
        }
    }
}

/// The object with a change, in its form and with its defaults.
fn changed(target: &Target<'_>, kind: &Arc<Kind>, object: &Value, change: Change) -> Result<Value, String> {
    let mut new = match change {
        Change::Patch(patch) => match patched(object, &patch)? {
            Some(new) => new,
            None => return Ok(object.clone()),
        },
        Change::Configuration(mut configuration) => {
            meta::set_type(&mut configuration, meta::api_version(object), meta::kind(object));
            merged(kind, target.sent(), object, &configuration).map_err(|why| format!("error applying patch: {why}"))?
        }
    };
    target.decode(kind, &mut new)?;
    if target.sent().is_none() {
        kind.strategy.default(&mut new);
    }
    Ok(new)
}

/// An object with a patch; nothing if a test of the patch does not hold.
fn patched(object: &Value, patch: &Value) -> Result<Option<Value>, String> {
    let mut new = object.clone();
    match json_patch(&mut new, patch) {
        Ok(()) => Ok(Some(new)),
        Err(status) if status.message.ends_with(TEST_FAILED) => Ok(None),
        Err(status) => Err(format!("JSONPath: {}", status.message)),
    }
}

fn merged(kind: &Kind, sent: Option<DefId>, object: &Value, configuration: &Value) -> Result<Value, String> {
    match (sent.or(kind.def()), kind.schema.structural()) {
        (Some(def), _) => merge_unowned(Builtin::new(def), object, configuration),
        (None, Some(definition)) => merge_unowned(Node::root(&definition.root), object, configuration),
        (None, None) => Err("type converter must not be nil".into()),
    }
}

/// The refusal of a write for which policies failed.
fn refusal(op: &Operation, failures: Vec<Failure>) -> Result<(), Status> {
    let told = |failure: &Failure| match &failure.binding {
        Some(binding) => {
            format!("policy '{}' with binding '{binding}' denied request: {}", failure.policy, failure.why)
        }
        None => format!("policy {:?} denied request: {}", failure.policy, failure.why),
    };
    let told: Vec<String> = failures.iter().map(told).collect();
    let Some(first) = told.first().cloned() else { return Ok(()) };
    let mut status = Status::forbidden(&op.kind.group, &op.kind.plural, &op.name, "");
    status.message = first;
    status.reason = Cow::Borrowed("Invalid");
    let causes = told.into_iter().map(|message| Cause { message, ..Cause::default() });
    status.details.get_or_insert_default().causes.extend(causes);
    Err(status)
}

impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, op: &Operation) -> bool {
        concerns(op) && !self.policies.get().0.is_empty()
    }

    fn shows_all(&self) -> bool {
        true
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        Box::pin(self.mutate(request, object))
    }
}
