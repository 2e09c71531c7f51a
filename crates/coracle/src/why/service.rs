//! Why a service has nobody to answer.

use serde_json::Value;

use super::facts::{Facts, members, text, unmatched};
use super::pod;
use super::story::Story;

/// Pods that are told of one by one.
const FEW: usize = 3;

/// Explains a service.
pub fn explain(facts: &Facts, name: &str, story: &mut Story) -> Option<()> {
    let service = facts.find("services", name)?;
    if text(service, "/spec/type") == "ExternalName" {
        story.say(format!("The service {name} is another name for {}.", text(service, "/spec/externalName")));
        return Some(());
    }
    let slices =
        facts.own("endpointslices").filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name);
    let endpoints = slices.flat_map(|slice| members(slice, "/endpoints"));
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false).count();
    let selector = &service["spec"]["selector"];
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        story.say(format!(
            "The service {name} selects no pods: its endpoints are made by hand, and {ready} of them are ready."
        ));
        if ready == 0 {
            story.advise(format!("Give the service a selector, or make an endpointslice with the label kubernetes.io/service-name={name}."));
        }
        return Some(());
    }
    let matching: Vec<&Value> = facts.own("pods").filter(|pod| unmatched(selector, pod).is_empty()).collect();
    let well = matching.iter().filter(|pod| pod::is_well(pod)).count();
    story.say(format!(
        "The service {name} selects {} pods, of which {well} are ready; it has {ready} ready endpoints.",
        matching.len()
    ));
    story.below(|story| {
        if matching.is_empty() {
            return nearly(facts, selector, story);
        }
        for unwell in matching.iter().filter(|pod| !pod::is_well(pod)).take(FEW) {
            pod::explain(facts, unwell, story);
        }
        ports(service, &matching, story);
    });
    Some(())
}

/// No pod has all the labels: those that have some.
fn nearly(facts: &Facts, selector: &Value, story: &mut Story) {
    let wanted = selector.as_object().map_or(0, serde_json::Map::len);
    let mut near: Vec<(usize, &Value)> = facts
        .own("pods")
        .map(|pod| (unmatched(selector, pod).len(), pod))
        .filter(|(missing, _)| *missing < wanted)
        .collect();
    near.sort_by_key(|(missing, _)| *missing);
    story.say("No pod in the namespace has all the labels that it selects.");
    for (_, pod) in near.iter().take(FEW) {
        let missing = unmatched(selector, pod).join(", ");
        story.say(format!("The pod {} lacks {missing}.", text(pod, "/metadata/name")));
    }
    story.advise("Let the selector of the service and the labels of the pods say the same.");
}

/// Ports that no container has by that name.
fn ports(service: &Value, pods: &[&Value], story: &mut Story) {
    for port in members(service, "/spec/ports") {
        let Some(target) = port["targetPort"].as_str().filter(|target| target.parse::<u16>().is_err()) else {
            continue;
        };
        let has = |pod: &&Value| {
            members(pod, "/spec/containers")
                .flat_map(|container| members(container, "/ports"))
                .any(|port| port["name"] == target)
        };
        if !pods.iter().any(has) {
            story.say(format!("No container of them has a port named {target}, where the service sends to."));
            story.advise(format!("Name a port of the container {target}, or give the number as targetPort."));
        }
    }
}
