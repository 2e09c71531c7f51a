//! What a pod needs and may use as a whole.
//!
//! What the pod says for itself takes the place of what its containers say together, and its overhead is added.

use coracle_api::meta::list;
pub use coracle_api::strategy::pod::resources::Which;
use coracle_api::strategy::pod::resources::{containers, of_containers, of_whole};
use serde_json::Value;

use crate::amounts::{Amounts, Sum};

/// What the containers of a pod, or the pod itself, say, without overhead.
pub fn of_spec(pod: &Value, which: Which) -> Amounts {
    total(pod, which, |container| which.of(container))
}

/// The same with the overhead, and with what a pod still has that was resized and has not given it back yet.
pub fn charged(pod: &Value, which: Which) -> Amounts {
    let infeasible = is_resize_infeasible(pod);
    let mut total = total(pod, which, |container| held(pod, container, which, infeasible));
    let overhead = Amounts::of(&pod["spec"]["overhead"]);
    match which {
        Which::Requests => total.add(&overhead),
        // Who has no limit does not get one by the overhead.
        Which::Limits => {
            let limited = overhead.only(|name| total.get(name).is_some());
            total.add(&limited);
        }
    }
    total
}

/// Whether the pod says its resources for itself.
pub fn has_its_own(pod: &Value) -> bool {
    [Which::Requests, Which::Limits].into_iter().any(|which| !of_whole(&pod["spec"], which).0.is_empty())
}

fn total(pod: &Value, which: Which, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let spec = &pod["spec"];
    let mut total = of_containers(containers(spec), of);
    total.0.append(&mut of_whole(spec, which).0);
    total
}

/// What a container wants, or what it has where that is more.
fn held(pod: &Value, container: &Value, which: Which, infeasible: bool) -> Amounts {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter().flat_map(|key| list(pod, &["status", key]));
    let wanted = which.of(container);
    let Some(status) = lists.into_iter().find(|status| status["name"] == container["name"]) else { return wanted };
    let mut has = which.of(status);
    if which == Which::Requests {
        has.raise(&Amounts::of(&status["allocatedResources"]));
    }
    // What the node will never give is not counted.
    if !infeasible || has.0.is_empty() {
        has.raise(&wanted);
    }
    has
}

fn is_resize_infeasible(pod: &Value) -> bool {
    let mut conditions = list(pod, &["status", "conditions"]).iter();
    conditions.any(|condition| condition["type"] == "PodResizePending" && condition["reason"] == "Infeasible")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    fn cpu(pod: &Value) -> String {
        charged(pod, Which::Requests).get("cpu").map(|cpu| cpu.to_string()).unwrap_or_default()
    }

    #[test]
    fn init_containers_run_before_and_sidecars_beside() {
        let mut sidecar = container("s", "100m");
        sidecar["restartPolicy"] = "Always".into();
        let mut pod = json!({"spec": {"containers": [container("a", "200m"), container("b", "300m")],
            "initContainers": [container("i", "550m"), sidecar, container("j", "550m")]}});
        assert_eq!(cpu(&pod), "650m");
        pod["spec"]["initContainers"] = json!([pod["spec"]["initContainers"][1]]);
        assert_eq!(cpu(&pod), "600m");
        pod["spec"]["overhead"] = json!({"cpu": "1"});
        assert_eq!(cpu(&pod), "1600m");
        assert!(charged(&pod, Which::Limits).0.is_empty());
        pod["spec"]["resources"] = json!({"requests": {"cpu": "2"}});
        assert_eq!((cpu(&pod).as_str(), has_its_own(&pod)), ("3", true));
    }

    #[test]
    fn what_a_resized_container_still_has_counts() {
        let mut pod = json!({"spec": {"containers": [container("a", "200m")]}, "status": {"containerStatuses": [
            {"name": "a", "allocatedResources": {"cpu": "500m"}, "resources": {"requests": {"cpu": "400m"}}}]}});
        assert_eq!(cpu(&pod), "500m");
        pod["spec"]["containers"][0] = container("a", "5");
        assert_eq!(cpu(&pod), "5");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible", "status": "True"}]);
        assert_eq!(cpu(&pod), "500m");
    }
}
