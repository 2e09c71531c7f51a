//! `pods/binding` and `bindings`: the scheduler's decision.

use coracle_api::decode::{self, FieldValidation};
use coracle_api::kinds;
use coracle_api::meta;
use coracle_api::status::Status;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::context::{Answer, Context};
use crate::negotiate;
use crate::operation::{Operation, Part, Verb};
use crate::storage::{core, key};

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let kind = kinds::by_kind("", "v1", "Binding").ok_or_else(Status::path_not_found)?;
    let (mut binding, _) =
        decode::decode(kind, &cx.body, negotiate::body_format(&cx.parts.headers)?, FieldValidation::Ignore)?;
    let name = meta::name(&binding).to_owned();
    match &cx.target.name {
        Some(asked) if *asked != name => {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        None if name.is_empty() => return Err(Status::bad_request("Name parameter required.")),
        _ => {}
    }
    meta::set_namespace(&mut binding, cx.target.namespace.as_deref().unwrap_or_default());
    let pods = core("pods");
    let sent = Operation { kind: pods.clone(), subresource: "binding", name: name.clone(), ..cx.unowned(Verb::Create) };
    cx.objects().admit(&sent, &mut binding).await?;
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default();
    if !matches!(target["kind"].as_str(), None | Some("" | "Node")) || node.is_empty() {
        return Err(Status::bad_request(
            "target must name a Node: target.kind must be empty or \"Node\" and target.name must be set",
        ));
    }
    let key = key(cx.target.namespace.as_deref(), &name);
    let op = Operation { kind: pods.clone(), subresource: "binding", fields_apart: true, ..cx.unowned(Verb::Update) }
        .part(Part::Subresource("binding"));
    cx.objects().update(&op, &key, &mut |pod| bind(pod, &binding, node)).await?;
    Ok(negotiate::status_as(&Status::created(), cx.output.encoding))
}

fn bind(pod: &Value, binding: &Value, node: &str) -> Result<Value, Status> {
    let name = meta::name(pod);
    let conflict = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(pod) {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(pod)
        ));
    }
    if meta::is_deleting(pod) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    match pod["spec"]["nodeName"].as_str() {
        Some(assigned) if !assigned.is_empty() => {
            return conflict(format!("pod {name} is already assigned to node \"{assigned}\""));
        }
        _ if !pod["spec"]["schedulingGates"].as_array().is_none_or(Vec::is_empty) => {
            return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        _ => {}
    }
    let mut bound = pod.clone();
    bound["spec"]["nodeName"] = node.into();
    for part in ["annotations", "labels"] {
        if let Some(added) = binding["metadata"][part].as_object() {
            for (key, value) in added {
                bound["metadata"][part][key] = value.clone();
            }
        }
    }
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::format_time(Timestamp::now()),
        "observedGeneration": meta::generation(pod),
    });
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(scheduled);
    bound["status"]["conditions"] = conditions.into();
    // What it was promised is of no use any more.
    if let Some(status) = bound["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    Ok(bound)
}
