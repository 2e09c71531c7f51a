//! What a pod needs and may use as a whole.
//!
//! What the pod says for itself takes the place of what its containers say together, and its overhead is added.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::meta::{list, text};
use coracle_api::quantity::Quantity;
pub use coracle_api::strategy::pod::resources::Which;
use coracle_api::strategy::pod::resources::{containers, of_containers, of_whole};
use serde_json::Value;

use crate::amounts::{Amounts, Sum};

/// Where a pod's status says what its containers have.
const STATUSES: [&str; 2] = ["containerStatuses", "initContainerStatuses"];

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

/// Has the status of a pod, which is to take the place of that of `old`, say no more of what containers have than they ask for or
/// had by the old one: what a pod was given it asked for once. Answers with the names of containers of which it said more.
pub fn bound_status(pod: &mut Value, old: &Value) -> BTreeSet<String> {
    let most = most(&pod["spec"], old);
    let mut beyond = BTreeSet::new();
    for key in STATUSES {
        let names: Vec<String> =
            list(pod, &["status", key]).iter().map(|one| text(one, &["name"]).to_owned()).collect();
        for (at, name) in names.into_iter().enumerate() {
            // What is said of others is charged to nobody.
            let Some([requests, limits]) = most.get(&name) else { continue };
            let mut is_more = false;
            for (path, most) in
                [("resources/requests", requests), ("resources/limits", limits), ("allocatedResources", requests)]
            {
                let said = pod.pointer_mut(&format!("/status/{key}/{at}/{path}"));
                is_more |= said.is_some_and(|said| bound(said, most));
            }
            if is_more {
                beyond.insert(name);
            }
        }
    }
    beyond
}

/// What each container asks for, or had by an older status where that is more: requests and limits.
fn most(spec: &Value, old: &Value) -> BTreeMap<String, [Amounts; 2]> {
    let of = |container: &Value| {
        let asked = [Which::Requests, Which::Limits].map(|which| which.of(container));
        (text(container, &["name"]).to_owned(), asked)
    };
    let mut most: BTreeMap<_, _> = containers(spec).into_iter().flatten().map(of).collect();
    for status in STATUSES.into_iter().flat_map(|key| list(old, &["status", key])) {
        let Some([requests, limits]) = most.get_mut(text(status, &["name"])) else { continue };
        requests.raise(&had(status, Which::Requests));
        limits.raise(&had(status, Which::Limits));
    }
    most
}

/// What a container has by its status.
fn had(status: &Value, which: Which) -> Amounts {
    let mut has = which.of(status);
    if which == Which::Requests {
        has.raise(&Amounts::of(&status["allocatedResources"]));
    }
    has
}

/// Lowers the amounts of a list; answers whether one was more. One of which there is none at all goes.
fn bound(amounts: &mut Value, most: &Amounts) -> bool {
    let said = Amounts::of(amounts);
    let lower = |(name, amount): (&String, &Quantity)| {
        let most = most.get(name)?;
        Some((name.clone(), if most < *amount { most } else { *amount }))
    };
    let bounded = Amounts(said.0.iter().filter_map(lower).collect());
    let is_more = bounded != said;
    if is_more {
        *amounts = bounded.to_value();
    }
    is_more
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
    let mut lists = STATUSES.into_iter().flat_map(|key| list(pod, &["status", key]));
    let wanted = which.of(container);
    let Some(status) = lists.find(|status| status["name"] == container["name"]) else { return wanted };
    let mut has = had(status, which);
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

    #[test]
    fn a_status_says_no_more_than_was_asked_for_at_some_time() {
        let says = |allocated: &str, limit: &str| {
            json!([{"name": "a", "allocatedResources": {"cpu": allocated, "example.com/x": "5"},
                "resources": {"requests": {"cpu": allocated}, "limits": {"cpu": limit}}}])
        };
        let mut pod =
            json!({"spec": {"containers": [container("a", "2")]}, "status": {"containerStatuses": says("1E", "1")}});
        pod["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "4"});
        let mut old = json!({"status": {"initContainerStatuses": [{"name": "a"}, "odd"]}});
        assert_eq!(bound_status(&mut pod, &old).into_iter().collect::<Vec<_>>(), ["a"]);
        let bounded = json!([{"name": "a", "allocatedResources": {"cpu": "2"},
            "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]);
        assert_eq!(pod["status"]["containerStatuses"], bounded);
        // What it was given when it asked for more, it still has.
        old["status"]["containerStatuses"] =
            json!([{"name": "a", "allocatedResources": {"cpu": "3", "example.com/x": "7"}}]);
        pod["status"]["containerStatuses"] = says("2500m", "3");
        let honest = pod.clone();
        assert!(bound_status(&mut pod, &old).is_empty());
        assert_eq!(pod, honest);
        for odd in [json!("x"), json!(["x", 1, {"resources": []}, {"name": 1, "allocatedResources": "1"}])] {
            pod["status"]["containerStatuses"] = odd.clone();
            assert!(bound_status(&mut pod, &old).is_empty());
            assert_eq!(pod["status"]["containerStatuses"], odd);
        }
    }
}
