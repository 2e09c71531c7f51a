//! DynamicResources: pods with claims for devices. Nothing allocates devices yet, and such a pod would run without: it waits.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/>

use crate::framework::{Actions, Plugin, PreFilter, Refusal, Scope};
use crate::pod::PodInfo;
use crate::table::Table;

pub(crate) const NAME: &str = "DynamicResources";

/// Stands in for the plugin. It has no arguments.
pub(crate) struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Pod
    }

    fn pre_filter(&self, pod: &PodInfo, _table: &Table) -> Result<PreFilter, Refusal> {
        let claims = pod.pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default();
        match claims.is_empty() {
            true => Ok(PreFilter::default()),
            false => Err(Refusal::unresolvable(NAME, "pod has resource claims, and this version allocates no devices")),
        }
    }

    /// The claims of a pod stay as they are, and nothing else matters.
    fn events(&self) -> Actions {
        Actions::NONE
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{core, decide, next, node, pod};
    use serde_json::json;

    #[test]
    fn a_pod_that_claims_devices_waits_and_is_told_why() {
        let mut core = core(&[node("a", "1", json!({}))]);
        let claims = json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]});
        // Pods that are alike but for it are placed, before and after.
        assert_eq!(decide(&mut core, &pod("before", "0", json!({}))), Ok("a".into()));
        let told = decide(&mut core, &pod("claims", "0", claims)).unwrap_err();
        let expected = "0/1 nodes are available: pod has resource claims, and this version allocates no devices. \
                        preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        assert_eq!(told, expected);
        assert_eq!(decide(&mut core, &pod("after", "0", json!({}))), Ok("a".into()));
        core.node_changed(None, &node("b", "1", json!({})));
        assert_eq!(next(&mut core), None, "another node is of no help");
    }
}
