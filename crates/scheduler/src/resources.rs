//! What a pod requests, as nodes are filtered and scored by it.

use coracle_matching::amounts::{Amounts, ResourceList, Sum, amount, amounts};
use coracle_matching::pods::{self, Which};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

/// What a container without requests counts as when nodes are scored: a tenth of a CPU and 200 MiB.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

/// How many pods a node takes.
pub(crate) fn pod_limit(list: Option<&ResourceList>) -> i64 {
    list.and_then(|list| list.get("pods")).map_or(0, |quantity| amount("pods", quantity))
}

/// What a pod requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// What it needs.
    pub plain: Amounts,
    /// CPU and memory that it counts as when nodes are scored, with defaults for containers that request none.
    pub scored: (i64, i64),
}

/// What a pod requests.
///
/// That is what [`pods::total`] says, but what a container was given counts until a smaller request has been carried out.
pub(crate) fn pod_requests(pod: &Pod) -> Requests {
    let Some(spec) = pod.spec.as_ref() else { return Requests::default() };
    let given = Given::of(pod);
    let plain = total(spec, &given, false);
    let needs_defaults = |container: &Container| {
        let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        list.is_none_or(|list| !list.contains_key("cpu") || !list.contains_key("memory"))
    };
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let scored = if all.any(needs_defaults) {
        let scored = total(spec, &given, true);
        (scored.cpu, scored.memory)
    } else {
        (plain.cpu, plain.memory)
    };
    Requests { plain, scored }
}

/// What the node's agent gave the containers of a pod.
struct Given<'a> {
    statuses: Vec<&'a ContainerStatus>,
    /// The node will never give what is asked for, so only what it gave counts.
    is_final: bool,
}

impl<'a> Given<'a> {
    fn of(pod: &'a Pod) -> Given<'a> {
        let Some(status) = pod.status.as_ref() else { return Given { statuses: Vec::new(), is_final: false } };
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let has_resources =
            |status: &&ContainerStatus| status.resources.is_some() || status.allocated_resources.is_some();
        let is_final = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
        });
        Given { statuses: lists.into_iter().flatten().flatten().filter(has_resources).collect(), is_final }
    }

    fn requests(&self, container: &Container) -> Amounts {
        let wanted = amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
        let Some(status) = self.statuses.iter().find(|status| status.name == container.name) else { return wanted };
        let mut given = amounts(status.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
        given.raise(&amounts(status.allocated_resources.as_ref()));
        if !self.is_final {
            given.raise(&wanted);
        }
        given
    }
}

fn total(spec: &PodSpec, given: &Given<'_>, defaults: bool) -> Amounts {
    let request = |container: &Container| {
        let mut request = given.requests(container);
        if defaults {
            let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            let has = |name: &str| list.is_some_and(|list| list.contains_key(name));
            if !has("cpu") {
                request.cpu = DEFAULT_CPU;
            }
            if !has("memory") {
                request.memory = DEFAULT_MEMORY;
            }
        }
        request
    };
    pods::total(spec, Which::Requests, request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn requests(spec: Value, status: Value) -> Requests {
        pod_requests(&serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap())
    }

    #[test]
    fn init_containers_run_beside_earlier_sidecars_only() {
        let spec = json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "1", "example.com/foo": "2"}}},
            ],
            "overhead": {"cpu": "10m"},
        });
        let requests = requests(spec, json!({}));
        assert_eq!((requests.plain.cpu, requests.plain.memory), (1060, 1 << 30));
        assert_eq!(requests.scored, (1060, (1 << 30) + (200 << 20)));
        assert_eq!(requests.plain.scalar("example.com/foo"), 2);
    }

    #[test]
    fn requests_of_the_whole_pod_replace_sums() {
        let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}, {"name": "b"}],
            "resources": {"requests": {"cpu": "2"}}});
        let requests = requests(spec, json!({}));
        assert_eq!((requests.plain.cpu, requests.plain.memory), (2000, 0));
        assert_eq!(requests.scored, (2000, 400 << 20));
    }

    #[test]
    fn what_was_given_counts_until_it_is_taken_back() {
        let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]});
        let given = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "allocatedResources": {"cpu": "3", "memory": "1Gi"}}]});
        assert_eq!(requests(spec, given).plain.cpu, 3000);
    }
}
