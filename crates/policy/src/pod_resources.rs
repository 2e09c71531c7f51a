//! What a pod needs and may use as a whole.
//!
//! Its containers and sidecars run side by side, and an init container beside the sidecars that were started before it;
//! what is more of both counts. What the pod says for itself takes the place of that, and its overhead is added.
//! <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>

use coracle_api::meta::list;
use serde_json::Value;

use crate::amounts::Amounts;

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What is set aside.
    Requests,
    /// What is not exceeded.
    Limits,
}

impl Which {
    fn key(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// What the containers of a pod, or the pod itself, say, without overhead.
pub fn of_spec(pod: &Value, which: Which) -> Amounts {
    total(pod, which, |container| Amounts::of(&container["resources"][which.key()]))
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
    let own = |which: Which| Amounts::of(&pod["spec"]["resources"][which.key()]).0.into_keys();
    own(Which::Requests).chain(own(Which::Limits)).any(|name| may_be_of_pod(&name))
}

fn may_be_of_pod(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn total(pod: &Value, which: Which, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut running = Amounts::default();
    for container in list(pod, &["spec", "containers"]) {
        running.add(&of(container));
    }
    let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
    for container in list(pod, &["spec", "initContainers"]) {
        let mut own = of(container);
        if container["restartPolicy"] == "Always" {
            running.add(&own);
            sidecars.add(&own);
            own = sidecars.clone();
        } else {
            own.add(&sidecars);
        }
        starting.raise(&own);
    }
    running.raise(&starting);
    let own = Amounts::of(&pod["spec"]["resources"][which.key()]);
    running.0.extend(own.0.into_iter().filter(|(name, _)| may_be_of_pod(name)));
    running
}

/// What a container wants, or what it has where that is more.
fn held(pod: &Value, container: &Value, which: Which, infeasible: bool) -> Amounts {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter().flat_map(|key| list(pod, &["status", key]));
    let wanted = Amounts::of(&container["resources"][which.key()]);
    let Some(status) = lists.into_iter().find(|status| status["name"] == container["name"]) else { return wanted };
    let mut has = Amounts::of(&status["resources"][which.key()]);
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
