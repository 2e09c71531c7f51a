//! Garbage: containers that ended, pods that no longer exist.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_runtime::cri::{ContainerState, ContainerStatus};

use crate::kubelet::Kubelet;
use crate::worker::clean_up;

/// How often dead containers are looked at.
const PERIOD: Duration = Duration::from_secs(60);

/// Removes pods from the node that the API does not have any more.
async fn remove_orphans(k: &Kubelet) {
    let sandboxes = match k.runtime.list_pod_sandbox().await {
        Ok(sandboxes) => sandboxes,
        Err(error) => {
            tracing::warn!(%error, "the runtime does not list its sandboxes");
            return;
        }
    };
    let mut pods: HashMap<String, (String, String)> = HashMap::new();
    for uid in known_pods(k).await {
        pods.insert(uid, Default::default());
    }
    for sandbox in sandboxes {
        pods.insert(sandbox.metadata.uid, (sandbox.metadata.namespace, sandbox.metadata.name));
    }
    for (uid, (namespace, name)) in pods {
        if k.pods.has(&uid) {
            continue;
        }
        tracing::info!(uid, namespace, name, "removing a pod that no longer exists");
        if let Err(error) = clean_up(k, &namespace, &name, &uid).await {
            tracing::warn!(uid, error, "failed to remove a pod that no longer exists");
        }
    }
}

async fn known_pods(k: &Kubelet) -> Vec<String> {
    let state = k.volumes.state.clone();
    tokio::task::spawn_blocking(move || state.known_pods()).await.unwrap_or_default()
}

/// Keeps the last dead container of each name, and removes what is left of pods that could not be removed; for ever, once
/// the pods are listed.
pub(crate) async fn run(k: Arc<Kubelet>) {
    loop {
        remove_orphans(&k).await;
        tokio::time::sleep(PERIOD).await;
        remove_dead_containers(&k, false).await;
    }
}

/// Removes dead containers besides the last of each name; with `of_ended` those of pods that have ended altogether, too:
/// what their status says stays, and so do their logs.
pub(crate) async fn remove_dead_containers(k: &Kubelet, of_ended: bool) {
    let containers = match k.runtime.list_containers().await {
        Ok(containers) => containers,
        Err(error) => return tracing::warn!(%error, "the runtime does not list its containers"),
    };
    let ended: HashSet<String> = match of_ended {
        true => k.pods.ended().into_iter().collect(),
        false => HashSet::new(),
    };
    for id in superfluous(&containers, &ended) {
        if let Err(error) = k.runtime.remove_container(&id).await {
            tracing::warn!(id, %error, "failed to remove a dead container");
        }
    }
}

/// Dead containers besides the newest of each name in each pod; all of those of pods that have ended.
fn superfluous(containers: &[ContainerStatus], ended: &HashSet<String>) -> Vec<String> {
    let mut dead: HashMap<(&str, &str), Vec<&ContainerStatus>> = HashMap::new();
    for container in containers.iter().filter(|container| container.state == ContainerState::Exited) {
        let pod = container.labels.get("io.kubernetes.pod.uid").map(String::as_str).unwrap_or_default();
        dead.entry((pod, &container.metadata.name)).or_default().push(container);
    }
    dead.into_iter()
        .flat_map(|((pod, _), mut list)| {
            list.sort_by_key(|container| std::cmp::Reverse((container.metadata.attempt, container.created_at)));
            let kept = usize::from(!ended.contains(pod));
            list.into_iter().skip(kept).map(|container| container.id.clone()).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container_status;

    #[test]
    fn the_last_dead_container_of_a_name_is_kept() {
        let mut list: Vec<_> = (0..3).map(|n| container_status("u", "a", n, ContainerState::Exited, 0)).collect();
        list.push(container_status("u", "a", 3, ContainerState::Running, 0));
        list.push(container_status("v", "a", 0, ContainerState::Exited, 0));
        let gone = |ended: &[&str]| {
            let mut gone = superfluous(&list, &ended.iter().map(ToString::to_string).collect());
            gone.sort();
            gone
        };
        assert_eq!(gone(&[]), ["u-a-0", "u-a-1"]);
        assert_eq!(gone(&["v"]), ["u-a-0", "u-a-1", "v-a-0"]);
    }
}
