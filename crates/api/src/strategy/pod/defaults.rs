//! What a pod gets when the client leaves it out: `SetDefaults_Pod` and its kin upstream.

use coracle_values::pods::may_be_of_pod;
use serde_json::{Map, Value, json};

use super::resources::{self, Which};
use super::validate::resources::is_huge_pages;
use crate::amounts::Amounts;
use crate::meta::{as_object, string_map};
use crate::strategy::common::{default_text, default_to, items_mut, object_mut};

type Object = Map<String, Value>;

/// Fills in the spec of a pod.
pub fn pod(spec: &mut Object) {
    for group in ["containers", "initContainers"] {
        for container in items_mut(spec, group) {
            requests_from_limits(container);
        }
    }
    limits_of_whole(spec);
    requests_of_whole(spec);
    default_to(spec, "enableServiceLinks", true);
    pod_spec(spec);
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".into(), 1.into());
    }
    if spec.get("hostNetwork").is_some_and(|given| given == true) {
        ports_of_the_node(spec);
    }
}

/// In the network of the node, ports of containers are the node's. Templates say nothing of it: their pods do.
fn ports_of_the_node(spec: &mut Object) {
    for group in ["containers", "initContainers"] {
        for container in items_mut(spec, group) {
            for port in items_mut(container, "ports") {
                let is_given = port.get("hostPort").is_some_and(|given| !given.is_null() && *given != 0);
                if let Some(number) = port.get("containerPort").filter(|_| !is_given).cloned() {
                    port.insert("hostPort".into(), number);
                }
            }
        }
    }
}

/// Fills in the spec of a pod or of a pod template.
pub fn pod_spec(spec: &mut Object) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "schedulerName", "default-scheduler");
    default_to(spec, "securityContext", json!({}));
    default_to(spec, "terminationGracePeriodSeconds", 30);
    mirror_service_account(spec);
    for group in ["containers", "initContainers", "ephemeralContainers"] {
        items_mut(spec, group).for_each(container);
    }
    for entry in items_mut(spec, "volumes") {
        volume(entry);
    }
}

/// The deprecated field `serviceAccount` mirrors `serviceAccountName`.
fn mirror_service_account(spec: &mut Object) {
    let get = |spec: &Object, key: &str| spec.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (name, deprecated) = (get(spec, "serviceAccountName"), get(spec, "serviceAccount"));
    let both = if name.is_empty() { deprecated } else { name };
    if !both.is_empty() {
        spec.insert("serviceAccountName".into(), both.clone().into());
        spec.insert("serviceAccount".into(), both.into());
    }
}

/// A pod with resources of its own is limited in huge pages as its containers are together, if it does not say how.
fn limits_of_whole(spec: &mut Object) {
    let has_own = |spec: &Object| {
        let resources = spec.get("resources").unwrap_or(&Value::Null);
        [Which::Requests, Which::Limits].iter().any(|which| string_map(&resources[which.key()]).next().is_some())
    };
    if !has_own(spec) {
        return;
    }
    let together = of_containers(spec, Which::Limits).only(is_huge_pages);
    add(spec, Which::Limits, &together.to_value());
}

/// A pod with limits of its own requests what its containers do together, and its limit of what none of them requests.
fn requests_of_whole(spec: &mut Object) {
    let limits = spec.get("resources").map(|resources| resources["limits"].clone()).unwrap_or_default();
    if string_map(&limits).next().is_none() {
        return;
    }
    let together = of_containers(spec, Which::Requests).only(|name| matches!(name, "cpu" | "memory"));
    add(spec, Which::Requests, &together.to_value());
    add(spec, Which::Requests, &limits);
}

fn of_containers(spec: &Object, which: Which) -> Amounts {
    let group = |name| spec.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    resources::of_containers(["containers", "initContainers"].map(group), |container| which.of(container))
}

/// Adds what is not said yet of the resources that a pod as a whole may have.
fn add(spec: &mut Object, which: Which, amounts: &Value) {
    let amounts = string_map(amounts).filter(|(name, _)| may_be_of_pod(name));
    let mut amounts = amounts.peekable();
    if let Some(resources) = object_mut(spec, "resources").filter(|_| amounts.peek().is_some()) {
        let own = as_object(resources.entry(which.key()).or_insert_with(|| json!({})));
        for (name, amount) in amounts {
            own.entry(name).or_insert_with(|| amount.into());
        }
    }
}

