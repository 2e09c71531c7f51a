//! Why a node is not well.

use super::facts::{Facts, condition, members, text};
use super::story::Story;

/// Explains a node.
pub fn by_name(facts: &Facts, name: &str, story: &mut Story) -> Option<()> {
    let node = facts.cluster_wide("nodes", name)?;
    let unwell = explain_unwell(facts, name, story);
    for kind in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        if let Some(pressure) = condition(node, kind).filter(|condition| condition["status"] == "True") {
            story.say(format!("The node {name} has {kind}: {}", text(pressure, "/message")));
            story.advise("End pods that use much, or let them ask for what they use.");
        }
    }
    if node["spec"]["unschedulable"] == true {
        story.say(format!("The node {name} takes no new pods: it is cordoned."));
        story.advise(format!("kubectl uncordon {name}"));
    }
    for taint in members(node, "/spec/taints") {
        let (key, value) = (text(taint, "/key"), text(taint, "/value"));
        story.say(format!("The node {name} has the taint {key}={value}:{}.", text(taint, "/effect")));
    }
    if !unwell {
        story.say(format!("The node {name} is ready."));
    }
    Some(())
}

/// Tells of a node that is gone or not ready; whether it is so.
pub fn explain_unwell(facts: &Facts, name: &str, story: &mut Story) -> bool {
    if facts.all("nodes").is_empty() {
        return false;
    }
    let Some(node) = facts.cluster_wide("nodes", name) else {
        story.say(format!("The node {name} does not exist any more."));
        return true;
    };
    let ready = condition(node, "Ready");
    let status = ready.map(|ready| text(ready, "/status")).unwrap_or("Unknown");
    let message = ready.map(|ready| text(ready, "/message")).unwrap_or_default();
    match status {
        "True" => return false,
        "False" => story.say(format!("The node {name} is not ready: {message}")),
        _ => {
            story.say(format!("The node {name} is unreachable: {message}"));
            story.advise(format!(
                "See whether the machine of {name} runs, its kubelet too, and whether it reaches the API server."
            ));
        }
    }
    true
}
