//! A node whose disk becomes full makes room: the pod that fills it ends, the others and the store go on.

use std::path::PathBuf;
use std::process::Command;

use coracle_e2e::*;
use serde_json::{Value, json};

/// A file system in memory over a directory, taken away with it.
struct Disk(PathBuf);

impl Disk {
    fn over(dir: PathBuf, size: &str) -> Disk {
        let options = format!("size={size},mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&dir).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a file system is mounted");
        Disk(dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The node's condition `DiskPressure`: status and reason.
fn disk_pressure(cluster: &Cluster) -> (Value, Value) {
    let nodes = cluster.api().get("/api/v1/nodes").ok();
    let conditions = nodes["items"][0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == "DiskPressure").unwrap_or_default();
    (found["status"].clone(), found["reason"].clone())
}

#[test]
fn the_pod_that_fills_the_disk_is_evicted_and_the_rest_of_the_cluster_goes_on() {
    if !can_run() {
        return;
    }
    let made = Cluster::new("pressure");
    let disk = Disk::over(made.directory().to_owned(), "600m");
    // What is dropped first is declared last: the cluster goes before its disk.
    let (_disk, cluster) = (disk, made);
    let cluster = &cluster;
    let arguments = [
        "--wait",
        "60s",
        "--kubelet-arg",
        "eviction-hard=nodefs.available<40%",
        "--kubelet-arg",
        "eviction-pressure-transition-period=1s",
    ];
    cluster.ok("up", &arguments);
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("pressure");
    let modest = |name: &str| {
        let mut object = pod(name, &["sleep", "1000"]);
        let asked = json!({"requests": {"ephemeral-storage": "10Mi"}});
        object["spec"]["containers"][0]["resources"] = asked;
        object
    };
    namespace.create("pods", &modest("modest"));
    namespace.pod_ready("modest");
    let mut filler = pod("filler", &["sh", "-c", "fill /data/file 2000; sleep 1000"]);
    filler["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    filler["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    namespace.create("pods", &filler);
    let ended = namespace.pod_until("filler", "is evicted", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(ended["status"]["reason"], "Evicted");
    let message = ended["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "), "{message}");
    let conditions = ended["status"]["conditions"].as_array().unwrap();
    let disrupted =
        |condition: &Value| condition["type"] == "DisruptionTarget" && condition["reason"] == "TerminationByKubelet";
    assert!(conditions.iter().any(disrupted), "{conditions:?}");
    // Its volume went with it, and with that the pressure; who stayed within its request stays.
    eventually("the pressure ends", || match disk_pressure(cluster) {
        (status, reason) if status == "False" && reason == "KubeletHasNoDiskPressure" => Ok(()),
        found => Err(format!("{found:?}")),
    });
    assert_eq!(namespace.pod("modest")["status"]["phase"], "Running");
    eventually("the taint goes", || {
        let nodes = cluster.api().get("/api/v1/nodes").ok();
        let taints = nodes["items"][0]["spec"]["taints"].to_string();
        if taints.contains("disk-pressure") { Err(taints) } else { Ok(()) }
    });
    namespace.create("pods", &modest("later"));
    namespace.pod_ready("later");
}
