//! The life of pods of hollow nodes, at moments that the tests choose.

use coracle_api::patch::strategic_merge;
use coracle_api::schema::id;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::lifetime::{RUN, START};
use super::step::{Facts, Next, step};

const ADDRESS: &str = "240.0.1.1";

/// A pod and its API: what is written of it is what is read next.
struct Stage {
    pod: Value,
    told: Vec<String>,
}

impl Stage {
    fn new(annotations: Value, spec: Value) -> Stage {
        let metadata = json!({"name": "p", "namespace": "n", "uid": "u", "generation": 1, "annotations": annotations});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
            "status": {"phase": "Pending", "qosClass": "BestEffort"}});
        Stage { pod, told: Vec::new() }
    }

    /// With one container.
    fn plain(policy: &str, annotations: Value) -> Stage {
        let container = json!({"name": "main", "image": "i:1"});
        Stage::new(annotations, json!({"restartPolicy": policy, "containers": [container]}))
    }

    fn step(&self, second: i64, refusal: Option<(&str, &str)>) -> Next {
        let pod: Pod = serde_json::from_value(self.pod.clone()).unwrap();
        step(
            &pod,
            Facts {
                host_ips: vec!["198.18.0.1".parse().unwrap()],
                pod_ips: vec![ADDRESS.parse().unwrap()],
                refusal: refusal.map(|(reason, message)| (reason.to_owned(), message.to_owned())),
                now: Timestamp::from_second(second).unwrap(),
            },
        )
    }

    /// Does what is to be done at a moment, and answers with the next one.
    fn at(&mut self, second: i64) -> Option<i64> {
        self.with(second, None)
    }

    fn with(&mut self, second: i64, refusal: Option<(&str, &str)>) -> Option<i64> {
        let next = self.step(second, refusal);
        self.told.extend(next.events.iter().map(|told| told.reason.clone()));
        if let Some(patch) = &next.patch {
            strategic_merge(id::CORE_V1_POD, &mut self.pod, patch).unwrap();
        }
        // What was written is enough to know all of it again.
        let again = self.step(second, None);
        assert_eq!((again.patch, again.wake), (None, next.wake), "{:#}", self.pod["status"]);
        next.wake.map(Timestamp::as_second)
    }

    fn phase(&self) -> &str {
        self.pod["status"]["phase"].as_str().unwrap()
    }

    fn condition(&self, kind: &str) -> &str {
        let all = self.pod["status"]["conditions"].as_array().unwrap();
        all.iter().find(|condition| condition["type"] == kind).unwrap()["status"].as_str().unwrap()
    }

    fn container(&self) -> &Value {
        &self.pod["status"]["containerStatuses"][0]
    }
}

