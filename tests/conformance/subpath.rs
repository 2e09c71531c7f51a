//! Subpath, of volumes that are written at once.

use coracle_e2e::*;
use serde_json::{Value, json};

/// What a pod reads in a volume of which it mounts only a part.
fn read(name: &str, volume: Value, mount: Value, file: &str) -> Option<String> {
    let cluster = shared(env!("CARGO_CRATE_NAME"))?;
    let namespace = cluster.namespace(name);
    namespace.create("configmaps", &json!({"metadata": {"name": "c"}, "data": {"key": "of the map"}}));
    namespace.create("secrets", &json!({"metadata": {"name": "s"}, "stringData": {"key": "of the secret"}}));
    let mut object = pod("p", &["cat", file]);
    let mut volume = volume;
    volume["name"] = "v".into();
    let mut mount = mount;
    mount["name"] = "v".into();
    object["spec"]["volumes"] = json!([volume]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([mount]);
    let ran = namespace.run_pod(&object);
    assert_eq!(ran.code, 0, "{ran:?}");
    Some(ran.log)
}

fn part() -> Value {
    json!({"mountPath": "/part", "subPath": "key"})
}

#[test]
fn should_support_subpaths_with_configmap_pod() {
    let Some(text) = read("subpath-map", json!({"configMap": {"name": "c"}}), part(), "/part") else { return };
    assert_eq!(text.trim(), "of the map");
}

#[test]
fn should_support_subpaths_with_configmap_pod_with_mountpath_of_existing_file() {
    let over = json!({"mountPath": "/etc/group", "subPath": "key"});
    let Some(text) = read("subpath-file", json!({"configMap": {"name": "c"}}), over, "/etc/group") else { return };
    assert_eq!(text.trim(), "of the map");
}

#[test]
fn should_support_subpaths_with_downward_pod() {
    let items = json!([{"path": "key", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let Some(text) = read("subpath-downward", json!({"downwardAPI": {"items": items}}), part(), "/part") else {
        return;
    };
    assert_eq!(text.trim(), "p");
}

#[test]
fn should_support_subpaths_with_projected_pod() {
    let sources = json!([{"configMap": {"name": "c"}}]);
    let Some(text) = read("subpath-projected", json!({"projected": {"sources": sources}}), part(), "/part") else {
        return;
    };
    assert_eq!(text.trim(), "of the map");
}

#[test]
fn should_support_subpaths_with_secret_pod() {
    let Some(text) = read("subpath-secret", json!({"secret": {"secretName": "s"}}), part(), "/part") else { return };
    assert_eq!(text.trim(), "of the secret");
}
