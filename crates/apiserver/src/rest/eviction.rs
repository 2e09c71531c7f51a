//! `pods/eviction`: a deletion that respects disruption budgets.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

mod budget;

use coracle_api::decode::{self, FieldValidation};
use coracle_api::kinds;
use coracle_api::meta;
use coracle_api::schema;
use coracle_api::selector::LabelSelector;
use coracle_api::status::{Cause, Status};
use jiff::Timestamp;
use serde_json::Value;

use super::delete;
use crate::context::{Answer, Context};
use crate::negotiate;
use crate::objects::check_preconditions;
use crate::operation::{Operation, Ownership, Part, Verb};

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let mut eviction = eviction(cx)?;
    let named = meta::name(&eviction);
    if !named.is_empty() && named != cx.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    meta::set_namespace(&mut eviction, cx.target.namespace.as_deref().unwrap_or_default());
    cx.objects().admit(&cx.unowned(Verb::Create), &mut eviction).await?;
    let options = delete::options_of(&eviction["deleteOptions"], cx.dry_run)?;
    let current = cx.current()?;
    check_preconditions(&cx.target.kind, &current, &options)?;
    let pod = current.value();
    let settled =
        matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending")) || meta::is_deleting(&pod);
    if !settled {
        spend_budget(cx, &pod, options.dry_run).await?;
    }
    let op = cx.unowned(Verb::Delete);
    cx.objects().delete(&op, &cx.target.key(), &options).await?;
    Ok(negotiate::status_as(&Status::created(), cx.output.encoding))
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

/// Takes one disruption from the budget of the pod, or says why there is none.
async fn spend_budget(cx: &Context<'_>, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let kind = kinds::by_resource("policy", "v1", "poddisruptionbudgets").ok_or_else(Status::path_not_found)?;
    let snapshot = cx.storage().cache(kind)?.snapshot();
    let prefix = format!("{}/", meta::namespace(pod));
    snapshot.check(&prefix, None)?;
    let labels = &pod["metadata"]["labels"];
    let covers = |budget: &Value| {
        LabelSelector::from_object(&budget["spec"]["selector"]).is_ok_and(|selector| selector.matches(labels))
    };
    let budgets: Vec<_> = snapshot
        .range(&prefix, None)
        .map(|object| (object.key(), object.value()))
        .filter(|(_, budget)| covers(budget))
        .collect();
    let (key, name) = match budgets.as_slice() {
        [] => return Ok(()),
        [(key, budget)] => (key, meta::name(budget).to_owned()),
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let pod_name = meta::name(pod);
    let op = Operation::by_server(kind, Verb::Update).part(Part::Whole);
    let op = Operation { ownership: Ownership::Kept, dry_run, ..op };
    cx.objects()
        .update(&op, key, &mut |budget| {
            let mut spent = budget.clone();
            let status = budget::status(cx.storage(), budget)?;
            spent["status"] = status.clone();
            if !budget::is_ready(pod) && may_go_unhealthy(budget, &status) {
                return Ok(spent);
            }
            let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
            if allowed <= 0 {
                return Err(violated(&name, &status));
            }
            spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
            spent["status"]["disruptedPods"][pod_name] = meta::format_time(Timestamp::now()).into();
            Ok(spent)
        })
        .await?;
    Ok(())
}

/// Whether a pod that is not ready may be evicted without spending: always, or while enough others are healthy.
fn may_go_unhealthy(budget: &Value, status: &Value) -> bool {
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let enough = number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy");
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || enough
}

fn violated(name: &str, status: &Value) -> Status {
    let mut refusal = Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
    let (desired, healthy) =
        (status["desiredHealthy"].as_i64().unwrap_or(0), status["currentHealthy"].as_i64().unwrap_or(0));
    let cause = Cause {
        reason: "DisruptionBudget".into(),
        message: format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"),
        field: String::new(),
    };
    refusal.details.get_or_insert_default().causes.push(cause);
    refusal
}
