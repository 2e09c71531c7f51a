//! What `/metrics/probes` tells: how often each probe of each container passed and failed, and how long it took.

use std::time::Instant;

use super::{Kind, Outcome};
use crate::pod::PodExt;
use coracle_metrics::{Counter, Family, Histogram, Page};
use k8s_openapi::api::core::v1::Pod;

const KINDS: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];
const RESULTS: [&str; 3] = ["successful", "failed", "unknown"];

/// From 5 ms to 10 s.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Probes of pods that are on the node.
pub(crate) struct ProbeMetrics {
    results: Family<Counter, 6>,
    durations: Family<Histogram, 4>,
}

impl Default for ProbeMetrics {
    fn default() -> ProbeMetrics {
        ProbeMetrics {
            results: Family::new(["probe_type", "result", "container", "pod", "namespace", "pod_uid"]),
            durations: Family::with_constructor(["probe_type", "container", "pod", "namespace"], || {
                Histogram::new(&BOUNDS)
            }),
        }
    }
}

fn probed<'a>(pod: &'a Pod, container: &'a str, kind: Kind, result: &'a str) -> [&'a str; 6] {
    [kind.as_str(), result, container, pod.name(), pod.namespace(), pod.uid()]
}

fn probe<'a>(pod: &'a Pod, container: &'a str, kind: Kind) -> [&'a str; 4] {
    [kind.as_str(), container, pod.name(), pod.namespace()]
}

impl ProbeMetrics {
    /// A container was probed. One that fails is not measured, as its time is that of its limit.
    pub(super) fn probed(&self, pod: &Pod, container: &str, kind: Kind, outcome: &Outcome, began: Instant) {
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        };
        self.results.with(probed(pod, container, kind, result), Counter::inc);
        if result != "failed" {
            self.durations.with(probe(pod, container, kind), |duration| duration.observe_since(began));
        }
    }

    /// A pod is gone.
    pub(crate) fn forget(&self, pod: &Pod) {
        for container in pod.spec().containers.iter().chain(pod.init_containers()) {
            for kind in KINDS {
                self.durations.forget(probe(pod, &container.name, kind));
                for result in RESULTS {
                    self.results.forget(probed(pod, &container.name, kind, result));
                }
            }
        }
    }

    /// The page.
    pub(crate) fn text(&self) -> String {
        let mut page = Page::default();
        let total = "Cumulative number of a liveness, readiness or startup probe for a container by result";
        self.results.write("prober_probe_total", total, &mut page);
        let duration = "Duration in seconds for a probe response";
        self.durations.write("prober_probe_duration_seconds", duration, &mut page);
        page.into_text()
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
