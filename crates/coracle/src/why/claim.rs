//! Why a claim has no volume.

use serde_json::Value;

use super::facts::{Facts, text};
use super::story::Story;

/// Explains a claim.
pub fn by_name(facts: &Facts, name: &str, story: &mut Story) -> Option<()> {
    let claim = facts.find("persistentvolumeclaims", name)?;
    if text(claim, "/status/phase") == "Bound" {
        story.say(format!("The claim {name} is bound to the volume {}.", text(claim, "/spec/volumeName")));
        if !claim["metadata"]["deletionTimestamp"].is_null() {
            story.say("It is being deleted, and stays as long as a pod uses it.");
        }
        return Some(());
    }
    explain_unbound(facts, claim, story);
    Some(())
}

/// Tells of the claims of a pod that keep it waiting.
pub fn of_pod(facts: &Facts, pod: &Value, story: &mut Story) {
    let volumes = super::facts::members(pod, "/spec/volumes");
    for name in volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()) {
        match facts.find("persistentvolumeclaims", name) {
            None => {
                story.say(format!("The claim {name}, which it uses, does not exist."));
                story.advise(format!("Make the persistentvolumeclaim {name}."));
            }
            Some(claim) if text(claim, "/status/phase") != "Bound" => explain_unbound(facts, claim, story),
            Some(_) => {}
        }
    }
}

fn explain_unbound(facts: &Facts, claim: &Value, story: &mut Story) {
    let name = text(claim, "/metadata/name");
    if text(claim, "/status/phase") == "Lost" {
        story.say(format!("The claim {name} has lost its volume {}.", text(claim, "/spec/volumeName")));
        return story
            .advise("The volume is gone, and its data with it, unless the object is made anew for the same storage.");
    }
    let size = text(claim, "/spec/resources/requests/storage");
    story.say(format!("The claim {name} for {size} has no volume yet."));
    story.below(|story| {
        let volume = text(claim, "/spec/volumeName");
        if !volume.is_empty() {
            return named(facts, claim, volume, story);
        }
        class(facts, claim, story);
        let reasons = ["ProvisioningFailed", "FailedBinding", "WaitForFirstConsumer", "ExternalProvisioning"];
        if let Some((reason, message)) = facts.event("PersistentVolumeClaim", name, &reasons) {
            story.say(format!("The last that was told of it ({reason}): {message}"));
        }
    });
}

/// It names its volume.
fn named(facts: &Facts, claim: &Value, name: &str, story: &mut Story) {
    let Some(volume) = facts.cluster_wide("persistentvolumes", name) else {
        story.say(format!("It names the volume {name}, which does not exist."));
        return story.advise(format!("Make the persistentvolume {name}, or leave spec.volumeName out."));
    };
    let holder = text(volume, "/spec/claimRef/name");
    if !holder.is_empty() && volume["spec"]["claimRef"]["uid"] != claim["metadata"]["uid"] {
        story.say(format!("It names the volume {name}, which another claim has or had: {holder}."));
        story.advise(format!("Choose another volume, or remove spec.claimRef of {name} once its data are not needed."));
    } else {
        story.say(format!("It names the volume {name}, which is {}.", text(volume, "/status/phase")));
    }
}

fn class(facts: &Facts, claim: &Value, story: &mut Story) {
    let class = claim["spec"]["storageClassName"].as_str();
    match class {
        None => {
            story.say("It names no storage class, and no class is the default one.");
            story.advise("Name a class in spec.storageClassName, or make one the default: kubectl get storageclass.");
        }
        Some("") => {
            story.say(
                "It wants a volume that somebody has made (its storage class is the empty one), and no volume fits.",
            );
            story.advise("Make a persistentvolume with the same access modes and at least the same size.");
        }
        Some(class) => match facts.cluster_wide("storageclasses", class) {
            None => {
                story.say(format!("Its storage class {class} does not exist."));
                story.advise(format!(
                    "Make the storage class {class}, or name one that exists: kubectl get storageclass."
                ));
            }
            Some(found) => {
                let provisioner = text(found, "/provisioner");
                if text(found, "/volumeBindingMode") == "WaitForFirstConsumer" {
                    story.say(format!("Its storage class {class} waits until a pod that uses the claim has a node."));
                    story.advise("Make a pod that uses the claim. If there is one, ask why it has no node.");
                } else if provisioner == "kubernetes.io/no-provisioner" {
                    story.say(format!("Nobody makes volumes for its storage class {class}, and no volume fits."));
                    story.advise("Make a persistentvolume of the class.");
                } else {
                    story.say(format!(
                        "The provisioner {provisioner} of its storage class {class} has not made a volume."
                    ));
                    story.advise(format!("See whether the provisioner {provisioner} runs."));
                }
            }
        },
    }
}
