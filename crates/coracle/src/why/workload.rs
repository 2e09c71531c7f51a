//! Why a workload does not have the pods that it should.

use serde_json::Value;

use super::facts::{Facts, condition, number, text};
use super::pod;
use super::story::Story;

/// Pods that are told of one by one.
const FEW: usize = 3;

/// Explains a workload of a kind, by its plural.
pub fn explain(facts: &Facts, plural: &str, name: &str, story: &mut Story) -> Option<()> {
    let workload = facts.find(plural, name)?;
    let kind = kind(plural);
    if number(workload, "/status/observedGeneration") < number(workload, "/metadata/generation") && plural != "jobs" {
        story.say(format!("The controller has not looked at the last change of the {kind} {name} yet."));
        story.advise("If this lasts, the controllers do not run.");
        return Some(());
    }
    let (wanted, ready, updated) = counts(plural, workload);
    story.say(format!(
        "The {kind} {name} wants {wanted} pods; {ready} are ready, and {updated} are of its newest version."
    ));
    story.below(|story| {
        if workload["spec"]["paused"] == true {
            story.say("It is paused: changes are not rolled out.");
            story.advise(format!("kubectl rollout resume {kind}/{name}"));
        }
        if workload["spec"]["suspend"] == true {
            story.say("It is suspended: it makes no pods.");
            story.advise("Set spec.suspend to false.");
        }
        conditions(facts, plural, workload, story);
        pods(facts, plural, workload, story);
    });
    Some(())
}

fn kind(plural: &str) -> &'static str {
    match plural {
        "deployments" => "deployment",
        "statefulsets" => "statefulset",
        "daemonsets" => "daemonset",
        "replicasets" => "replicaset",
        _ => "job",
    }
}

/// Wanted, ready and updated pods.
fn counts(plural: &str, workload: &Value) -> (i64, i64, i64) {
    let status = |field: &str| number(workload, &format!("/status/{field}"));
    match plural {
        "daemonsets" => (status("desiredNumberScheduled"), status("numberReady"), status("updatedNumberScheduled")),
        "jobs" => (workload["spec"]["parallelism"].as_i64().unwrap_or(1), status("ready"), status("active")),
        "replicasets" => {
            (workload["spec"]["replicas"].as_i64().unwrap_or(1), status("readyReplicas"), status("replicas"))
        }
        _ => (workload["spec"]["replicas"].as_i64().unwrap_or(1), status("readyReplicas"), status("updatedReplicas")),
    }
}

fn conditions(facts: &Facts, plural: &str, workload: &Value, story: &mut Story) {
    let name = text(workload, "/metadata/name");
    let bad = [("Progressing", "False"), ("ReplicaFailure", "True"), ("Failed", "True")];
    for (kind, status) in bad {
        if let Some(condition) = condition(workload, kind).filter(|condition| condition["status"] == status) {
            story.say(format!("{} ({kind}): {}", text(condition, "/reason"), text(condition, "/message")));
        }
    }
    let holders: Vec<&Value> =
        if plural == "deployments" { facts.controlled("replicasets", workload) } else { vec![workload] };
    let object_kind = match plural {
        "deployments" => "ReplicaSet",
        "statefulsets" => "StatefulSet",
        "daemonsets" => "DaemonSet",
        "replicasets" => "ReplicaSet",
        _ => "Job",
    };
    for holder in holders {
        let holder_name = text(holder, "/metadata/name");
        if let Some((_, message)) = facts.event(object_kind, holder_name, &["FailedCreate"]) {
            story.say(format!("A pod of {name} could not be made: {message}"));
            if message.contains("exceeded quota") {
                story.advise("Raise the quota, or let pods ask for less: kubectl describe quota.");
            } else if message.contains("violates PodSecurity") {
                story.advise("Change the pod's security context as the message says, or the level of the namespace.");
            }
        }
    }
}

/// The pods that are not well: the newest version's first, since a rollout waits for them.
fn pods(facts: &Facts, plural: &str, workload: &Value, story: &mut Story) {
    let all: Vec<&Value> = if plural == "deployments" {
        let mut sets = facts.controlled("replicasets", workload);
        let revision = |set: &Value| {
            text(set, "/metadata/annotations/deployment.kubernetes.io~1revision").parse::<i64>().unwrap_or(0)
        };
        sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
        sets.into_iter().flat_map(|set| facts.controlled("pods", set)).collect()
    } else {
        facts.controlled("pods", workload)
    };
    let unwell: Vec<&&Value> = all.iter().filter(|pod| !pod::is_well(pod)).collect();
    for pod in unwell.iter().take(FEW) {
        pod::explain(facts, pod, story);
    }
    if unwell.len() > FEW {
        story.say(format!("and {} more pods are not ready.", unwell.len() - FEW));
    }
    if unwell.is_empty() && !all.is_empty() {
        story.say("All of its pods are ready.");
    }
    if plural == "statefulsets" && !unwell.is_empty() && text(workload, "/spec/podManagementPolicy") != "Parallel" {
        story.say("Its pods are made and changed one after the other: the next one waits for this one.");
    }
}
