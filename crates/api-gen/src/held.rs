//! Which optional fields Go types hold as structs, not as pointers: such a field is there, if only empty, in every object
//! that has its parent. The sources do not say it; upstream's merge schema does, by an empty default.

use crate::{Def, Ty};

/// Fields below `io.k8s.api.`, besides `metadata` everywhere and `spec` and `status` of kinds; sorted.
const HELD: [(&str, &[&str]); 24] = [
    ("apps.v1.DaemonSetSpec", &["updateStrategy"]),
    ("apps.v1.DeploymentSpec", &["strategy"]),
    ("apps.v1.ReplicaSetSpec", &["template"]),
    ("apps.v1.StatefulSetSpec", &["updateStrategy"]),
    ("batch.v1.JobTemplateSpec", &["spec"]),
    ("core.v1.Container", &["resources"]),
    ("core.v1.ContainerStatus", &["lastState", "state"]),
    ("core.v1.EphemeralContainer", &["resources"]),
    ("core.v1.Event", &["source"]),
    ("core.v1.NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("core.v1.NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("core.v1.PersistentVolumeClaimSpec", &["resources"]),
    ("core.v1.PodTemplate", &["template"]),
    ("core.v1.PodTemplateSpec", &["spec"]),
    ("core.v1.ServiceStatus", &["loadBalancer"]),
    ("discovery.v1.Endpoint", &["conditions"]),
    ("events.v1.Event", &["deprecatedSource", "regarding"]),
    ("flowcontrol.v1.LimitedPriorityLevelConfiguration", &["limitResponse"]),
    ("networking.v1.IngressServiceBackend", &["port"]),
    ("networking.v1.IngressStatus", &["loadBalancer"]),
    ("networking.v1.NetworkPolicySpec", &["podSelector"]),
    ("resource.v1.AllocationResult", &["devices"]),
    ("resource.v1.ResourceClaimSpec", &["devices"]),
    ("apiextensions.v1.CustomResourceDefinitionStatus", &["acceptedNames"]),
];

/// Whether the optional field is held as a struct.
pub(crate) fn is_held(name: &str, def: &Def, field: &crate::Field) -> bool {
    let Ty::Ref(inner) = &field.ty else { return false };
    if field.required {
        return false;
    }
    let listed = |(held, fields): &(&str, &[&str])| {
        let def = name.strip_suffix(held).is_some_and(|outer| outer.ends_with('.'));
        def && fields.contains(&field.name.as_str())
    };
    inner.ends_with(".meta.v1.ObjectMeta")
        || (def.gvk.is_some() && matches!(field.name.as_str(), "spec" | "status"))
        || HELD.iter().any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_field_that_is_not_in_the_output() {
        let tables = crate::generate().expect("the generator runs").tables;
        for (def, fields) in HELD {
            let rest = tables.split_once(&format!(".{def}\", gvk")).expect(def).1;
            let body = rest.split_once("\n] },").expect(def).0;
            for field in fields {
                let line = body.lines().find(|line| line.contains(&format!("name: \"{field}\""))).expect(field);
                assert!(line.contains("held: true"), "{def}.{field}: {line}");
            }
        }
    }
}
