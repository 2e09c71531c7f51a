//! A container's environment.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::expand::expand;
use crate::pod::PodExt;
use crate::resources::resource_field;

/// Everything an environment may be made from, fetched beforehand. An object that does not exist is absent.
#[derive(Default)]
pub struct Sources {
    /// ConfigMaps of the pod's namespace.
    pub config_maps: HashMap<String, Arc<ConfigMap>>,
    /// Secrets of the pod's namespace.
    pub secrets: HashMap<String, Arc<Secret>>,
    /// Services whose variables the pod gets.
    pub services: Vec<Arc<Service>>,
    /// The pod's addresses.
    pub pod_ips: Vec<IpAddr>,
    /// The node's address.
    pub host_ips: Vec<IpAddr>,
    /// What the node can give, for unset limits.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// ConfigMaps and Secrets that a container's environment names.
pub fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        config_maps.extend(from.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// Makes the environment, in order; later variables replace earlier ones of the same name.
///
/// # Errors
/// With the message of a `CreateContainerConfigError`.
pub fn make_environment(pod: &Pod, container: &Container, sources: &Sources) -> Result<Vec<(String, String)>, String> {
    let services = service_variables(&sources.services);
    let mut result: Vec<(String, String)> = Vec::new();
    let mut set: HashMap<String, String> = HashMap::new();
    let mut put = |set: &mut HashMap<String, String>, name: String, value: String| {
        if set.insert(name.clone(), value.clone()).is_some()
            && let Some(entry) = result.iter_mut().find(|(known, _)| *known == name)
        {
            entry.1 = value;
        } else {
            result.push((name, value));
        }
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let data: BTreeMap<String, String> = if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => map.data.clone().unwrap_or_default(),
                None if reference.optional == Some(true) => continue,
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        } else if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => secret
                    .data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned()))
                    .collect(),
                None if reference.optional == Some(true) => continue,
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        } else {
            continue;
        };
        for (key, value) in data {
            let name = format!("{prefix}{key}");
            if is_valid_name(&name) {
                put(&mut set, name, value);
            }
        }
    }
    for env in container.env.iter().flatten() {
        let value = match &env.value_from {
            None => {
                let raw = env.value.as_deref().unwrap_or_default();
                expand(raw, |name| set.get(name).or_else(|| services.get(name)).cloned())
            }
            Some(from) => {
                if let Some(field) = &from.field_ref {
                    field_value(pod, &field.field_path, &sources.pod_ips, &sources.host_ips)?
                } else if let Some(selector) = &from.resource_field_ref {
                    let target = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
                        Some(name) => pod.container(name).ok_or_else(|| format!("container {name} not found"))?,
                        None => container,
                    };
                    resource_field(selector, pod, target, &sources.allocatable)?
                } else if let Some(reference) = &from.config_map_key_ref {
                    let optional = reference.optional == Some(true);
                    let Some(map) = sources.config_maps.get(&reference.name) else {
                        if optional {
                            continue;
                        }
                        return Err(format!("configmap {:?} not found", reference.name));
                    };
                    match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
                        Some(value) => value.clone(),
                        None if optional => continue,
                        None => {
                            return Err(format!(
                                "couldn't find key {} in ConfigMap {}/{}",
                                reference.key,
                                pod.namespace(),
                                reference.name
                            ));
                        }
                    }
                } else if let Some(reference) = &from.secret_key_ref {
                    let optional = reference.optional == Some(true);
                    let Some(secret) = sources.secrets.get(&reference.name) else {
                        if optional {
                            continue;
                        }
                        return Err(format!("secret {:?} not found", reference.name));
                    };
                    match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
                        Some(value) => String::from_utf8_lossy(&value.0).into_owned(),
                        None if optional => continue,
                        None => {
                            return Err(format!(
                                "couldn't find key {} in Secret {}/{}",
                                reference.key,
                                pod.namespace(),
                                reference.name
                            ));
                        }
                    }
                } else {
                    String::new()
                }
            }
        };
        put(&mut set, env.name.clone(), value);
    }
    // Service variables never replace what the pod says.
    result.extend(services.into_iter().filter(|(name, _)| !set.contains_key(name)));
    Ok(result)
}

/// Printable ASCII without `=`, as Kubernetes 1.34 and later allow.
fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && byte != b'=')
}

