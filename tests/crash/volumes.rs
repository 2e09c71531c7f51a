//! A pod's claim while the daemon dies again and again: it is taken down, and what is in it stays.

use std::time::{Duration, Instant};

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CLAIM: &str = "persistentvolumeclaims/c";

/// A claim that is bound to a directory of the node.
fn bind(namespace: &Namespace<'_>, disk: &std::path::Path) {
    let api = namespace.api;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": namespace.name,
        "resources": {"requests": {"storage": "1Mi"}}});
    let made = namespace.create("persistentvolumeclaims", &json!({"metadata": {"name": "c"}, "spec": spec}));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace.name, "name": "c",
        "uid": made["metadata"]["uid"]});
    let expression = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain", "claimRef": claim, "local": {"path": disk},
        "nodeAffinity": {"required": required}});
    api.post("/api/v1/persistentvolumes", &json!({"metadata": {"name": namespace.name}, "spec": spec})).ok();
    let status = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}});
    api.patch(&namespace.path(&format!("{CLAIM}/status")), MERGE, &json!({"status": status})).ok();
}

#[test]
fn a_claim_is_taken_down_whenever_the_daemon_dies_and_keeps_what_is_in_it() {
    let cluster = cluster!();
    let _alone = super::ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let namespace = cluster.namespace("claimed");
    let disk = cluster.directory().join("claimed");
    std::fs::create_dir(&disk).unwrap();
    bind(&namespace, &disk);
    let mut object = pod("p", &["sh", "-c", "write /data/file kept; sleep 1000"]);
    object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let uid = namespace.create("pods", &object)["metadata"]["uid"].as_str().unwrap().to_owned();
    namespace.pod_ready("p");
    eventually("the pod writes", || std::fs::metadata(disk.join("file")).map_err(|error| error.to_string()));
    namespace.api.delete(&namespace.path("pods/p"), &json!({"gracePeriodSeconds": 0})).ok();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let _ = cluster.daemon().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(20));
    }
    let dir = cluster.data.join("kubelet/pods").join(uid);
    eventually("nothing of the pod is left", || match dir.exists() {
        true => Err(format!("{} is there", dir.display())),
        false => namespace.found("pods/p").map_or(Ok(()), |pod: Value| Err(pod.to_string())),
    });
    assert_eq!(std::fs::read_to_string(disk.join("file")).unwrap(), "kept\n");
    namespace.api.delete(&format!("/api/v1/persistentvolumes/{}", namespace.name), &json!({})).ok();
}
