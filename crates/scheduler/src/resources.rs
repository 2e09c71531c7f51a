//! Amounts of resources, and what a pod requests.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use smol_str::SmolStr;

/// What a container without requests counts as when nodes are scored: a tenth of a CPU and 200 MiB.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

type ResourceList = BTreeMap<String, ApiQuantity>;

/// The name of a resource. The first three are fields of [`Amounts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Cpu,
    Memory,
    EphemeralStorage,
    /// Huge pages and extended resources.
    Scalar(SmolStr),
}

impl Resource {
    pub fn new(name: &str) -> Resource {
        match name {
            "cpu" => Resource::Cpu,
            "memory" => Resource::Memory,
            "ephemeral-storage" => Resource::EphemeralStorage,
            other => Resource::Scalar(other.into()),
        }
    }
}

/// An amount of each resource: CPU in thousandths, all else in units or bytes. `pods` is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Amounts {
    pub cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// By name, in its order; few nodes have any.
    pub scalar: Vec<(SmolStr, i64)>,
}

impl Amounts {
    pub fn get(&self, resource: &Resource) -> i64 {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::EphemeralStorage => self.ephemeral_storage,
            Resource::Scalar(name) => self.scalar(name),
        }
    }

    pub fn scalar(&self, name: &str) -> i64 {
        let found = self.scalar.binary_search_by(|(other, _)| other.as_str().cmp(name));
        found.ok().and_then(|at| self.scalar.get(at)).map_or(0, |(_, amount)| *amount)
    }

    fn at(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            "ephemeral-storage" => &mut self.ephemeral_storage,
            _ => self.scalar_at(name),
        }
    }

    fn scalar_at(&mut self, name: &str) -> &mut i64 {
        let at = match self.scalar.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.scalar.insert(at, (name.into(), 0));
                at
            }
        };
        &mut self.scalar[at].1
    }

    fn combine(&mut self, other: &Amounts, with: impl Fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let mine = self.scalar_at(name);
            *mine = with(*mine, *amount);
        }
    }

    pub fn add(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_add);
    }

    /// The opposite of [`Amounts::add`].
    pub fn subtract(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_sub);
        if !other.scalar.is_empty() {
            self.scalar.retain(|(_, amount)| *amount != 0);
        }
    }

    fn max(&mut self, other: &Amounts) {
        self.combine(other, i64::max);
    }
}

/// A quantity in the unit of its resource; one that does not parse counts as nothing.
fn amount(name: &str, quantity: &ApiQuantity) -> i64 {
    match quantity.0.parse::<Quantity>() {
        Ok(quantity) if name == "cpu" => quantity.milli_value(),
        Ok(quantity) => quantity.value(),
        Err(_) => 0,
    }
}

/// Amounts of a resource list, without `pods`.
pub(crate) fn amounts(list: Option<&ResourceList>) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, quantity) in list.into_iter().flatten().filter(|(name, _)| *name != "pods") {
        *amounts.at(name) = amount(name, quantity);
    }
    amounts
}

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
/// A pod needs what its containers and sidecars need together, or what an init container needs beside the
/// sidecars that were started before it, whichever is more; and its overhead. Requests of the whole pod take
/// the place of its containers' sums. What a container was given counts until a smaller request has been carried out.
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
        given.max(&amounts(status.allocated_resources.as_ref()));
        if !self.is_final {
            given.max(&wanted);
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
    let mut running = Amounts::default();
    for container in &spec.containers {
        running.add(&request(container));
    }
    let (mut sidecars, mut initial) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        let mut needed = request(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&needed);
            sidecars.add(&needed);
            needed = sidecars.clone();
        } else {
            needed.add(&sidecars);
        }
        initial.max(&needed);
    }
    running.max(&initial);
    if let Some(whole) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        for (name, quantity) in whole {
            *running.at(name) = amount(name, quantity);
        }
    }
    running.add(&amounts(spec.overhead.as_ref()));
    running
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

    #[test]
    fn amounts_are_taken_back_without_a_trace() {
        let mut sum = Amounts::default();
        let mut one = Amounts { cpu: 5, ..Amounts::default() };
        *one.at("example.com/foo") = 3;
        sum.add(&one);
        assert_eq!(sum.get(&Resource::new("example.com/foo")), 3);
        sum.subtract(&one);
        assert_eq!(sum, Amounts::default());
    }
}
