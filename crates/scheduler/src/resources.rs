//! Amounts of resources, as arrays indexed by a small number for each resource name.

use std::collections::{BTreeMap, HashMap};

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

pub(crate) const CPU: usize = 0;
pub(crate) const MEMORY: usize = 1;

/// What a container without requests counts as when nodes are scored: a tenth of a CPU and 200 MiB.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

/// Numbers for resource names. CPU is counted in thousandths, all else in units or bytes.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Names { names: Vec::new(), numbers: HashMap::new() };
        for name in ["cpu", "memory", "ephemeral-storage"] {
            names.number(name);
        }
        names
    }
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    pub fn name(&self, number: usize) -> &str {
        self.names.get(number).map(String::as_str).unwrap_or_default()
    }
}

/// An amount of each resource; those beyond the end are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts(pub Vec<i64>);

impl Amounts {
    pub fn get(&self, number: usize) -> i64 {
        self.0.get(number).copied().unwrap_or(0)
    }

    fn at(&mut self, number: usize) -> &mut i64 {
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        &mut self.0[number]
    }

    pub fn add(&mut self, other: &Amounts) {
        for (number, amount) in other.0.iter().enumerate() {
            let mine = self.at(number);
            *mine = mine.saturating_add(*amount);
        }
    }

    pub fn subtract(&mut self, other: &Amounts) {
        for (number, amount) in other.0.iter().enumerate() {
            let mine = self.at(number);
            *mine = mine.saturating_sub(*amount);
        }
    }

    fn max(&mut self, other: &Amounts) {
        for (number, amount) in other.0.iter().enumerate() {
            let mine = self.at(number);
            *mine = (*mine).max(*amount);
        }
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
pub(crate) fn amounts(names: &mut Names, list: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, quantity) in list.into_iter().flatten().filter(|(name, _)| *name != "pods") {
        let number = names.number(name);
        *amounts.at(number) = amount(name, quantity);
    }
    amounts
}

/// How many pods a node takes.
pub(crate) fn pod_limit(list: Option<&BTreeMap<String, ApiQuantity>>) -> i64 {
    list.and_then(|list| list.get("pods")).map_or(0, |quantity| amount("pods", quantity))
}

/// What a pod requests, and what it counts as when nodes are scored (CPU and memory).
///
/// A pod needs what its containers and sidecars need together, or what an init container needs beside the
/// sidecars that were started before it, whichever is more; and its overhead. Requests of the whole pod take
/// the place of its containers' sums.
pub(crate) fn pod_requests(names: &mut Names, spec: &PodSpec) -> (Amounts, [i64; 2]) {
    let request = |names: &mut Names, container: &Container, defaults: bool| {
        let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let mut request = amounts(names, list);
        if defaults {
            let has = |name: &str| list.is_some_and(|list| list.contains_key(name));
            if !has("cpu") {
                *request.at(CPU) = DEFAULT_CPU;
            }
            if !has("memory") {
                *request.at(MEMORY) = DEFAULT_MEMORY;
            }
        }
        request
    };
    let mut total = |defaults: bool| {
        let mut running = Amounts::default();
        for container in &spec.containers {
            running.add(&request(names, container, defaults));
        }
        let (mut sidecars, mut initial) = (Amounts::default(), Amounts::default());
        for container in spec.init_containers.iter().flatten() {
            let mut needed = request(names, container, defaults);
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
                let number = names.number(name);
                *running.at(number) = amount(name, quantity);
            }
        }
        running.add(&amounts(names, spec.overhead.as_ref()));
        running
    };
    let (plain, scored) = (total(false), total(true));
    (plain, [scored.get(CPU), scored.get(MEMORY)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_run_beside_earlier_sidecars_only() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "1"}}},
            ],
            "overhead": {"cpu": "10m"},
        }))
        .unwrap();
        let mut names = Names::default();
        let (plain, scored) = pod_requests(&mut names, &spec);
        assert_eq!((plain.get(CPU), plain.get(MEMORY)), (1060, 1 << 30));
        assert_eq!(scored, [1060, (1 << 30) + (200 << 20)]);
    }
}
