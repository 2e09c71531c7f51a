//! `/metrics/slis`: what checks of the kubelet's health found, as they were asked for.
//! <https://kubernetes.io/docs/reference/instrumentation/slis/>

use coracle_metrics::Page;
use http::{Response, StatusCode};

use super::super::{Body, text};
use crate::kubelet::Kubelet;

/// The page.
pub(in crate::server) fn slis(k: &Kubelet) -> Response<Body> {
    text(StatusCode::OK, page(k.metrics.health_checks()).into_text())
}

/// There is one check, that the kubelet answers; before it was asked for the first time nothing is known.
fn page(asked: u64) -> Page {
    let mut page = Page::default();
    let name = "kubernetes_healthcheck";
    page.family(name, "gauge", "[STABLE] What the last check of this name found: 1 is healthy.");
    if asked > 0 {
        page.sample(name, &[("name", "ping"), ("type", "healthz")], 1);
    }
    let name = "kubernetes_healthchecks_total";
    page.family(name, "counter", "[STABLE] Checks of this name by what they found.");
    if asked > 0 {
        page.sample(name, &[("name", "ping"), ("status", "success"), ("type", "healthz")], asked);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_told() {
        assert!(!page(0).into_text().contains("ping"));
        let text = page(3).into_text();
        assert!(text.contains("\nkubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n"), "{text}");
        assert!(text.ends_with("{name=\"ping\",status=\"success\",type=\"healthz\"} 3\n"), "{text}");
    }
}
