//! The pods that are there when a namespace gets a stricter level.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use coracle_api::meta;
use serde_json::Value;

use super::{LevelVersion, Pod, evaluate, reasons};

/// How many pods are looked at, and for how long.
const MAX_PODS: usize = 3000;
const MAX_TIME: Duration = Duration::from_secs(1);

/// The pods with the same violations.
struct Same {
    /// The first by name.
    name: String,
    count: usize,
}

/// Warnings of what pods of a namespace would be refused by the level that is enforced there from now on. One pod of each
/// controller is looked at before the others. `total` is how many there are; no more are read than there is time for.
pub fn violations_in_namespace(
    namespace: &str,
    enforce: LevelVersion,
    total: usize,
    pods: impl Iterator<Item = Value>,
) -> Vec<String> {
    let began = Instant::now();
    let pods = prioritized(pods.take_while(|_| began.elapsed() <= MAX_TIME));
    let mut same: BTreeMap<String, Same> = BTreeMap::new();
    let mut checked = 0usize;
    for pod in pods.iter().take(MAX_PODS) {
        let violations = evaluate(enforce, &Pod::of(pod));
        checked = checked.saturating_add(1);
        if !violations.is_empty() {
            count(&mut same, reasons(&violations), meta::name(pod));
        }
        if began.elapsed() > MAX_TIME {
            break;
        }
    }
    let mut out = Vec::new();
    if checked < total {
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !same.is_empty() {
        let level = enforce.to_string();
        out.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{level}\""
        ));
    }
    let mut pods: Vec<String> = same.iter().map(|(reasons, same)| same.text(reasons)).collect();
    pods.sort();
    out.extend(pods);
    out
}

fn count(same: &mut BTreeMap<String, Same>, reasons: String, name: &str) {
    let entry = same.entry(reasons).or_insert_with(|| Same { name: name.to_owned(), count: 0 });
    entry.count = entry.count.saturating_add(1);
    if *name < *entry.name {
        entry.name = name.to_owned();
    }
}

impl Same {
    fn text(&self, reasons: &str) -> String {
        let name = &self.name;
        match self.count {
            0 | 1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            n => format!("{name} (and {} other pods): {reasons}", n.saturating_sub(1)),
        }
    }
}

fn prioritized(pods: impl Iterator<Item = Value>) -> Vec<Value> {
    let (mut first, mut more) = (Vec::new(), Vec::new());
    let mut controllers = HashSet::new();
    for pod in pods {
        let is_first = meta::controller_of(&pod).is_none_or(|owner| controllers.insert(owner.uid));
        let list = if is_first { &mut first } else { &mut more };
        if list.len() < MAX_PODS {
            list.push(pod);
        }
        if first.len() == MAX_PODS {
            break;
        }
    }
    first.extend(more);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_security::{Level, Version};
    use serde_json::json;

    #[test]
    fn pods_with_the_same_violations_are_counted() {
        let pod = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let pods = vec![
            pod("c", json!({"hostPID": true})),
            pod("b", json!({"hostPID": true})),
            pod("a", json!({})),
            pod("d", json!({"hostPID": true, "volumes": [{"name": "v", "hostPath": {}}]})),
        ];
        let enforce = LevelVersion { level: Level::Baseline, version: Version::Latest };
        assert_eq!(
            violations_in_namespace("n", enforce, pods.len(), pods.into_iter()),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "b (and 1 other pod): host namespaces",
                "d: host namespaces, hostPath volumes",
            ]
        );
    }

    #[test]
    fn no_more_pods_are_looked_at_than_fit_into_an_answer() {
        let pods = (0..=MAX_PODS).map(|n| json!({"metadata": {"name": n.to_string()}, "spec": {}}));
        let enforce = LevelVersion { level: Level::Baseline, version: Version::Latest };
        let told = violations_in_namespace("n", enforce, MAX_PODS + 1, pods);
        let expected = "new PodSecurity enforce level only checked against the first 3000 of 3001 existing pods";
        // On a slow machine fewer.
        assert!(told.len() == 1 && (told[0] == expected || told[0].ends_with("of 3001 existing pods")), "{told:?}");
    }
}
