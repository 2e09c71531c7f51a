//! Why a pod has no node: node by node.

use coracle_client::Cached;
use coracle_scheduler::{NodeVerdict, Seen, explain};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::claim;
use super::facts::{Facts, condition, members, text};
use super::story::Story;

/// Nodes that are told one by one; of more, those alike are counted.
const FEW: usize = 12;

/// Tells why a pod is not scheduled.
pub fn explain_pod(facts: &Facts, pod: &Value, story: &mut Story) {
    let gates: Vec<&str> = members(pod, "/spec/schedulingGates").map(|gate| text(gate, "/name")).collect();
    if !gates.is_empty() {
        story.say(format!("It is not looked at as long as it has the scheduling gates {}.", gates.join(", ")));
        story.advise(
            "Whoever put the scheduling gates there has to remove them: a controller that is missing or waits.",
        );
        return;
    }
    let told = condition(pod, "PodScheduled");
    let scheduler = text(pod, "/spec/schedulerName");
    match told {
        None if !matches!(scheduler, "" | "default-scheduler") => {
            story.say(format!("It asks for the scheduler \"{scheduler}\", and none of this name has looked at it."));
            story.advise(format!("Start the scheduler \"{scheduler}\", or leave spec.schedulerName out."));
        }
        None => story.say("The scheduler has not looked at it yet."),
        Some(told) => story.say(format!("The scheduler says: {}", text(told, "/message"))),
    }
    claim::of_pod(facts, pod, story);
    nodes(facts, pod, story);
    let nominated = text(pod, "/status/nominatedNodeName");
    if !nominated.is_empty() {
        story.say(format!("Less important pods are made to leave {nominated} for it; it waits until they have ended."));
    }
}

fn typed<T: Cached>(objects: &[Value]) -> Vec<T> {
    objects.iter().filter_map(|object| T::from_value(object).ok()).collect()
}

fn nodes(facts: &Facts, pod: &Value, story: &mut Story) {
    let seen = Seen {
        nodes: typed(facts.all("nodes")),
        pods: typed(facts.all("pods")),
        namespaces: typed(facts.all("namespaces")),
    };
    if seen.nodes.is_empty() {
        story.say("There is no node, or you may not read them.");
        return story.advise("Add a node.");
    }
    let Ok(pod) = Pod::from_value(pod) else { return };
    let Ok(verdicts) = explain(&pod, &seen) else { return };
    let width = verdicts.iter().map(|verdict| verdict.node.len()).max().unwrap_or(0);
    story.say("Node by node, as things are now:");
    story.below(|story| {
        for verdict in verdicts.iter().take(FEW) {
            story.say(format!("{:width$}  {}", verdict.node, told(verdict)));
        }
        if verdicts.len() > FEW {
            story.say(format!("and {} more", verdicts.len() - FEW));
        }
    });
    verdicts.iter().for_each(|verdict| advise(verdict, story));
}

fn amount(name: &str, amount: i64) -> String {
    match name {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" => format!("{}Mi", amount >> 20),
        _ => amount.to_string(),
    }
}

fn told(verdict: &NodeVerdict) -> String {
    if verdict.reasons.is_empty() {
        return "would take it".to_owned();
    }
    let told = verdict.reasons.iter().map(|reason| {
        let missing = verdict.missing.iter().find(|(name, ..)| reason.strip_prefix("Insufficient ") == Some(name));
        match missing {
            Some((name, asked, free, all)) => format!(
                "too little {name}: it asks for {}, and {} of {} are free",
                amount(name, *asked),
                amount(name, *free),
                amount(name, *all)
            ),
            None if reason.contains("untolerated taint") => {
                format!("has the taint {}, which it does not tolerate", verdict.taint.as_deref().unwrap_or_default())
            }
            None => reason.replace("node(s) ", ""),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn advise(verdict: &NodeVerdict, story: &mut Story) {
    for (name, asked, _, all) in &verdict.missing {
        if asked <= all {
            story.advise(format!("Let it ask for less {name}, or end other pods that ask for {name}."));
        } else if *all > 0 {
            story.advise(format!("Let it ask for less {name}: {} has {} in all.", verdict.node, amount(name, *all)));
        } else {
            story.advise(format!(
                "No part of {} offers {name}: a device plugin or a node with it is missing.",
                verdict.node
            ));
        }
    }
    for reason in &verdict.reasons {
        let help = match reason.as_str() {
            reason if reason.contains("untolerated taint") => {
                "Tolerate the taint in spec.tolerations, or remove it: kubectl taint nodes NODE KEY-."
            }
            reason if reason.contains("were unschedulable") => "Let the node take pods again: kubectl uncordon NODE.",
            reason if reason.contains("node affinity") || reason.contains("NodeAffinity") => {
                "Compare spec.nodeSelector and spec.affinity.nodeAffinity with the nodes' labels: kubectl get nodes --show-labels."
            }
            reason if reason.contains("pod affinity rules") => {
                "Its pod affinity finds no pod that it may be near to: see whether the labels and the namespace are those of a pod that runs."
            }
            reason if reason.contains("anti-affinity") => {
                "Pods that keep away from each other need more nodes, or a preferred anti-affinity in place of a required one."
            }
            reason if reason.contains("topology spread") => {
                "Spread less strictly (maxSkew, whenUnsatisfiable: ScheduleAnyway), or add nodes to the domain that has fewest pods."
            }
            reason if reason.contains("free ports") => "A host port is taken: leave hostPort out, or use another one.",
            "Too many pods" => "The node takes no more pods: end some, or add a node.",
            _ => continue,
        };
        story.advise(help);
    }
}
