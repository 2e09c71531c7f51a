//! `pods/eviction`: a deletion that respects disruption budgets.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>
//!
//! How many pods a budget can spare is in its status, which the disruption controller writes. An eviction takes one of them
//! and notes the pod there, in one write that fails if the status changed meanwhile: so two evictions never take the same.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::decode::{self, FieldValidation};
use coracle_api::meta;
use coracle_api::selector::LabelSelector;
use coracle_api::status::{Cause, Status};
use coracle_api::{Kind, kinds, schema};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::delete;
use crate::context::{Answer, Context};
use crate::negotiate;
use crate::object::Object;
use crate::objects::{DeleteOptions, check_preconditions};
use crate::operation::{Operation, Verb};

/// A status names no more pods: the controller does not keep up.
const MOST_DISRUPTED: usize = 2000;
/// How often, and after how long, a pod that changed while it was evicted without a budget is looked at anew.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// When to come back once the disruption controller has looked at the budget.
const RETRY_SECONDS: u32 = 10;

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let mut eviction = eviction(cx)?;
    let named = meta::name(&eviction);
    if !named.is_empty() && named != cx.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    meta::set_namespace(&mut eviction, cx.target.namespace.as_deref().unwrap_or_default());
    cx.objects().admit(&cx.unowned(Verb::Create), &mut eviction).await?;
    let options = delete::options_of(&eviction["deleteOptions"], cx.dry_run)?;
    let Some(current) = evict_without_budget(cx, &options).await? else {
        return Ok(negotiate::status_as(&Status::created(), cx.output.encoding));
    };
    let pod = current.value();
    let Some(budget) = budget_of(cx, &pod)? else {
        evict(cx, &options).await?;
        return Ok(negotiate::status_as(&Status::created(), cx.output.encoding));
    };
    let allowed = allowance(&pod, &budget.value);
    if allowed == Allowance::Budget {
        spend(cx, &budget, meta::name(&pod), options.dry_run).await?;
    }
    evict_as_seen(cx, &current, &options, &budget.name, allowed).await?;
    Ok(negotiate::status_as(&Status::created(), cx.output.encoding))
}

/// Evicts a pod that no budget protects, because it has ended, has not begun, or goes already. Returns one that a budget may.
async fn evict_without_budget(cx: &Context<'_>, options: &DeleteOptions) -> Result<Option<Object>, Status> {
    let mut attempts = 0;
    loop {
        let current = cx.current()?;
        check_preconditions(&cx.target.kind, &current, options)?;
        let pod = current.value();
        if !ignores_budgets(&pod) {
            return Ok(Some(current));
        }
        // One that has not begun may become ready, which a budget then counts.
        let may_begin = !is_terminal(&pod) && !meta::is_deleting(&pod) && options.resource_version.is_none();
        let asked = if may_begin { seen(options, &current) } else { options.clone() };
        attempts += 1;
        match evict(cx, &asked).await {
            Ok(()) => return Ok(None),
            Err(status) if status.reason == "Conflict" && may_begin && attempts < ATTEMPTS => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => return Err(status),
        }
    }
}

fn is_terminal(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn ignores_budgets(pod: &Value) -> bool {
    is_terminal(pod) || pod["status"]["phase"] == "Pending" || meta::is_deleting(pod)
}

/// The options of a deletion of the pod as it was looked at.
fn seen(options: &DeleteOptions, pod: &Object) -> DeleteOptions {
    DeleteOptions { resource_version: Some(pod.revision().to_string()), ..options.clone() }
}

/// What was sent, of the types that an Eviction has; nothing is one without options.
fn eviction(cx: &Context<'_>) -> Result<Value, Status> {
    if cx.body.is_empty() {
        return Ok(Value::Null);
    }
    let def = schema::by_gvk("policy", "v1", "Eviction").ok_or_else(Status::path_not_found)?;
    let format = negotiate::body_format(&cx.parts.headers)?;
    let mut eviction = decode::parse(&cx.body, format).map_err(Status::bad_request)?.0;
    decode::decode_value(def, &mut eviction, FieldValidation::Ignore)?;
    Ok(eviction)
}

/// The budget that covers a pod.
struct Budget {
    kind: Arc<Kind>,
    key: String,
    name: String,
    value: Value,
}

fn budget_of(cx: &Context<'_>, pod: &Value) -> Result<Option<Budget>, Status> {
    let labels = &pod["metadata"]["labels"];
    if labels.as_object().is_none_or(|labels| labels.is_empty()) {
        return Ok(None);
    }
    let kind = kinds::by_resource("policy", "v1", "poddisruptionbudgets").ok_or_else(Status::path_not_found)?;
    let snapshot = cx.storage().cache(kind)?.snapshot();
    let prefix = format!("{}/", meta::namespace(pod));
    snapshot.check(&prefix, None)?;
    let covers = |budget: &Value| {
        let selector = LabelSelector::from_object(&budget["spec"]["selector"]);
        !budget["spec"]["selector"].is_null() && selector.is_ok_and(|selector| selector.matches(labels))
    };
    let mut budgets =
        snapshot.range(&prefix, None).map(|object| (object.key(), object.value())).filter(|(_, budget)| covers(budget));
    let Some((key, value)) = budgets.next() else { return Ok(None) };
    if budgets.next().is_some() {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(500, "", text));
    }
    Ok(Some(Budget { kind: kind.clone(), key: key.to_owned(), name: meta::name(&value).to_owned(), value }))
}

/// By what a pod may be evicted.
#[derive(Clone, Copy, PartialEq)]
enum Allowance {
    /// By what the budget can spare.
    Budget,
    /// It is not ready, and the budget cares for ready pods only.
    Unready,
}

