//! Limit ranges: what containers get that say nothing, and the bounds of what containers, pods and claims may say.
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>

use coracle_api::meta::{self, list, text};
use coracle_api::quantity::Quantity;
use serde_json::{Value, json};

use crate::amounts::Amounts;
use crate::pod_resources::{self, Which};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives the containers of a new pod what a limit range says for those that say nothing.
pub fn complete_pod(limit_range: &Value, pod: &mut Value) {
    let (mut requests, mut limits) = (Amounts::default(), Amounts::default());
    for limit in items(limit_range, "Container") {
        requests.0.extend(Amounts::of(&limit["defaultRequest"]).0);
        limits.0.extend(Amounts::of(&limit["default"]).0);
    }
    let mut told = Vec::new();
    for (key, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = meta::text(container, &["name"]).to_owned();
            for (list, key, word) in [(&requests, "requests", "request"), (&limits, "limits", "limit")] {
                let set = complete(container, key, list);
                if !set.is_empty() {
                    told.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let told = format!("LimitRanger plugin set: {}", told.join("; "));
        let annotations = meta::metadata_mut(pod).entry("annotations").or_insert_with(|| json!({}));
        meta::as_object(annotations).insert(ANNOTATION.into(), told.into());
    }
}

/// Sets the amounts that a container does not have; their names.
fn complete(container: &mut Value, key: &str, defaults: &Amounts) -> Vec<String> {
    if defaults.0.is_empty() {
        return Vec::new();
    }
    let resources = meta::as_object(meta::as_object(container).entry("resources").or_insert_with(|| json!({})));
    let own = meta::as_object(resources.entry(key).or_insert_with(|| json!({})));
    let mut set = Vec::new();
    for (name, amount) in
        defaults.0.iter().filter(|(name, _)| own.get(*name).is_none_or(Value::is_null)).collect::<Vec<_>>()
    {
        own.insert(name.clone(), amount.to_string().into());
        set.push(name.clone());
    }
    set
}

/// What of a pod is outside of the bounds of a limit range.
pub fn check_pod(limit_range: &Value, pod: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in items(limit_range, "Container") {
        let containers = ["containers", "initContainers"].into_iter().flat_map(|key| list(pod, &["spec", key]));
        for container in containers {
            let resources = &container["resources"];
            let given =
                Given { requests: Amounts::of(&resources["requests"]), limits: Amounts::of(&resources["limits"]) };
            given.check("Container", limit, &mut errors);
        }
    }
    for limit in items(limit_range, "Pod") {
        let [requests, limits] = [Which::Requests, Which::Limits].map(|which| pod_resources::of_spec(pod, which));
        Given { requests, limits }.check("Pod", limit, &mut errors);
    }
    errors
}

/// What of a claim is outside of the bounds of a limit range.
pub fn check_claim(limit_range: &Value, claim: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = Amounts::of(&claim["spec"]["resources"]["requests"]);
    let given = Given { requests, limits: Amounts::default() };
    let mut errors = Vec::new();
    for limit in items(limit_range, KIND) {
        errors.extend(each(limit, "min", |name, min| given.above(KIND, name, min)));
        errors.extend(each(limit, "max", |name, max| given.requested_below(KIND, name, max)));
    }
    errors
}

/// What is wrong, as one message.
pub fn message(mut errors: Vec<String>) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    match errors.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn items<'a>(limit_range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    list(limit_range, &["spec", "limits"]).iter().filter(move |limit| text(limit, &["type"]) == kind)
}

fn each(limit: &Value, bound: &str, check: impl Fn(&str, Quantity) -> Option<String>) -> Vec<String> {
    Amounts::of(&limit[bound]).0.iter().filter_map(|(name, amount)| check(name, *amount)).collect()
}

/// What a container or a pod says.
struct Given {
    requests: Amounts,
    limits: Amounts,
}

impl Given {
    fn check(&self, kind: &str, limit: &Value, errors: &mut Vec<String>) {
        errors.extend(each(limit, "min", |name, min| self.above(kind, name, min)));
        errors.extend(each(limit, "max", |name, max| self.below(kind, name, max)));
        errors.extend(each(limit, "maxLimitRequestRatio", |name, ratio| self.ratio(kind, name, ratio)));
    }

    fn above(&self, kind: &str, name: &str, min: Quantity) -> Option<String> {
        let says = format!("minimum {name} usage per {kind} is {min}");
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{says}. No request is specified")),
            (Some(request), _) if request < min => Some(format!("{says}, but request is {request}")),
            (_, Some(limit)) if limit < min => Some(format!("{says}, but limit is {limit}")),
            _ => None,
        }
    }

    fn below(&self, kind: &str, name: &str, max: Quantity) -> Option<String> {
        let says = format!("maximum {name} usage per {kind} is {max}");
        match (self.limits.get(name), self.requests.get(name)) {
            (None, _) => Some(format!("{says}. No limit is specified")),
            (Some(limit), _) if limit > max => Some(format!("{says}, but limit is {limit}")),
            (_, Some(request)) if request > max => Some(format!("{says}, but request is {request}")),
            _ => None,
        }
    }

    /// The same where there are no limits.
    fn requested_below(&self, kind: &str, name: &str, max: Quantity) -> Option<String> {
        let says = format!("maximum {name} usage per {kind} is {max}");
        match self.requests.get(name) {
            None => Some(format!("{says}. No request is specified")),
            Some(request) if request > max => Some(format!("{says}, but request is {request}")),
            Some(_) => None,
        }
    }

    fn ratio(&self, kind: &str, name: &str, max: Quantity) -> Option<String> {
        let says = format!("{name} max limit to request ratio per {kind} is {max}");
        let positive = |amount: Option<Quantity>| amount.filter(|amount| !amount.is_zero());
        let Some(request) = positive(self.requests.get(name)) else {
            return Some(format!("{says}, but no request is specified or request is 0"));
        };
        let Some(limit) = positive(self.limits.get(name)) else {
            return Some(format!("{says}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.milli_value() as f64 / request.milli_value() as f64;
        let exceeds = ratio * 1000.0 > max.milli_value() as f64;
        exceeds.then(|| format!("{says}, but provided ratio is {ratio:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limit: Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
    }

    #[test]
    fn who_says_nothing_gets_the_defaults() {
        let range = range(
            json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}}),
        );
        let mut new = pod(json!({"limits": {"cpu": "2"}}));
        new["spec"]["initContainers"] = json!([{"name": "i"}]);
        complete_pod(&range, &mut new);
        assert_eq!(
            new["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m"}})
        );
        assert_eq!(
            new["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; cpu request for init container i; cpu, memory limit for init container i"
        );
        let before = new.clone();
        complete_pod(&range, &mut new);
        assert_eq!(new, before);
    }

    #[test]
    fn bounds_are_told() {
        let range = range(
            json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "4"}}),
        );
        assert!(check_pod(&range, &pod(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "250m"}}))).is_empty());
        assert_eq!(
            message(check_pod(&range, &pod(json!({"limits": {"cpu": "3"}, "requests": {"cpu": "50m"}})))).unwrap(),
            "[minimum cpu usage per Container is 100m, but request is 50m, maximum cpu usage per Container is 2, but limit is 3, cpu max limit to request ratio per Container is 4, but provided ratio is 60.000000]"
        );
        assert_eq!(
            check_pod(&range, &pod(json!({}))),
            [
                "minimum cpu usage per Container is 100m. No request is specified",
                "maximum cpu usage per Container is 2. No limit is specified",
                "cpu max limit to request ratio per Container is 4, but no request is specified or request is 0",
            ]
        );
    }

    #[test]
    fn pods_are_bound_as_a_whole() {
        let range = range(json!({"type": "Pod", "max": {"memory": "1Gi"}}));
        let mut pod = pod(json!({"limits": {"memory": "600Mi"}}));
        assert!(check_pod(&range, &pod).is_empty());
        let second = json!({"name": "b", "resources": {"limits": {"memory": "600Mi"}}});
        pod["spec"]["containers"].as_array_mut().unwrap().push(second);
        assert_eq!(check_pod(&range, &pod), ["maximum memory usage per Pod is 1Gi, but limit is 1200Mi"]);
    }

    #[test]
    fn claims_are_bound_by_what_they_request() {
        let range =
            range(json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}));
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert!(check_claim(&range, &claim("2Gi")).is_empty());
        let kind = "PersistentVolumeClaim";
        assert_eq!(
            check_claim(&range, &claim("10Gi")),
            [format!("maximum storage usage per {kind} is 5Gi, but request is 10Gi")]
        );
        assert_eq!(
            check_claim(&range, &claim("1Mi")),
            [format!("minimum storage usage per {kind} is 1Gi, but request is 1Mi")]
        );
    }
}
