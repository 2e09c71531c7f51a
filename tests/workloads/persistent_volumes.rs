//! PersistentVolumes in pods: what a claim is bound to is mounted, as a file system or as a device.

use std::fs;
use std::path::Path;
use std::process::Command;

use coracle_e2e::*;
use serde_json::{Value, json};

/// A volume and the claim that it is bound to, as a controller would leave them.
struct Bound<'a> {
    namespace: &'a Namespace<'a>,
    name: String,
}

impl<'a> Bound<'a> {
    fn new(namespace: &'a Namespace<'a>, name: &str, more: &Value) -> Bound<'a> {
        let bound = Bound { namespace, name: format!("{}-{name}", namespace.name) };
        bound.claim(name, more["volumeMode"].as_str().unwrap_or("Filesystem"));
        bound.bind(name, more);
        bound
    }

    fn claim(&self, name: &str, mode: &str) {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": self.name,
            "volumeMode": mode, "resources": {"requests": {"storage": "1Mi"}}});
        self.namespace.create("persistentvolumeclaims", &json!({"metadata": {"name": name}, "spec": spec}));
    }

    fn bind(&self, name: &str, more: &Value) {
        let api = &self.namespace.api;
        let claim = self.namespace.path(&format!("persistentvolumeclaims/{name}"));
        let uid = api.get(&claim).ok()["metadata"]["uid"].clone();
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": self.namespace.name,
                "name": name, "uid": uid}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        api.post("/api/v1/persistentvolumes", &json!({"metadata": {"name": self.name}, "spec": spec})).ok();
        let status =
            json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}}});
        api.patch(&format!("{claim}/status"), MERGE, &status).ok();
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        self.namespace.api.delete(&format!("/api/v1/persistentvolumes/{}", self.name), &Value::Null);
    }
}

/// A `local` volume of whatever node there is.
fn local(path: &Path) -> Value {
    let expression = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]});
    json!({"local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}})
}

fn with_claim(name: &str, claim: &str, command: &[&str]) -> Value {
    let mut object = pod(name, command);
    object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    object
}

#[test]
fn what_a_pod_wrote_into_its_claim_the_next_one_reads() {
    let cluster = cluster!();
    let namespace = cluster.namespace("claims");
    let disk = cluster.directory().join("local-disk");
    fs::create_dir(&disk).unwrap();
    let _bound = Bound::new(&namespace, "c", &local(&disk));
    let mut writer = with_claim("writer", "c", &["write", "/data/file", "kept"]);
    writer["spec"]["securityContext"] = json!({"runAsUser": 1000, "fsGroup": 2000});
    assert_eq!(namespace.run_pod(&writer).code, 0);
    eventually("the writer is gone", || namespace.found("pods/writer").map_or(Ok(()), |pod| Err(pod.to_string())));
    assert_eq!(fs::read_to_string(disk.join("file")).unwrap().trim(), "kept");
    let mut reader = with_claim("reader", "c", &["sh", "-c", "cat /sub/file; write /data/other x"]);
    reader["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = json!(true);
    let mounts = &mut reader["spec"]["containers"][0]["volumeMounts"];
    mounts.as_array_mut().unwrap().push(json!({"name": "data", "mountPath": "/sub/file", "subPath": "file"}));
    let run = namespace.run_pod(&reader);
    assert!(run.log.starts_with("kept") && run.log.contains("Read-only file system"), "{run:?}");
}

#[test]
fn a_pod_waits_until_its_claim_is_bound() {
    let cluster = cluster!();
    let namespace = cluster.namespace("waiting-claim");
    let disk = cluster.directory().join("late-disk");
    fs::create_dir(&disk).unwrap();
    fs::write(disk.join("file"), "late").unwrap();
    let late = Bound { namespace: &namespace, name: format!("{}-c", namespace.name) };
    late.claim("c", "Filesystem");
    let mut object = with_claim("p", "c", &["cat", "/data/file"]);
    // No scheduler waits for the claim first.
    let nodes = cluster.api().get("/api/v1/nodes").ok();
    object["spec"]["nodeName"] = nodes["items"][0]["metadata"]["name"].clone();
    namespace.create("pods", &object);
    let event = namespace.event("p", "FailedMount", "PVC");
    let expected = format!(
        "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], \
         failed to process volumes=[data]: error processing PVC {}/c: PVC is not bound",
        namespace.name
    );
    assert_eq!(event, expected);
    late.bind("c", &local(&disk));
    namespace.pod_until("p", "succeeds", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(namespace.log("p"), "late");
}

/// A loop device over a file, let go with it.
struct Device(String);

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_volume_is_a_device_of_the_container_and_no_other_is() {
    let cluster = cluster!();
    let namespace = cluster.namespace("block");
    let file = cluster.directory().join("block-image");
    fs::write(&file, [b"raw".as_slice(), &[b'\n'; 4093]].concat()).unwrap();
    let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
    let Some(made) = made.ok().filter(|made| made.status.success()) else {
        return skip(Lacks::Machine("there is no loop device"));
    };
    let device = Device(String::from_utf8(made.stdout).unwrap().trim().to_owned());
    let mut more = local(Path::new(&device.0));
    more["volumeMode"] = json!("Block");
    let _bound = Bound::new(&namespace, "c", &more);
    let mut object = with_claim("p", "c", &["cat", "/dev/data"]);
    let container = &mut object["spec"]["containers"][0];
    container["volumeMounts"] = json!([]);
    container["volumeDevices"] = json!([{"name": "data", "devicePath": "/dev/data"}]);
    let run = namespace.run_pod(&object);
    assert!(run.log.starts_with("raw\n"), "{run:?}");
}
