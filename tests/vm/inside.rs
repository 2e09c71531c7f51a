//! What is looked at inside the machine, where cgroup v2 is all there is.

use std::fs;
use std::path::{Path, PathBuf};

use coracle_e2e::*;
use serde_json::{Value, json};

/// The group of a pod's only container, below any cluster's.
fn group_of(pod: &Value) -> PathBuf {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().rsplit('/').next().unwrap();
    find(Path::new("/sys/fs/cgroup"), id).unwrap_or_else(|| panic!("container {id} has no group"))
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let below = fs::read_dir(directory).ok()?.flatten().filter(|entry| entry.path().is_dir());
    below.map(|entry| entry.path()).find_map(|path| if path.ends_with(name) { Some(path) } else { find(&path, name) })
}

fn limited(name: &str, command: &[&str]) -> Value {
    let mut object = pod(name, command);
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi", "cpu": "250m"}});
    object
}

/// A pod that reads a device of the node, which a volume shows it.
fn reader(name: &str, device: &str) -> Value {
    let mut object = pod(name, &["cat", "/device"]);
    object["spec"]["volumes"] = json!([{"name": "device", "hostPath": {"path": device, "type": "CharDevice"}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "device", "mountPath": "/device"}]);
    object
}

#[test]
#[ignore = "runs in the virtual machine of this subject's other test"]
fn limits_hold_probes_run_and_down_leaves_no_group() {
    let cluster = Cluster::new("v2");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("v2");

    let mut object = limited("runs", &["sh", "-c", "write /tmp/there yes; sleep 1000"]);
    let probe = json!({"exec": {"command": ["cat", "/tmp/there"]}, "periodSeconds": 1, "timeoutSeconds": 20});
    object["spec"]["containers"][0]["readinessProbe"] = probe;
    namespace.create("pods", &object);
    let group = group_of(&namespace.pod_ready("runs"));
    let read = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default().trim().to_owned();
    assert_eq!(read("memory.max"), (32 << 20).to_string());
    assert_eq!(read("cpu.max"), "25000 100000");
    assert!(read("cgroup.procs").lines().count() >= 1);
    let pod_group = group.parent().unwrap();
    let processes = fs::read_to_string(pod_group.join("pids.max")).unwrap();
    assert!(processes.trim().parse::<u64>().is_ok(), "{processes}");

    let amounts = json!({"memory": "48Mi", "cpu": "300m"});
    let resized =
        json!({"spec": {"containers": [{"name": "main", "resources": {"limits": amounts, "requests": amounts}}]}});
    namespace.api.patch(&namespace.path("pods/runs/resize"), STRATEGIC, &resized).ok();
    namespace.container_until("runs", "is resized", |status| status["resources"]["limits"] == amounts);
    assert_eq!((read("memory.max"), read("cpu.max")), ((48 << 20).to_string(), "30000 100000".to_owned()));
    assert_eq!(fs::read_to_string(pod_group.join("memory.max")).unwrap().trim(), (48 << 20).to_string());

    namespace.create("pods", &limited("greedy", &["alloc", "200"]));
    let ended = namespace.container_until("greedy", "is killed", |status| status["state"]["terminated"].is_object());
    let terminated = &ended["state"]["terminated"];
    assert_eq!((terminated["reason"].as_str(), terminated["exitCode"].as_i64()), (Some("OOMKilled"), Some(137)));

    let allowed = namespace.run_pod(&reader("allowed", "/dev/null"));
    assert_eq!((allowed.code, allowed.log.as_str()), (0, ""));
    let denied = namespace.run_pod(&reader("denied", "/dev/ttyS0"));
    assert!(denied.code == 1 && denied.log.contains("Operation not permitted"), "{denied:?}");

    std::mem::forget(namespace);
    cluster.ok("down", &[]);
    assert_eq!(cgroups_of(&cluster), Vec::<String>::new());
}