fn allowance(pod: &Value, budget: &Value) -> Allowance {
    let conditions = pod["status"]["conditions"].as_array();
    let is_ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let number = |key: &str| budget["status"][key].as_i64().unwrap_or(0);
    let enough = number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy");
    let may_go = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || enough;
    if !is_ready && may_go { Allowance::Unready } else { Allowance::Budget }
}

/// Takes one disruption from a budget, or says why there is none.
async fn spend(cx: &Context<'_>, budget: &Budget, pod: &str, dry_run: bool) -> Result<(), Status> {
    let op = Operation { dry_run, ..Operation::status_by_server(&budget.kind) };
    let spent = cx.objects().update(&op, &budget.key, &mut |budget| spent(budget, pod)).await;
    spent.map(drop).map_err(|status| match &*status.reason {
        "Conflict" => Status::timeout(
            format!("couldn't update PodDisruptionBudget {:?} due to conflicts", budget.name),
            RETRY_SECONDS,
        ),
        _ => status,
    })
}

fn spent(budget: &Value, pod: &str) -> Result<Value, Status> {
    let (name, status) = (meta::name(budget), &budget["status"]);
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", name, why));
    if number("observedGeneration") < meta::generation(budget) {
        return Err(unsettled(name));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().map_or(0, |pods| pods.len()) > MOST_DISRUPTED {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(violated(name, status));
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    spent["status"]["disruptedPods"][pod] = meta::format_time(Timestamp::now()).into();
    if allowed == 1 {
        refuse_further(&mut spent);
    }
    Ok(spent)
}

/// Sets the condition of a budget that has nothing left.
fn refuse_further(budget: &mut Value) {
    let generation = meta::generation(budget);
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": generation, "lastTransitionTime": meta::format_time(Timestamp::now()),
    });
    let mut conditions = budget["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|condition| condition["type"] == "DisruptionAllowed") {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    budget["status"]["conditions"] = conditions.into();
}

/// Evicts a pod that a budget covers. One that need not be ready must still be as it was looked at.
async fn evict_as_seen(
    cx: &Context<'_>,
    pod: &Object,
    options: &DeleteOptions,
    budget: &str,
    allowed: Allowance,
) -> Result<(), Status> {
    if allowed == Allowance::Budget || options.resource_version.is_some() {
        return evict(cx, options).await;
    }
    let evicted = evict(cx, &seen(options, pod)).await;
    evicted.map_err(|status| if status.reason == "Conflict" { unsettled(budget) } else { status })
}

/// Says in the pod that it is disrupted, and deletes it.
async fn evict(cx: &Context<'_>, options: &DeleteOptions) -> Result<(), Status> {
    let key = cx.target.key();
    let mut options = options.clone();
    if !options.dry_run {
        let wanted = options.clone();
        let op = Operation::status_by_server(&cx.target.kind);
        let told = cx.objects().update(&op, &key, &mut |pod| Ok(disrupted(pod, &wanted))).await?;
        if options.resource_version.is_some() {
            let pod: Value = serde_json::from_slice(&told).map_err(Status::internal)?;
            options.resource_version = pod["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        }
    }
    cx.objects().delete(&cx.unowned(Verb::Delete), &key, &options).await.map(drop)
}

/// The pod that says so. What the deletion asks of the pod is asked of this write as well.
fn disrupted(pod: &Value, options: &DeleteOptions) -> Value {
    let mut told = pod.clone();
    let asked = [("resourceVersion", &options.resource_version), ("uid", &options.uid)];
    for (field, wanted) in asked.into_iter().filter_map(|(field, wanted)| Some((field, wanted.as_deref()?))) {
        told["metadata"][field] = wanted.into();
    }
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let known = conditions.iter().any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True");
    if known {
        return told;
    }
    conditions.retain(|condition| condition["type"] != "DisruptionTarget");
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "observedGeneration": meta::generation(pod),
        "lastTransitionTime": meta::format_time(Timestamp::now()),
    }));
    told["status"]["conditions"] = conditions.into();
    told
}

fn refused(why: String, retry_seconds: u32) -> Status {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut refusal = Status::too_many_requests(text, retry_seconds);
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    refusal.details.get_or_insert_default().causes.push(cause);
    refusal
}

/// The controller has not looked at the budget as it is.
fn unsettled(budget: &str) -> Status {
    refused(format!("The disruption budget {budget} is still being processed by the server."), RETRY_SECONDS)
}

fn violated(name: &str, status: &Value) -> Status {
    let conditions = status["conditions"].as_array();
    let failed =
        conditions.into_iter().flatten().find(|c| c["type"] == "DisruptionAllowed" && c["reason"] == "SyncFailed");
    if let Some(condition) = failed {
        let why = condition["message"].as_str().unwrap_or_default();
        let text = format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}"
        );
        return refused(text, 0);
    }
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let (desired, healthy) = (number("desiredHealthy"), number("currentHealthy"));
    refused(format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pod_of_the_name_is_not_told_that_it_is_disrupted() {
        let pod = json!({"metadata": {"name": "p", "uid": "new", "resourceVersion": "7"}});
        let metadata = |options: DeleteOptions| disrupted(&pod, &options)["metadata"].clone();
        assert_eq!(metadata(DeleteOptions::default()), pod["metadata"]);
        let options =
            DeleteOptions { uid: Some("old".into()), resource_version: Some("5".into()), ..Default::default() };
        assert_eq!(metadata(options), json!({"name": "p", "uid": "old", "resourceVersion": "5"}));
    }
}
