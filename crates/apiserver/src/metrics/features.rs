//! Which of upstream's feature gates are as good as on or off here.

use coracle_metrics::Page;

/// Those that are stable upstream, and are there, have an empty stage.
const FEATURES: [(&str, &str, bool); 22] = [
    ("APIServerTracing", "", false),
    ("AuthorizeWithSelectors", "", true),
    ("ConsistentListFromCache", "", true),
    ("CRDValidationRatcheting", "", true),
    ("CSIMigrationPortworx", "", false),
    ("CustomResourceFieldSelectors", "", true),
    ("DynamicResourceAllocation", "", false),
    ("HPAContainerMetrics", "", true),
    ("InPlacePodVerticalScaling", "", false),
    ("JobBackoffLimitPerIndex", "", true),
    ("JobManagedBy", "", true),
    ("JobPodReplacementPolicy", "", true),
    ("JobSuccessPolicy", "", true),
    ("MatchLabelKeysInPodAffinity", "", true),
    ("NodeSwap", "", false),
    ("PodSchedulingReadiness", "", true),
    ("SchedulerQueueingHints", "", true),
    ("SidecarContainers", "", true),
    ("StructuredAuthenticationConfiguration", "", true),
    ("StructuredAuthorizationConfiguration", "", true),
    ("ValidatingAdmissionPolicy", "", true),
    ("WatchList", "BETA", true),
];

/// Shows them.
pub(super) fn show(page: &mut Page) {
    let name = "kubernetes_feature_enabled";
    page.family(name, "gauge", "Whether a feature of this name is on");
    for (feature, stage, on) in FEATURES {
        page.sample(name, &[("name", feature), ("stage", stage)], u8::from(on));
    }
}
