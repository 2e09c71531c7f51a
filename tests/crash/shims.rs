//! A shim that is killed.

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ALONE;

/// The process that holds a pod's sandbox.
fn shim_of(cluster: &Cluster, pod: &Value) -> Option<Pid> {
    let uid = pod["metadata"]["uid"].as_str()?;
    let sandboxes = cluster.data.join("run/sandboxes");
    let is_its = |line: &str| {
        let id = line.strip_prefix("coracle shim ").map(str::trim);
        let record = id.and_then(|id| std::fs::read_to_string(sandboxes.join(id).join("sandbox.json")).ok());
        record.is_some_and(|record| record.contains(uid))
    };
    let found = processes_of(cluster).into_iter().find(|(_, line)| is_its(line));
    found.and_then(|(pid, _)| Pid::from_raw(pid))
}

#[test]
fn a_shim_that_is_killed_takes_its_containers_along_and_they_are_started_anew_unless_they_never_are() {
    let cluster = cluster!();
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let namespace = cluster.namespace("shims");
    let make = |name: &str, policy: &str| {
        let mut object = pod(name, &["serve", "--port", "8080"]);
        object["spec"]["restartPolicy"] = json!(policy);
        let second = container("second", &["sleep", "1000"]);
        object["spec"]["containers"].as_array_mut().unwrap().push(second);
        namespace.create("pods", &object);
        namespace.pod_ready(name)
    };
    let [again, once, other] =
        [("again", "Always"), ("once", "Never"), ("other", "Always")].map(|(name, policy)| make(name, policy));
    for pod in [&again, &once] {
        let shim = shim_of(cluster, pod).expect("the pod has a shim");
        kill_process(shim, Signal::KILL).unwrap();
    }
    let is_new = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
        statuses.iter().enumerate().all(|(at, status)| {
            let before = &again["status"]["containerStatuses"][at];
            status["restartCount"] == 1 && status["ready"] == true && status["containerID"] != before["containerID"]
        })
    };
    let pod = namespace.pod_until("again", "has new containers", is_new);
    assert!(shim_of(cluster, &pod).is_some());
    let ended = namespace.pod_until("once", "has ended", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(ended["status"]["containerStatuses"][0]["restartCount"], 0);
    let same = namespace.pod("other");
    assert_eq!(same["status"]["containerStatuses"], other["status"]["containerStatuses"]);
}
