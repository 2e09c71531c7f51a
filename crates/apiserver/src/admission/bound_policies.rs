//! Policies with their bindings, and what they are about: the same for those that refuse and those that change.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Kind;
use coracle_api::meta::{list, text};
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use coracle_policy::admission::{MutatingPolicy, ValidatingPolicy};
use coracle_store::Revision;
use serde_json::Value;

use super::configured::GROUP;
use super::target::Target;
use super::{Asking, asks_others};
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::key;

/// What a policy is compiled to.
pub(super) trait Compiled {
    /// Compiles a policy.
    fn of(policy: &Value) -> Self;
}

impl Compiled for ValidatingPolicy {
    fn of(policy: &Value) -> Self {
        ValidatingPolicy::new(policy)
    }
}

impl Compiled for MutatingPolicy {
    fn of(policy: &Value) -> Self {
        MutatingPolicy::new(policy)
    }
}

/// The policies that are bound, by name.
pub(super) struct Policies<C>(pub BTreeMap<String, Arc<Policy<C>>>);

impl<C> Default for Policies<C> {
    fn default() -> Self {
        Policies(BTreeMap::new())
    }
}

/// A policy with its bindings.
pub(super) struct Policy<C> {
    revision: Revision,
    pub object: Value,
    pub compiled: Arc<C>,
    pub bindings: Vec<Value>,
}

impl<C: Compiled> Policies<C> {
    /// Those of policies and of bindings; what has not changed is not compiled again.
    pub fn of(objects: &[Vec<Object>], before: &Policies<C>) -> Policies<C> {
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
            let compiled = known.map_or_else(|| Arc::new(C::of(&value)), |known| known.compiled.clone());
            let policy = Policy { revision: object.revision(), object: value, compiled, bindings };
            Some((object.name().to_owned(), Arc::new(policy)))
        };
        Policies(policies.iter().filter_map(policy).collect())
    }
}

impl<C> Policy<C> {
    /// Whether what goes wrong refuses nothing.
    pub fn ignores_failures(&self) -> bool {
        self.object["spec"]["failurePolicy"] == "Ignore"
    }
}

/// Whether policies are asked about a write at all: nobody is locked out of what locks them out.
pub(super) fn concerns(op: &Operation) -> bool {
    let is_policy = op.kind.group == GROUP && op.kind.kind.contains("AdmissionPolicy");
    !is_policy && asks_others(op)
}

/// What is told of a policy or binding that cannot be used.
pub(super) fn configuration_error(binding: Option<&str>, why: &str) -> String {
    let what = if binding.is_some() { "binding" } else { "policy" };
    format!("failed to configure {what}: {why}")
}

/// The kind that match resources are about, if they are about the target at all.
pub(super) fn matching(target: &Target<'_>, resources: &Value) -> Result<Option<Arc<Kind>>, String> {
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
pub(super) fn narrows(target: &Target<'_>, resources: &Value) -> Result<bool, String> {
    if !list(resources, &["resourceRules"]).is_empty() {
        return Ok(matching(target, resources)?.is_some());
    }
    let policy = text(resources, &["matchPolicy"]);
    let excluded = target.matching(policy, list(resources, &["excludeResourceRules"])).is_some();
    Ok(!excluded && target.is_selected(resources)?)
}

/// The parameters that a binding refers to; `null` where there is nothing to refer to.
pub(super) async fn params(
    asking: &Asking,
    kind: &Value,
    reference: &Value,
    namespace: &str,
) -> Result<Vec<Value>, String> {
    let storage = &asking.storage;
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
    let mut params = Vec::with_capacity(found.len());
    for object in found {
        params.push(asking.conversions.object(&kind, object).await.map_err(told)?);
    }
    Ok(params)
}