/// A resource that is limited but not requested is requested to its limit.
fn requests_from_limits(container: &mut Object) {
    let Some(resources) = object_mut(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = as_object(resources.entry("requests").or_insert_with(|| json!({})));
    for (key, value) in limits {
        requests.entry(key).or_insert(value);
    }
}

/// The pull policy for an image: `Always` for the tag `latest` or none, unless a digest is given.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let digest = image.contains('@');
    match last.split('@').next().and_then(|n| n.split_once(':')) {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

fn container(container: &mut Object) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let policy = pull_policy(image);
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default_to(container, "resources", json!({}));
    for port in items_mut(container, "ports") {
        default_text(port, "protocol", "TCP");
    }
    for env in items_mut(container, "env") {
        if let Some(source) = object_mut(env, "valueFrom") {
            field_ref(source);
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object_mut(container, key) {
            default_to(probe, "timeoutSeconds", 1);
            default_to(probe, "periodSeconds", 10);
            default_to(probe, "successThreshold", 1);
            default_to(probe, "failureThreshold", 3);
            http_get(probe);
            if let Some(grpc) = object_mut(probe, "grpc") {
                default_to(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = object_mut(container, "lifecycle") {
        for key in ["postStart", "preStop"] {
            if let Some(handler) = object_mut(lifecycle, key) {
                http_get(handler);
            }
        }
    }
}

fn http_get(handler: &mut Object) {
    if let Some(get) = object_mut(handler, "httpGet") {
        default_text(get, "path", "/");
        default_text(get, "scheme", "HTTP");
    }
}

fn field_ref(source: &mut Object) {
    if let Some(field) = object_mut(source, "fieldRef") {
        default_text(field, "apiVersion", "v1");
    }
}

const MODE: i32 = 0o644;

fn volume(volume: &mut Object) {
    if volume.len() <= 1 && volume.keys().all(|k| k == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = object_mut(volume, key) {
            default_to(source, "defaultMode", MODE);
        }
    }
    if let Some(source) = object_mut(volume, "downwardAPI") {
        items_mut(source, "items").for_each(field_ref);
    }
    if let Some(projected) = object_mut(volume, "projected") {
        for source in items_mut(projected, "sources") {
            if let Some(token) = object_mut(source, "serviceAccountToken") {
                default_to(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = object_mut(source, "downwardAPI") {
                items_mut(downward, "items").for_each(field_ref);
            }
        }
    }
    if let Some(host) = object_mut(volume, "hostPath") {
        default_to(host, "type", "");
    }
    if let Some(iscsi) = object_mut(volume, "iscsi") {
        default_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(image) = object_mut(volume, "image") {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or(""));
        default_text(image, "pullPolicy", policy);
    }
    if let Some(claim) = object_mut(volume, "ephemeral").and_then(|e| object_mut(e, "volumeClaimTemplate"))
        && let Some(spec) = object_mut(claim, "spec")
    {
        default_text(spec, "volumeMode", "Filesystem");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The resources of a pod as a whole.
    fn whole(own: Value, containers: Value) -> Value {
        let mut spec = Object::from_iter([("resources".to_owned(), own), ("containers".to_owned(), containers)]);
        pod(&mut spec);
        spec["resources"].clone()
    }

    #[test]
    fn a_pod_with_limits_of_its_own_requests_what_its_containers_do_or_else_its_limits() {
        let limits = json!({"cpu": "2", "memory": "1Gi"});
        let said = whole(json!({"limits": limits}), json!([{"name": "a"}]));
        assert_eq!(said, json!({"limits": limits, "requests": limits}));
        let containers = json!([{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"limits": {"cpu": "1"}}}]);
        let said = whole(json!({"limits": limits}), containers.clone());
        assert_eq!(said["requests"], json!({"cpu": "1100m", "memory": "1Gi"}));
        assert_eq!(
            whole(json!({"requests": {"memory": "1Gi"}}), containers.clone()),
            json!({"requests": {"memory": "1Gi"}})
        );
        assert_eq!(whole(json!({}), containers), json!({}));
    }

    #[test]
    fn huge_pages_of_containers_limit_a_pod_with_resources_of_its_own() {
        let pages = json!({"hugepages-2Mi": "4Mi"});
        let said = whole(json!({"limits": {"cpu": "1"}}), json!([{"resources": {"limits": pages}}]));
        assert_eq!(said["limits"], json!({"cpu": "1", "hugepages-2Mi": "4Mi"}));
        assert_eq!(said["requests"], said["limits"]);
    }

    #[test]
    fn the_tag_decides_the_pull_policy() {
        for (image, policy) in [
            ("a", "Always"),
            ("a:latest", "Always"),
            ("a:1", "IfNotPresent"),
            ("h:5000/a", "Always"),
            ("h:5000/a:1", "IfNotPresent"),
            ("a@sha256:0", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
