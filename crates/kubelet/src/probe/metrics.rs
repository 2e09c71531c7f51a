//! What `/metrics/probes` tells: how often each probe of each container passed and failed, and how long it took.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Kind, Outcome};
use crate::pod::PodExt;

const KINDS: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];
const RESULTS: [&str; 3] = ["successful", "failed", "unknown"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Probed {
    probe_type: &'static str,
    result: &'static str,
    container: String,
    pod: String,
    namespace: String,
    pod_uid: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Probe {
    probe_type: &'static str,
    container: String,
    pod: String,
    namespace: String,
}

/// Probes of pods that are on the node.
pub(crate) struct ProbeMetrics {
    results: Family<Probed, Counter>,
    durations: Family<Probe, Histogram, fn() -> Histogram>,
}

impl Default for ProbeMetrics {
    fn default() -> ProbeMetrics {
        ProbeMetrics { results: Family::default(), durations: Family::new_with_constructor(buckets) }
    }
}

/// From 5 ms to 10 s.
fn buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

fn probed(pod: &Pod, container: &str, kind: Kind, result: &'static str) -> Probed {
    let (name, namespace, uid) = (pod.name().to_owned(), pod.namespace().to_owned(), pod.uid().to_owned());
    Probed { probe_type: kind.as_str(), result, container: container.to_owned(), pod: name, namespace, pod_uid: uid }
}

fn probe(pod: &Pod, container: &str, kind: Kind) -> Probe {
    let (name, namespace) = (pod.name().to_owned(), pod.namespace().to_owned());
    Probe { probe_type: kind.as_str(), container: container.to_owned(), pod: name, namespace }
}

impl ProbeMetrics {
    /// A container was probed. One that fails is not measured, as its time is that of its limit.
    pub(super) fn probed(&self, pod: &Pod, container: &str, kind: Kind, outcome: &Outcome, began: Instant) {
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        };
        self.results.get_or_create(&probed(pod, container, kind, result)).inc();
        if result != "failed" {
            let durations = self.durations.get_or_create(&probe(pod, container, kind));
            durations.observe(began.elapsed().as_secs_f64());
        }
    }

    /// A pod is gone.
    pub(crate) fn forget(&self, pod: &Pod) {
        for container in pod.spec().containers.iter().chain(pod.init_containers()) {
            for kind in KINDS {
                self.durations.remove(&probe(pod, &container.name, kind));
                for result in RESULTS {
                    self.results.remove(&probed(pod, &container.name, kind, result));
                }
            }
        }
    }

    /// The page.
    pub(crate) fn text(&self) -> String {
        let mut registry = Registry::default();
        let total = "Cumulative number of a liveness, readiness or startup probe for a container by result";
        registry.register("prober_probe", total, self.results.clone());
        let duration = "Duration in seconds for a probe response";
        registry.register("prober_probe_duration_seconds", duration, self.durations.clone());
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &registry);
        text.trim_end_matches("# EOF\n").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn probes_are_counted_by_result_until_their_pod_is_gone() {
        let metadata = json!({"name": "p", "namespace": "n", "uid": "u"});
        let pod: Pod =
            serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": [{"name": "c"}]}})).unwrap();
        let metrics = ProbeMetrics::default();
        for outcome in [Outcome::Success, Outcome::Warning("w".into()), Outcome::Failure("f".into())] {
            metrics.probed(&pod, "c", Kind::Readiness, &outcome, Instant::now());
        }
        let text = metrics.text();
        let labels = |result: &str| {
            format!(
                "prober_probe_total{{probe_type=\"Readiness\",result=\"{result}\",container=\"c\",pod=\"p\",namespace=\"n\",pod_uid=\"u\"}}"
            )
        };
        let counts = [format!("{} 2\n", labels("successful")), format!("{} 1\n", labels("failed"))];
        assert!(counts.iter().all(|line| text.contains(line)), "{text}");
        let measured =
            "prober_probe_duration_seconds_count{probe_type=\"Readiness\",container=\"c\",pod=\"p\",namespace=\"n\"} 2";
        assert!(text.contains(measured), "{text}");
        metrics.forget(&pod);
        assert!(!metrics.text().contains("pod="));
    }
}
