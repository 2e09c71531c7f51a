//! Resizes of pods go on with the next daemon.

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ALONE;

#[test]
fn a_pod_has_what_it_asked_for_also_when_the_daemon_is_killed_at_once() {
    let cluster = cluster!();
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let namespace = cluster.namespace("kill-resizing");
    let amounts = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
    let mut object = pod("p", &["serve", "--port", "8080"]);
    object["spec"]["containers"][0]["resources"] = amounts("50m");
    namespace.create("pods", &object);
    namespace.pod_ready("p");
    for (round, wait) in [0, 3, 10, 30, 60].into_iter().enumerate() {
        let wanted = amounts(if round % 2 == 0 { "100m" } else { "50m" });
        let patch = json!({"spec": {"containers": [{"name": "main", "resources": wanted}]}});
        namespace.api.patch(&namespace.path("pods/p/resize"), STRATEGIC, &patch).ok();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let daemon = cluster.daemon().and_then(Pid::from_raw).expect("there is a daemon to kill");
        kill_process(daemon, Signal::KILL).expect("it is killed");
        let settled = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            !conditions.into_iter().any(|one| one["type"] == "PodResizePending" || one["type"] == "PodResizeInProgress")
        };
        let pod = namespace.pod_until("p", "has what it asked for", |pod| {
            settled(pod) && pod["status"]["containerStatuses"][0]["resources"] == wanted
        });
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!((&status["restartCount"], &status["allocatedResources"]), (&json!(0), &wanted["requests"]));
    }
}