#[test]
fn a_pod_runs_at_once_with_an_address_and_is_looked_at_no_more() {
    let mut stage = Stage::plain("Always", json!({}));
    assert_eq!(stage.at(100), None);
    let status = &stage.pod["status"];
    assert_eq!((stage.phase(), stage.condition("Ready"), stage.condition("Initialized")), ("Running", "True", "True"));
    assert_eq!((&status["podIP"], &status["hostIP"]), (&json!(ADDRESS), &json!("198.18.0.1")));
    assert_eq!(status["startTime"], "1970-01-01T00:01:40Z");
    let container = stage.container();
    assert_eq!(
        (&container["ready"], &container["started"], &container["restartCount"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert_eq!(container["state"]["running"]["startedAt"], "1970-01-01T00:01:40Z");
    assert_eq!(container["containerID"].as_str().unwrap().len(), "coracle://".len() + 64);
    assert_eq!(container["imageID"], "");
}

#[test]
fn init_containers_end_in_their_order_and_sidecars_go_on() {
    let spec = json!({"restartPolicy": "Never",
        "initContainers": [{"name": "first", "image": "i"}, {"name": "side", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "main", "image": "i"}]});
    let mut stage = Stage::new(json!({RUN: "5s"}), spec);
    assert_eq!(stage.at(100), Some(105));
    let init = &stage.pod["status"]["initContainerStatuses"];
    assert_eq!(init[0]["state"]["terminated"]["reason"], "Completed");
    assert!(init[1]["state"]["running"].is_object() && init[1]["ready"] == true, "{init}");
    assert_eq!(stage.at(105), None);
    assert_eq!(stage.phase(), "Succeeded");
    let side = &stage.pod["status"]["initContainerStatuses"][1]["state"]["terminated"];
    assert_eq!(side["exitCode"], 0, "{side}");
}

#[test]
fn containers_wait_as_long_as_the_pod_says_and_then_start() {
    let mut stage = Stage::plain("Always", json!({START: "3s"}));
    assert_eq!(stage.at(100), Some(103));
    assert_eq!((stage.phase(), stage.condition("Ready")), ("Pending", "False"));
    assert_eq!(stage.container()["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(stage.pod["status"]["podIP"], ADDRESS);
    assert_eq!(stage.at(103), None);
    assert_eq!((stage.phase(), stage.condition("Ready")), ("Running", "True"));
}

#[test]
fn probes_pass_after_their_initial_delay() {
    let container = json!({"name": "main", "image": "i",
        "startupProbe": {"initialDelaySeconds": 2, "tcpSocket": {"port": 1}},
        "readinessProbe": {"initialDelaySeconds": 5, "successThreshold": 2, "periodSeconds": 3, "tcpSocket": {"port": 1}}});
    let mut stage = Stage::new(json!({}), json!({"containers": [container]}));
    assert_eq!(stage.at(100), Some(102));
    assert_eq!((&stage.container()["started"], &stage.container()["ready"]), (&json!(false), &json!(false)));
    assert_eq!(stage.at(102), Some(108));
    assert_eq!((&stage.container()["started"], &stage.container()["ready"]), (&json!(true), &json!(false)));
    assert_eq!(stage.condition("Ready"), "False");
    assert_eq!(stage.at(108), None);
    assert_eq!(stage.condition("Ready"), "True");
}

#[test]
fn a_pod_runs_to_its_end_and_stays_ended() {
    for (run, phase, code, reason) in [("5s", "Succeeded", 0, "Completed"), ("5s,exit=3", "Failed", 3, "Error")] {
        let mut stage = Stage::plain("Never", json!({RUN: run}));
        assert_eq!(stage.at(100), Some(105));
        assert_eq!(stage.at(107), None);
        let end = &stage.container()["state"]["terminated"];
        assert_eq!((stage.phase(), &end["exitCode"], &end["reason"]), (phase, &json!(code), &json!(reason)));
        // It ended when its time was over, not when that was seen.
        assert_eq!(end["finishedAt"], "1970-01-01T00:01:45Z");
        let next = stage.step(200, None);
        assert!(next.patch.is_none() && !next.delete && next.wake.is_none());
    }
}

#[test]
fn a_container_that_ends_is_restarted_at_once_and_then_backs_off() {
    let mut stage = Stage::plain("Always", json!({RUN: "1s,exit=1"}));
    assert_eq!(stage.at(100), Some(101));
    assert_eq!(stage.at(101), Some(102));
    assert_eq!((&stage.container()["restartCount"], stage.phase()), (&json!(1), "Running"));
    assert_eq!(stage.container()["lastState"]["terminated"]["exitCode"], 1);
    // It ended at 102.
    assert_eq!(stage.at(102), Some(112));
    let waiting = &stage.container()["state"]["waiting"];
    assert_eq!(waiting["reason"], "CrashLoopBackOff");
    assert_eq!(waiting["message"], "back-off 10s restarting failed container=main pod=p_n(u)");
    assert_eq!(stage.condition("Ready"), "False");
    assert_eq!(stage.at(105), Some(112));
    assert_eq!(stage.told, ["BackOff"]);
    assert_eq!(stage.at(112), Some(113));
    assert_eq!(stage.container()["restartCount"], 2);
    assert_eq!(stage.at(113), Some(133));
}

#[test]
fn a_container_that_succeeded_is_restarted_only_if_the_policy_says_so() {
    let mut stage = Stage::plain("OnFailure", json!({RUN: "1s"}));
    stage.at(100);
    assert_eq!(stage.at(101), None);
    assert_eq!(stage.phase(), "Succeeded");
    let mut stage = Stage::plain("OnFailure", json!({RUN: "1s,exit=1"}));
    stage.at(100);
    stage.at(101);
    assert_eq!((stage.phase(), &stage.container()["restartCount"]), ("Running", &json!(1)));
}

#[test]
fn a_deleted_pod_ends_at_once_is_told_of_and_goes() {
    let mut stage = Stage::plain("Always", json!({}));
    stage.at(100);
    stage.pod["metadata"]["deletionTimestamp"] = "1970-01-01T00:02:40Z".into();
    stage.pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let next = stage.step(130, None);
    assert!(next.delete && next.patch.is_some());
    stage.at(130);
    assert_eq!((stage.phase(), stage.condition("Ready")), ("Succeeded", "False"));
    assert_eq!(stage.container()["state"]["terminated"]["exitCode"], 0);
    // A finalizer keeps the object, of which nothing more is to be said.
    stage.pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    let next = stage.step(131, None);
    assert!(!next.delete && next.patch.is_none());
}

#[test]
fn a_pod_that_does_not_fit_fails_with_the_kubelets_words() {
    let mut stage = Stage::plain("Always", json!({}));
    stage.with(100, Some(("OutOfcpu", "Node didn't have enough resource: cpu")));
    let status = &stage.pod["status"];
    assert_eq!((stage.phase(), &status["reason"]), ("Failed", &json!("OutOfcpu")));
    assert_eq!(status["message"], "Pod was rejected: Node didn't have enough resource: cpu");
    assert!(status["containerStatuses"].is_null() && status["podIP"].is_null(), "{status}");
    assert_eq!(stage.told, ["OutOfcpu"]);
}

#[test]
fn a_pod_that_is_active_for_too_long_fails() {
    let spec = json!({"activeDeadlineSeconds": 10, "containers": [{"name": "main", "image": "i"}]});
    let mut stage = Stage::new(json!({}), spec);
    assert_eq!(stage.at(100), Some(110));
    assert_eq!(stage.at(110), None);
    assert_eq!((stage.phase(), &stage.pod["status"]["reason"]), ("Failed", &json!("DeadlineExceeded")));
}

#[test]
fn another_image_takes_the_place_of_the_container() {
    let mut stage = Stage::plain("Never", json!({}));
    stage.at(100);
    let before = stage.container()["containerID"].clone();
    stage.pod["spec"]["containers"][0]["image"] = "i:2".into();
    stage.at(150);
    let container = stage.container();
    assert_eq!((&container["image"], &container["restartCount"], stage.phase()), (&json!("i:2"), &json!(1), "Running"));
    assert_ne!(container["containerID"], before);
}

#[test]
fn a_malformed_annotation_keeps_containers_from_being_made_and_says_why() {
    let mut stage = Stage::plain("Always", json!({RUN: "long"}));
    assert_eq!(stage.at(100), None);
    let waiting = &stage.container()["state"]["waiting"];
    assert_eq!(waiting["reason"], "CreateContainerConfigError");
    assert!(waiting["message"].as_str().unwrap().contains(RUN), "{waiting}");
    stage.pod["metadata"]["annotations"][RUN] = "1h".into();
    assert_eq!(stage.at(110), Some(110 + 3600));
    assert_eq!(stage.phase(), "Running");
}

#[test]
fn the_conditions_of_others_stay_and_gates_are_waited_for() {
    let spec = json!({"readinessGates": [{"conditionType": "example.com/gate"}],
        "containers": [{"name": "main", "image": "i"}]});
    let mut stage = Stage::new(json!({}), spec);
    stage.at(100);
    assert_eq!((stage.condition("ContainersReady"), stage.condition("Ready")), ("True", "False"));
    let gate = json!({"type": "example.com/gate", "status": "True"});
    stage.pod["status"]["conditions"].as_array_mut().unwrap().push(gate);
    stage.at(110);
    assert_eq!((stage.condition("example.com/gate"), stage.condition("Ready")), ("True", "True"));
}
