//! Why a pod is not ready.

use serde_json::Value;

use super::facts::{Facts, condition, members, text};
use super::story::Story;
use super::{container, node, scheduling};

/// Explains a pod, or what became of it.
pub fn by_name(facts: &Facts, name: &str, story: &mut Story) -> Option<()> {
    if let Some(pod) = facts.find("pods", name) {
        explain(facts, pod, story);
        return Some(());
    }
    let events = facts.events("Pod", name);
    let (reason, message) = events.last()?;
    story.say(format!("There is no pod {name} any more. The last that was told of it ({reason}): {message}"));
    if events.iter().any(|(reason, _)| *reason == "Evicted") {
        story.advise("Its node ran out of something. Let pods ask for what they use, so that fewer share a node.");
    }
    Some(())
}

/// Whether a pod is as it should be.
pub fn is_well(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Succeeded"
        || (pod["metadata"]["deletionTimestamp"].is_null()
            && condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True"))
}

/// Explains a pod.
pub fn explain(facts: &Facts, pod: &Value, story: &mut Story) {
    let name = text(pod, "/metadata/name");
    let phase = text(pod, "/status/phase");
    let place = text(pod, "/spec/nodeName");
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return ending(facts, pod, story);
    }
    match phase {
        "Succeeded" => return story.say(format!("The pod {name} has done its work and ended.")),
        "Failed" => return failed(facts, pod, story),
        _ if is_well(pod) => return story.say(format!("The pod {name} runs on {place} and is ready.")),
        _ => {}
    }
    if place.is_empty() {
        story.say(format!("The pod {name} is pending: it has no node."));
        return story.below(|story| scheduling::explain_pod(facts, pod, story));
    }
    story.say(format!(
        "The pod {name} is on the node {place}, and is {}.",
        if phase == "Running" { "not ready" } else { "not running yet" }
    ));
    story.below(|story| {
        if node::explain_unwell(facts, place, story) {
            return;
        }
        let statuses = members(pod, "/status/initContainerStatuses").chain(members(pod, "/status/containerStatuses"));
        let told = statuses.map(|status| container::explain(facts, pod, status, story)).filter(|told| *told).count();
        let gates = gates(pod, story);
        if told == 0 && !gates {
            match facts.events("Pod", name).last() {
                Some((reason, message)) => story.say(format!("The last that was told of it ({reason}): {message}")),
                None => story.say("Its node has not told anything of it yet."),
            }
        }
    });
}

/// Readiness gates that are not met; whether there are any.
fn gates(pod: &Value, story: &mut Story) -> bool {
    let gates = members(pod, "/spec/readinessGates").map(|gate| text(gate, "/conditionType"));
    let unmet: Vec<&str> =
        gates.filter(|gate| condition(pod, gate).is_none_or(|condition| condition["status"] != "True")).collect();
    if unmet.is_empty() {
        return false;
    }
    story.say(format!("It has readiness gates that are not met: {}.", unmet.join(", ")));
    story.advise("Whoever sets the conditions of the readiness gates, a controller of load balancers as a rule, has not done so.");
    true
}

fn ending(facts: &Facts, pod: &Value, story: &mut Story) {
    let name = text(pod, "/metadata/name");
    story.say(format!("The pod {name} is being deleted since {}.", text(pod, "/metadata/deletionTimestamp")));
    story.below(|story| {
        let finalizers: Vec<&str> = members(pod, "/metadata/finalizers").filter_map(Value::as_str).collect();
        if !finalizers.is_empty() {
            story.say(format!("It stays until somebody removes its finalizers: {}.", finalizers.join(", ")));
            story.advise("Look for the controller that the finalizer belongs to. To remove it by hand may leave its work undone.");
        }
        let place = text(pod, "/spec/nodeName");
        if !place.is_empty() && node::explain_unwell(facts, place, story) {
            story.advise(format!(
                "If the node will not come back, delete it (kubectl delete node {place}), or the pod at once (--force --grace-period=0)."
            ));
        }
    });
}

fn failed(facts: &Facts, pod: &Value, story: &mut Story) {
    let name = text(pod, "/metadata/name");
    let (reason, message) = (text(pod, "/status/reason"), text(pod, "/status/message"));
    if reason.is_empty() {
        story.say(format!("The pod {name} has failed."));
    } else {
        story.say(format!("The pod {name} has failed ({reason}): {message}"));
    }
    story.below(|story| {
        if let Some(disrupted) = condition(pod, "DisruptionTarget").filter(|condition| condition["status"] == "True") {
            story.say(format!("It was made to end ({}): {}", text(disrupted, "/reason"), text(disrupted, "/message")));
        }
        let statuses = members(pod, "/status/initContainerStatuses").chain(members(pod, "/status/containerStatuses"));
        statuses.for_each(|status| {
            container::explain(facts, pod, status, story);
        });
    });
    match reason {
        "Evicted" => {
            story.advise("Its node ran out of something. Let it ask for what it uses, and limit what it may use.")
        }
        "DeadlineExceeded" => story.advise("It took longer than spec.activeDeadlineSeconds lets it."),
        _ => {}
    }
}
