//! Why a container does not run, or is not ready.

use serde_json::Value;

use super::facts::{Facts, members, number, text};
use super::story::Story;

/// Tells of one container of a pod; whether there was anything to tell.
pub fn explain(facts: &Facts, pod: &Value, status: &Value, story: &mut Story) -> bool {
    let (pod_name, name) = (text(pod, "/metadata/name"), text(status, "/name"));
    let waiting = &status["state"]["waiting"];
    if !waiting.is_null() {
        return explain_waiting(facts, pod, status, waiting, story);
    }
    let ended = &status["state"]["terminated"];
    if !ended.is_null() {
        if ended["exitCode"] == 0 {
            return false;
        }
        story.say(format!("The container {name} has ended: {}.", how_ended(ended)));
        advise_ended(pod, name, ended, false, story);
        return true;
    }
    if status["ready"] == true {
        return false;
    }
    if status["started"] == false {
        story.say(format!("The container {name} runs, but its startup probe has not succeeded yet."));
    } else {
        story.say(format!("The container {name} runs, but is not ready."));
    }
    if let Some((_, message)) = facts.event("Pod", pod_name, &["Unhealthy"]) {
        story.below(|story| story.say(format!("Its probe says: {message}")));
        story.advise("See whether the probe asks the right port and path, and whether the program answers in time.");
    } else {
        story.advise(format!("Look at what it does: kubectl logs {pod_name} -c {name}."));
    }
    true
}

fn explain_waiting(facts: &Facts, pod: &Value, status: &Value, waiting: &Value, story: &mut Story) -> bool {
    let (pod_name, name) = (text(pod, "/metadata/name"), text(status, "/name"));
    let (reason, message) = (text(waiting, "/reason"), text(waiting, "/message"));
    match reason {
        "CrashLoopBackOff" => {
            let ended = &status["lastState"]["terminated"];
            let times = number(status, "/restartCount");
            story
                .say(format!("The container {name} ends again and again, {times} times so far: {}.", how_ended(ended)));
            story.below(|story| story.say(message));
            advise_ended(pod, name, ended, true, story);
        }
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            let image = text(status, "/image");
            story.say(format!(
                "The image {image} of the container {name} is not there, and cannot be pulled ({reason})."
            ));
            let events = facts.events("Pod", pod_name).into_iter().rev();
            let mut pulls = events.filter(|(reason, told)| *reason == "Failed" && told.contains("pull"));
            let told = pulls.find(|(_, told)| !told.starts_with("Error: ")).map_or(message, |(_, told)| told);
            story.below(|story| story.say(told));
            story.advise(
                "See whether the name and the tag of the image are right, and whether its registry can be reached.",
            );
            let lower = told.to_lowercase();
            if ["unauthorized", "denied", "authentication"].iter().any(|word| lower.contains(word)) {
                story.advise("The registry wants credentials: name a secret in spec.imagePullSecrets.");
            }
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            story.say(format!("The container {name} cannot be made ({reason}): {message}"));
            if message.contains("not found") {
                story.advise("Make the object that is not found, or mark the reference as optional.");
            }
        }
        "PodInitializing" => return false,
        "ContainerCreating" => {
            let reasons = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady"];
            let told = facts.event("Pod", pod_name, &reasons);
            let Some((reason, told)) = told else {
                story.say(format!("The container {name} is being made."));
                return true;
            };
            story.say(format!("The container {name} cannot be made yet ({reason}): {told}"));
            if told.contains("not found") {
                story.advise("Make the object that is not found: the volume needs it.");
            }
        }
        _ => story.say(format!("The container {name} waits ({reason}). {message}").trim_end()),
    }
    true
}

fn how_ended(ended: &Value) -> String {
    let code = number(ended, "/exitCode");
    let reason = text(ended, "/reason");
    let meaning = match (reason, code) {
        ("OOMKilled", _) => " (it used more memory than it may)",
        (_, 0) => " (it ended of itself, although it should run on)",
        (_, 126) => " (its command cannot be executed)",
        (_, 127) => " (its command was not found)",
        (_, 137) => " (it was killed)",
        (_, 139) => " (it broke: segmentation fault)",
        (_, 143) => " (it was asked to end)",
        _ => "",
    };
    let message = text(ended, "/message");
    let message = if message.is_empty() { String::new() } else { format!(", and says \"{}\"", message.trim()) };
    format!("exit code {code}{meaning}{message}")
}

fn advise_ended(pod: &Value, name: &str, ended: &Value, again: bool, story: &mut Story) {
    let containers = members(pod, "/spec/containers").chain(members(pod, "/spec/initContainers"));
    let container = containers.into_iter().find(|container| container["name"] == name);
    if text(ended, "/reason") == "OOMKilled" {
        let limit = container.map(|container| text(container, "/resources/limits/memory")).unwrap_or_default();
        let now = if limit.is_empty() { String::new() } else { format!(", now {limit}") };
        story.advise(format!(
            "Let the container {name} use more memory (resources.limits.memory{now}), or make it use less."
        ));
        return;
    }
    match number(ended, "/exitCode") {
        126 | 127 => story.advise("See whether command and args name a program that the image has."),
        _ => {
            let previous = if again { " --previous" } else { "" };
            let pod = text(pod, "/metadata/name");
            story.advise(format!("Its last words may say more: kubectl logs {pod} -c {name}{previous}."));
        }
    }
}
