//! Checks of requests, limits and claims, and the rules of resource names that quotas and ranges share.

use std::collections::HashSet;

use coracle_values::pods::may_be_of_pod;
use serde_json::Value;

use super::Errors;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{string_map, text};
use crate::quantity::Quantity;
use crate::strategy::pod;
use crate::strategy::pod::resources::Which;

const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const STANDARD: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "storage"];
/// What quotas count, besides what containers use.
const QUOTA: [&str; 16] = [
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether the resource is huge pages of some size.
pub(crate) fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && field::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether less of the resource may be requested than its limit.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// Whether the resource is counted in whole numbers.
fn is_counted(name: &str) -> bool {
    let counted = QUOTA[7..].contains(&name) || name.starts_with("count/");
    counted || is_extended(name)
}

/// Whether a quota without a prefix knows the resource.
pub(crate) fn is_standard_for_quota(name: &str) -> bool {
    CONTAINER.contains(&name)
        || QUOTA.contains(&name)
        || is_huge_pages(name)
        || name.strip_prefix("requests.").is_some_and(is_huge_pages)
}

/// Checks the name of a resource of any kind; whether it can be one at all.
fn name(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let messages = field::qualified_name(name);
    let fits = messages.is_empty();
    push_all(errors, path, name, messages);
    if fits && !name.contains('/') && !STANDARD.contains(&name) && !is_standard_for_quota(name) {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid_str(path, name, detail));
        return false;
    }
    fits
}

/// Checks the name of a resource that is not a container's.
pub(crate) fn any_name(given: &str, path: &Path, errors: &mut Errors) {
    name(given, path, errors);
}

/// Checks the name of a resource that containers use.
pub(crate) fn container_name(given: &str, path: &Path, errors: &mut Errors) {
    name(given, path, errors);
    if !given.contains('/') {
        if !CONTAINER.contains(&given) && !is_huge_pages(given) {
            errors.push(FieldError::invalid_str(path, given, "must be a standard resource for containers"));
        }
    } else if !is_native(given) && !is_extended(given) {
        errors.push(FieldError::invalid_str(path, given, "doesn't follow extended resource name standard"));
    }
}

/// Checks the name of a resource that a quota limits.
pub(crate) fn quota_name(given: &str, path: &Path, errors: &mut Errors) {
    name(given, path, errors);
    if !given.contains('/') && !is_standard_for_quota(given) {
        errors.push(FieldError::invalid_str(path, given, "must be a standard resource for quota"));
    }
}

/// Checks an amount of a resource.
pub(crate) fn amount(name: &str, value: &str, path: &Path, errors: &mut Errors) {
    let Ok(amount) = value.parse::<Quantity>() else { return };
    if amount.is_negative() {
        errors.push(FieldError::invalid_str(path, value, "must be greater than or equal to 0"));
    }
    if is_counted(name) && !amount.is_integer() {
        errors.push(FieldError::invalid_str(path, value, "must be an integer"));
    }
    let Some(size) = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok()) else { return };
    if size.value() > 0 && (amount.value() <= 0 || amount.value() % size.value() != 0) {
        let detail = format!("{value} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid_str(path, value, detail));
    }
}

/// Checks a map of resources that containers use.
pub(super) fn amounts(map: &Value, path: &Path, errors: &mut Errors) {
    for (key, value) in string_map(map) {
        let path = path.key(key);
        container_name(key, &path, errors);
        amount(key, value, &path, errors);
    }
}

/// Checks requests and limits of a container.
pub(super) fn requirements(resources: &Value, path: &Path, errors: &mut Errors) {
    amounts(&resources["limits"], &path.child("limits"), errors);
    amounts(&resources["requests"], &path.child("requests"), errors);
    requests_and_limits(resources, path, errors);
}

fn requests_and_limits(resources: &Value, path: &Path, errors: &mut Errors) {
    let parse = |kind: &str, name: &str| -> Option<Quantity> { text(resources, &[kind, name]).parse().ok() };
    for (name, value) in string_map(&resources["requests"]) {
        let Some(request) = parse("requests", name) else { continue };
        let requests = path.child("requests");
        match parse("limits", name) {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid_str(&requests, value, detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid_str(&requests, value, detail));
            }
            None if !may_overcommit(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&path.child("limits"), detail));
            }
            _ => {}
        }
    }
    let names =
        || ["requests", "limits"].into_iter().flat_map(|kind| string_map(&resources[kind])).map(|(name, _)| name);
    if names().any(is_huge_pages) && !names().any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// Checks the resources of a pod as a whole.
pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let resources = &spec["resources"];
    if resources.is_null() {
        return;
    }
    if !resources["claims"].is_null() {
        let detail = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), detail));
    }
    for kind in ["limits", "requests"] {
        for (key, value) in string_map(&resources[kind]) {
            let path = path.child(kind).key(key);
            if name(key, &path, errors) && !may_be_of_pod(key) {
                errors.push(FieldError::not_supported(&path, key, &["cpu", "memory", "hugepages-"]));
            }
            amount(key, value, &path, errors);
        }
    }
    requests_and_limits(resources, path, errors);
    whole_and_containers(spec, path, errors);
}

/// A pod requests no less than its containers together, and no container may have more than the pod.
fn whole_and_containers(spec: &Value, path: &Path, errors: &mut Errors) {
    let containers = pod::resources::containers(spec);
    for which in [Which::Requests, Which::Limits] {
        let own = which.of(spec);
        let together = pod::resources::of_containers(containers, |container| which.of(container));
        let compared = |name: &str| which == Which::Requests || is_huge_pages(name);
        for (name, sum) in together.0.iter().filter(|(name, _)| compared(name)) {
            if let Some(amount) = own.get(name).filter(|amount| amount < sum) {
                let detail = format!("must be greater than or equal to aggregate container {} of {sum}", which.key());
                errors.push(FieldError::invalid_str(&path.child(which.key()).key(name), &amount.to_string(), detail));
            }
        }
    }
    let own = Which::Limits.of(spec);
    for (i, container) in containers[0].iter().enumerate() {
        for (name, limit) in Which::Limits.of(container).0 {
            if let Some(most) = own.get(&name).filter(|most| limit > *most) {
                let path = path.child("containers").index(i).key(&name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.push(FieldError::invalid_str(&path, &limit.to_string(), detail));
            }
        }
    }
}

/// Checks the resource claims of a pod.
pub(super) fn pod_claims(claims: &[Value], path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        let name = text(claim, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), &claim["name"]));
        } else {
            push_all(errors, &path.child("name"), name, field::dns1123_label(name));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let given: Vec<&str> = sources.into_iter().filter(|key| !claim[*key].is_null()).collect();
        let detail = match given.len() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(&path, claim, detail));
        }
        for key in given {
            push_all(errors, &path.child(key), text(claim, &[key]), field::dns1123_subdomain(text(claim, &[key])));
        }
    }
}

/// Checks which of the pod's claims a container uses.
pub(super) fn claims(claims: &[Value], of_pod: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<String> = HashSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        let (name, request) = (text(claim, &["name"]), text(claim, &["request"]));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
        let part_seen = request.is_empty() && seen.iter().any(|other| other.split('/').next() == Some(name));
        if !request.is_empty() {
            push_all(errors, &path.child("request"), request, field::dns1123_label(request));
        }
        if seen.contains(name) || part_seen || !seen.insert(key.clone()) {
            errors.push(FieldError::duplicate(&path, &key.into()));
        }
        if !of_pod.contains(name) {
            let mut names: Vec<&str> = of_pod.iter().copied().collect();
            names.sort_unstable();
            let rest = if names.is_empty() { " which is empty".into() } else { format!(": {}", names.join(", ")) };
            let mut error = FieldError::not_found(&path, &claim["name"]);
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{rest}");
            errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(own: Value, containers: Value) -> Vec<String> {
        let spec = json!({"resources": own, "containers": containers});
        let mut errors = Vec::new();
        of_pod(&spec, &Path::new("spec").child("resources"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pod_requests_no_less_than_its_containers_and_limits_each_of_them() {
        let one = json!({"resources": {"requests": {"cpu": "600m"}, "limits": {"cpu": "3", "memory": "1Gi"}}});
        let own = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}});
        assert_eq!(
            told(own.clone(), json!([{}, one, {"resources": {"requests": {"cpu": "500m"}}}])),
            [
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 1100m",
                "spec.resources.containers[1][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
            ]
        );
        assert!(told(own, json!([{"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}])).is_empty());
        assert!(
            told(json!({"limits": {"cpu": "2"}}), json!([{"resources": {"requests": {"memory": "9Gi"}}}])).is_empty()
        );
    }

    #[test]
    fn huge_pages_of_containers_together_are_within_the_pods() {
        let pages = |amount: &str| json!({"limits": {"cpu": "1", "hugepages-2Mi": amount}});
        let containers = json!([{"resources": pages("4Mi")}, {"resources": pages("4Mi")}]);
        let told = told(pages("4Mi"), containers);
        let expected = "spec.resources.limits[hugepages-2Mi]: Invalid value: \"4Mi\": must be greater than or equal to aggregate container limits of 8Mi";
        assert_eq!(told, [expected]);
    }
}
