//! How much of what is used in a second, from two pages of a node.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_api::meta;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::page::{Page, Point};

/// A container that was started between the pages is measured from its start once it has run so long.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);

/// What was used between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    pub until: Timestamp,
    pub window: Duration,
    /// In billionths of a processor.
    pub cpu: u64,
    pub memory: u64,
}

impl Usage {
    fn between(before: Point, after: Point) -> Option<Usage> {
        let window = Duration::try_from(after.at.duration_since(before.at)).ok().filter(|window| !window.is_zero())?;
        // Less than before: it was started anew, or the page makes no sense.
        let used = after.cpu.checked_sub(before.cpu)?;
        let cpu = (used.as_secs_f64() / window.as_secs_f64() * 1e9) as u64;
        Some(Usage { until: after.at, window, cpu, memory: after.memory })
    }

    fn quantities(&self) -> Value {
        json!({"cpu": format!("{}n", self.cpu), "memory": format!("{}Ki", self.memory / 1024)})
    }
}

/// The pods of a node: namespace and name, and the usage of each container.
type Pods = BTreeMap<(String, String), BTreeMap<String, Usage>>;

/// What a node used between two pages.
pub(super) fn of_node(before: &Page, after: &Page) -> Option<Usage> {
    Usage::between(before.node?, after.node?)
}

/// What each container of a node used between two pages. Pods of which one container is not known yet are left out.
pub(super) fn of_pods(before: &Page, after: &Page) -> Pods {
    let mut pods = Pods::new();
    let mut unknown = Vec::new();
    for (container, (point, started)) in &after.containers {
        let pod = (container.namespace.clone(), container.pod.clone());
        let earlier = before.containers.get(container).filter(|(_, before)| before == started).map(|(point, _)| *point);
        let from_start = || {
            let at = started.filter(|started| point.at.duration_since(*started) >= YOUNG)?;
            Some(Point { at, cpu: Duration::ZERO, memory: 0 })
        };
        match earlier.or_else(from_start).and_then(|earlier| Usage::between(earlier, *point)) {
            Some(usage) => drop(pods.entry(pod).or_default().insert(container.name.clone(), usage)),
            None => unknown.push(pod),
        }
    }
    unknown.iter().for_each(|pod| drop(pods.remove(pod)));
    pods
}

/// A NodeMetrics object.
pub(super) fn node_object(name: &str, labels: &Value, usage: &Usage) -> Value {
    let mut object = object("NodeMetrics", json!({"name": name}), labels, usage.until, usage.window);
    object["usage"] = usage.quantities();
    object
}

/// A PodMetrics object; nothing for a pod without containers.
pub(super) fn pod_object(
    namespace: &str,
    name: &str,
    labels: &Value,
    containers: &BTreeMap<String, Usage>,
) -> Option<Value> {
    // Of the newest page, and the window that all of them have at least.
    let until = containers.values().map(|usage| usage.until).max()?;
    let window = containers.values().map(|usage| usage.window).min()?;
    let metadata = json!({"name": name, "namespace": namespace});
    let mut object = object("PodMetrics", metadata, labels, until, window);
    let one = |(name, usage): (&String, &Usage)| json!({"name": name, "usage": usage.quantities()});
    object["containers"] = containers.iter().map(one).collect();
    Some(object)
}

fn object(kind: &str, mut metadata: Value, labels: &Value, until: Timestamp, window: Duration) -> Value {
    metadata["creationTimestamp"] = meta::format_time(Timestamp::now()).into();
    if labels.is_object() {
        metadata["labels"] = labels.clone();
    }
    let window = format!("{:.3}", window.as_secs_f64());
    let window = window.trim_end_matches('0').trim_end_matches('.');
    json!({
        "apiVersion": "metrics.k8s.io/v1beta1", "kind": kind, "metadata": metadata,
        "timestamp": meta::format_time(until), "window": format!("{window}s"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::page::Container;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn point(second: i64, cpu: u64) -> Point {
        Point { at: at(second), cpu: Duration::from_millis(cpu), memory: 2048 }
    }

    fn page(containers: &[(&str, &str, Point, i64)]) -> Page {
        let one = |(pod, name, point, started): &(&str, &str, Point, i64)| {
            let container = Container { namespace: "n".into(), pod: (*pod).into(), name: (*name).into() };
            (container, (*point, Some(at(*started))))
        };
        Page { node: None, containers: containers.iter().map(one).collect() }
    }

    #[test]
    fn usage_is_what_was_used_by_time() {
        let before = Page { node: Some(point(100, 1_000)), ..Page::default() };
        let after = Page { node: Some(point(110, 6_000)), ..Page::default() };
        let usage = of_node(&before, &after).unwrap();
        assert_eq!((usage.cpu, usage.window), (500_000_000, Duration::from_secs(10)));
        assert_eq!(of_node(&after, &before), None);
        let object = node_object("a", &json!({"k": "v"}), &usage);
        assert_eq!(object["usage"], json!({"cpu": "500000000n", "memory": "2Ki"}));
        assert_eq!((&object["window"], &object["metadata"]["labels"]["k"]), (&json!("10s"), &json!("v")));
    }

    #[test]
    fn a_container_started_anew_counts_from_its_start_and_a_pod_only_as_a_whole() {
        let before = page(&[("a", "x", point(100, 1_000), 0), ("b", "x", point(100, 9_000), 0)]);
        let after = page(&[
            ("a", "x", point(120, 3_000), 0),
            ("b", "x", point(120, 1_000), 110),
            ("c", "x", point(120, 1_000), 0),
            ("c", "young", point(120, 100), 115),
        ]);
        let pods = of_pods(&before, &after);
        let cpu = |pod: &str| pods.get(&("n".to_owned(), pod.to_owned())).map(|containers| containers["x"].cpu);
        assert_eq!(cpu("a"), Some(100_000_000));
        assert_eq!(cpu("b"), Some(100_000_000));
        assert_eq!(cpu("c"), None);
    }
}
