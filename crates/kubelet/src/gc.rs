//! Garbage: containers that ended, pods that no longer exist.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_runtime::cri::{ContainerState, ContainerStatus};

use crate::kubelet::Kubelet;
use crate::worker::clean_up;

/// How often dead containers are looked at.
const PERIOD: Duration = Duration::from_secs(60);

/// Removes pods from the node that the API does not have any more; called once the pods are listed.
pub(crate) async fn remove_orphans(k: &Arc<Kubelet>) {
    let sandboxes = match k.runtime.list_pod_sandbox().await {
        Ok(sandboxes) => sandboxes,
        Err(error) => {
            tracing::warn!(%error, "the runtime does not list its sandboxes");
            return;
        }
    };
    let mut pods: HashMap<String, (String, String)> = HashMap::new();
    for uid in k.volumes.known_pods() {
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

/// Keeps the last dead container of each name, for ever.
pub(crate) async fn run(k: Arc<Kubelet>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let containers = match k.runtime.list_containers().await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::warn!(%error, "the runtime does not list its containers");
                continue;
            }
        };
        for id in superfluous(&containers) {
            if let Err(error) = k.runtime.remove_container(&id).await {
                tracing::warn!(id, %error, "failed to remove a dead container");
            }
        }
    }
}

/// Dead containers besides the newest of each name in each pod.
fn superfluous(containers: &[ContainerStatus]) -> Vec<String> {
    let mut dead: HashMap<(&str, &str), Vec<&ContainerStatus>> = HashMap::new();
    for container in containers.iter().filter(|container| container.state == ContainerState::Exited) {
        let pod = container.labels.get("io.kubernetes.pod.uid").map(String::as_str).unwrap_or_default();
        dead.entry((pod, &container.metadata.name)).or_default().push(container);
    }
    dead.into_values()
        .flat_map(|mut list| {
            list.sort_by_key(|container| std::cmp::Reverse((container.metadata.attempt, container.created_at)));
            list.into_iter().skip(1).map(|container| container.id.clone()).collect::<Vec<_>>()
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
        let mut gone = superfluous(&list);
        gone.sort();
        assert_eq!(gone, ["u-a-0", "u-a-1"]);
    }
}
