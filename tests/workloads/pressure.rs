//! A node whose disk becomes full makes room: the pod that fills it ends, the others and the store go on.

use std::cell::Cell;
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

/// An image that no pod has.
fn load_unused_image(cluster: &Cluster) {
    let archive = cluster.directory().join("unused.tar");
    write_archive(std::path::Path::new("/proc/self/exe"), &["unused:1"], &archive).unwrap();
    cluster.ok("image load", &[&archive.to_string_lossy()]);
    std::fs::remove_file(archive).unwrap();
    assert!(cluster.ok("image ls", &[]).contains("unused:1"));
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
        "--kubelet-arg",
        "minimum-image-ttl-duration=0s",
    ];
    cluster.ok("up", &arguments);
    cluster.load_image(&["test:1"]);
    load_unused_image(cluster);
    let namespace = cluster.namespace("pressure");
    let modest = |name: &str| {
        let mut object = pod(name, &["sleep", "1000"]);
        let asked = json!({"requests": {"ephemeral-storage": "10Mi"}});
        object["spec"]["containers"][0]["resources"] = asked;
        object
    };
    namespace.create("pods", &modest("modest"));
    namespace.pod_ready("modest");
    let mut filler = pod("filler", &["sh", "-c", "fill /data/file 400; sleep 1000"]);
    filler["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    filler["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    namespace.create("pods", &filler);
    // The store is on the same disk: each write meanwhile is done.
    let writes = Cell::new(0);
    let ended = namespace.pod_until("filler", "is evicted", |pod| {
        writes.set(writes.get() + 1);
        let object = json!({"metadata": {"name": format!("c{}", writes.get())}, "data": {"k": "v".repeat(1000)}});
        namespace.create("configmaps", &object);
        pod["status"]["phase"] == "Failed"
    });
    assert_eq!(ended["status"]["reason"], "Evicted");
    let message = ended["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "), "{message}");
    let conditions = ended["status"]["conditions"].as_array().unwrap();
    let disrupted =
        |condition: &Value| condition["type"] == "DisruptionTarget" && condition["reason"] == "TerminationByKubelet";
    assert!(conditions.iter().any(disrupted), "{conditions:?}");
    // What nobody used went before it.
    let images = cluster.ok("image ls", &[]);
    assert!(images.contains("test:1") && !images.contains("unused:1"), "{images}");
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

#[test]
fn a_node_with_too_little_memory_takes_only_pods_that_say_what_they_need_and_ends_those_beyond_it() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("low-memory");
    // Nothing is ever enough.
    cluster.ok("up", &["--wait", "60s", "--kubelet-arg", "eviction-hard=memory.available<100%"]);
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("low-memory");
    let node = eventually("the node has too little memory", || {
        let nodes = cluster.api().get("/api/v1/nodes").ok();
        let taints = nodes["items"][0]["spec"]["taints"].to_string();
        match taints.contains("node.kubernetes.io/memory-pressure") {
            true => Ok(nodes["items"][0]["metadata"]["name"].clone()),
            false => Err(taints),
        }
    });
    let on_node = |name: &str, request: Value| {
        let mut object = pod(name, &["alloc", "16"]);
        object["spec"]["nodeName"] = node.clone();
        object["spec"]["containers"][0]["resources"] = json!({"requests": request});
        namespace.create("pods", &object);
        namespace.pod_until(name, "has failed", |pod| pod["status"]["phase"] == "Failed")
    };
    let refused = on_node("silent", json!({}));
    assert_eq!(refused["status"]["reason"], "Evicted");
    assert_eq!(refused["status"]["message"], "Pod was rejected: The node had condition: [MemoryPressure]. ");
    let evicted = on_node("asking", json!({"cpu": "1m"}));
    assert_eq!(evicted["status"]["reason"], "Evicted");
    let message = evicted["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: memory. Threshold quantity: "), "{message}");
}
