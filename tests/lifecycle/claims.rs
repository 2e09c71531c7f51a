//! What pods wrote into the volumes of their claims outlives the cluster's processes, and goes where its data go.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use coracle_e2e::*;
use serde_json::{Value, json};

fn with_claim(name: &str, command: &[&str]) -> Value {
    let mut object = pod(name, command);
    object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    object
}

/// Removes a cluster by its name: the harness looks for it where its data were at first.
struct Down {
    name: String,
    kubeconfig: PathBuf,
}

impl Drop for Down {
    fn drop(&mut self) {
        let mut down = Command::new(built("coracle"));
        let _ = down.args(["down", "--name", &self.name]).env("KUBECONFIG", &self.kubeconfig).status();
    }
}

#[test]
fn a_claim_keeps_its_data_through_stop_and_start_and_when_the_cluster_is_moved() {
    if !can_run() {
        return;
    }
    let mut cluster = Cluster::new("claims");
    let _down = Down { name: cluster.name.clone(), kubeconfig: cluster.kubeconfig.clone() };
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    namespace.create("persistentvolumeclaims", &json!({"metadata": {"name": "c"}, "spec": spec}));
    assert_eq!(namespace.run_pod(&with_claim("writer", &["write", "/data/file", "kept"])).code, 0);
    // It must not go with the namespace.
    std::mem::forget(namespace);
    cluster.ok("stop", &["--grace", "2s"]);
    let there = cluster.directory().join("there");
    fs::rename(&cluster.data, &there).expect("the data are moved");
    cluster.data = there;
    cluster.up();
    let namespace = Namespace { name: "here".into(), api: cluster.api() };
    let run = namespace.run_pod(&with_claim("reader", &["cat", "/data/file"]));
    assert_eq!(run.log.trim_end(), "kept", "{run:?}");
    let claim = namespace.found("persistentvolumeclaims/c").expect("the claim");
    let volume = claim["spec"]["volumeName"].as_str().expect("a volume").to_owned();
    let directory = cluster.data.join("kubelet/volumes").join(&volume);
    assert!(directory.join("file").exists());
    cluster.api().delete(&namespace.path("persistentvolumeclaims/c"), &json!({})).ok();
    eventually("the directory goes with the claim", || {
        if directory.exists() { Err(directory.display().to_string()) } else { Ok(()) }
    });
}
