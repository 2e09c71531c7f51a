//! TaintToleration: nodes repel pods that do not tolerate their taints.

pub(crate) use coracle_matching::taints::tolerates;
use k8s_openapi::api::core::v1::{Taint, Toleration};

/// The first taint that keeps a pod off.
pub(crate) fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|taint| !tolerates(tolerations, taint))
}

/// How many taints would rather keep the pod off.
pub(crate) fn unpreferred(tolerations: &[Toleration], taints: &[Taint]) -> i64 {
    let unpreferred = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(tolerations, taint);
    taints.iter().filter(unpreferred).count() as i64
}