/// The value of a `fieldRef`.
///
/// # Errors
/// When the path is unknown.
pub fn field_value(pod: &Pod, path: &str, pod_ips: &[IpAddr], host_ips: &[IpAddr]) -> Result<String, String> {
    let joined = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    if let Some((map, key)) = path.split_once("['").and_then(|(map, key)| Some((map, key.strip_suffix("']")?))) {
        let map = match map {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(owned(map.as_ref().and_then(|map| map.get(key)).map(String::as_str)));
    }
    let lines = |map: &Option<BTreeMap<String, String>>| {
        let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
        map.iter().flatten().map(line).collect::<Vec<_>>().join("\n")
    };
    let addresses = |first_only: bool| {
        let mut ips = pod_ips.to_vec();
        if ips.is_empty() && pod.host_network() {
            ips.extend(host_ips);
        }
        if first_only {
            ips.truncate(1);
        }
        joined(&ips)
    };
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(&pod.metadata.labels),
        "metadata.annotations" => lines(&pod.metadata.annotations),
        "spec.nodeName" => owned(pod.spec().node_name.as_deref()),
        "spec.serviceAccountName" => owned(pod.spec().service_account_name.as_deref()),
        "status.hostIP" => joined(host_ips.get(..1).unwrap_or_default()),
        "status.hostIPs" => joined(host_ips),
        "status.podIP" => addresses(true),
        "status.podIPs" => addresses(false),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// Which services give a pod variables: `kubernetes` always, those of its namespace when it enables service links.
pub fn services_of(pod: &Pod, all: Vec<Arc<Service>>) -> Vec<Arc<Service>> {
    let links = pod.spec().enable_service_links.unwrap_or(true);
    all.into_iter()
        .filter(|service| {
            let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
            let api = namespace == "default" && service.metadata.name.as_deref() == Some("kubernetes");
            api || (links && namespace == pod.namespace())
        })
        .collect()
}

fn service_variables(services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let Some(ports) = spec.ports.as_ref().filter(|ports| !ports.is_empty()) else { continue };
        let name = service.metadata.name.as_deref().unwrap_or_default().to_uppercase().replace('-', "_");
        variables.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
        variables.insert(format!("{name}_SERVICE_PORT"), ports[0].port.to_string());
        let address = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        for (index, port) in ports.iter().enumerate() {
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let key = format!("{name}_SERVICE_PORT_{}", port_name.to_uppercase().replace('-', "_"));
                variables.insert(key, port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{address}:{}", protocol.to_lowercase(), port.port);
            if index == 0 {
                variables.insert(format!("{name}_PORT"), url.clone());
            }
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            variables.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
            variables.insert(format!("{prefix}_PORT"), port.port.to_string());
            variables.insert(format!("{prefix}_ADDR"), ip.to_owned());
            variables.insert(prefix, url);
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"nodeName": "node", "containers": [container]}
        }))
        .unwrap()
    }

    fn environment(pod: &Pod, sources: &Sources) -> Result<BTreeMap<String, String>, String> {
        make_environment(pod, &pod.spec().containers[0], sources).map(|list| list.into_iter().collect())
    }

    #[test]
    fn values_come_from_every_source_and_expand() {
        let pod = pod(json!({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}], "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(P_k)-$(KUBERNETES_SERVICE_HOST)-$(NO)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
        ]}));
        let mut sources = Sources { pod_ips: vec!["10.0.0.1".parse().unwrap()], ..Default::default() };
        let map: ConfigMap = serde_json::from_value(json!({"data": {"k": "v"}})).unwrap();
        sources.config_maps.insert("m".into(), Arc::new(map));
        let api: Service = serde_json::from_value(json!({"metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}}))
        .unwrap();
        sources.services = services_of(&pod, vec![Arc::new(api)]);
        let env = environment(&pod, &sources).unwrap();
        assert_eq!(env["B"], "1-v-10.96.0.1-$(NO)");
        assert_eq!((env["NAME"].as_str(), env["LABEL"].as_str(), env["IP"].as_str()), ("p", "b", "10.0.0.1"));
        assert_eq!(env["KEY"], "v");
        assert!(!env.contains_key("GONE"));
        assert_eq!(env["KUBERNETES_PORT_443_TCP"], "tcp://10.96.0.1:443");
        assert_eq!(env["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
    }

    #[test]
    fn missing_objects_and_keys_are_told_as_upstream_tells_them() {
        let by_key = pod(
            json!({"name": "c", "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}),
        );
        let mut sources = Sources::default();
        assert_eq!(environment(&by_key, &sources).unwrap_err(), "configmap \"m\" not found");
        sources.config_maps.insert("m".into(), Arc::new(ConfigMap::default()));
        assert_eq!(environment(&by_key, &sources).unwrap_err(), "couldn't find key k in ConfigMap n/m");
        let whole = pod(json!({"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}));
        assert_eq!(environment(&whole, &sources).unwrap_err(), "secret \"s\" not found");
    }
}
