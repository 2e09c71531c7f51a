//! What users see when a pod cannot run as it should: reasons, messages, exit codes and events as upstream's.
#![allow(missing_docs, reason = "tests are no interface")]

use coracle_e2e::*;
use serde_json::{Value, json};

/// The reason for which a container waits.
fn waits_for(status: &Value) -> Option<&str> {
    status["state"]["waiting"]["reason"].as_str()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn an_image_that_cannot_be_pulled() {
    let cluster = cluster!();
    let namespace = cluster.namespace("missing-image");
    let mut object = pod("p", &["sleep", "1"]);
    object["spec"]["containers"][0]["image"] = json!("127.0.0.1:1/nothing:1");
    namespace.create("pods", &object);
    let status = namespace.container_until("p", "fails to pull", |status| waits_for(status) == Some("ErrImagePull"));
    assert!(text(&status["state"]["waiting"]["message"]).contains("127.0.0.1:1/nothing:1"), "{status}");
    let status = namespace.container_until("p", "backs off", |status| waits_for(status) == Some("ImagePullBackOff"));
    let message = text(&status["state"]["waiting"]["message"]);
    assert!(message.starts_with("Back-off pulling image \"127.0.0.1:1/nothing:1\""), "{message}");
    assert_eq!(namespace.pod("p")["status"]["phase"], "Pending");
    namespace.event("p", "Pulling", "Pulling image \"127.0.0.1:1/nothing:1\"");
    namespace.event("p", "Failed", "Failed to pull image \"127.0.0.1:1/nothing:1\"");
    namespace.event("p", "Failed", "Error: ErrImagePull");
    namespace.event("p", "BackOff", "Back-off pulling image \"127.0.0.1:1/nothing:1\"");
}

#[test]
fn an_image_that_must_be_there_but_is_not() {
    let cluster = cluster!();
    let namespace = cluster.namespace("never-pull");
    let mut object = pod("p", &["sleep", "1"]);
    object["spec"]["containers"][0]["image"] = json!("nothing:1");
    object["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    namespace.create("pods", &object);
    let status = namespace.container_until("p", "is refused", |status| waits_for(status) == Some("ErrImageNeverPull"));
    assert_eq!(
        text(&status["state"]["waiting"]["message"]),
        "Container image \"nothing:1\" is not present with pull policy of Never"
    );
}

#[test]
fn a_config_map_that_is_missing_and_then_comes() {
    let cluster = cluster!();
    let namespace = cluster.namespace("missing-config");
    let mut object = pod("p", &["env", "WORD"]);
    object["spec"]["containers"][0]["env"] =
        json!([{"name": "WORD", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "first"}}}]);
    namespace.create("pods", &object);
    let why = "CreateContainerConfigError";
    let status = namespace.container_until("p", "waits", |status| waits_for(status) == Some(why));
    assert_eq!(text(&status["state"]["waiting"]["message"]), "configmap \"words\" not found");
    namespace.event("p", "Failed", "Error: configmap \"words\" not found");
    namespace.create("configmaps", &json!({"metadata": {"name": "words"}, "data": {"first": "hello"}}));
    namespace.pod_until("p", "succeeds", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(namespace.log("p"), "hello\n");
}

#[test]
fn a_key_that_is_missing() {
    let cluster = cluster!();
    let namespace = cluster.namespace("missing-key");
    namespace.create("secrets", &json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}));
    let mut object = pod("p", &["env"]);
    object["spec"]["containers"][0]["env"] =
        json!([{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "other"}}}]);
    namespace.create("pods", &object);
    let why = "CreateContainerConfigError";
    let status = namespace.container_until("p", "waits", |status| waits_for(status) == Some(why));
    let expected = "couldn't find key other in Secret missing-key/s";
    assert_eq!(text(&status["state"]["waiting"]["message"]), expected);
}

#[test]
fn a_volume_that_is_missing() {
    let cluster = cluster!();
    let namespace = cluster.namespace("missing-volume");
    let mut object = pod("p", &["cat", "/words/first"]);
    object["spec"]["volumes"] = json!([{"name": "words", "configMap": {"name": "words"}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "words", "mountPath": "/words"}]);
    namespace.create("pods", &object);
    namespace.event("p", "FailedMount", "configmap \"words\" not found");
    let status = namespace.container_until("p", "waits", |status| waits_for(status) == Some("ContainerCreating"));
    assert_eq!(status["started"], false);
    namespace.create("configmaps", &json!({"metadata": {"name": "words"}, "data": {"first": "hello"}}));
    namespace.pod_until("p", "succeeds", |pod| pod["status"]["phase"] == "Succeeded");
}

#[test]
fn a_command_that_does_not_exist() {
    let cluster = cluster!();
    let namespace = cluster.namespace("no-command");
    let mut object = pod("p", &["/no/such/command"]);
    object["spec"]["restartPolicy"] = json!("Always");
    namespace.create("pods", &object);
    let status = namespace.container_until("p", "fails to start", |status| {
        let ended = &status["lastState"]["terminated"];
        ended["reason"] == "StartError" || status["state"]["terminated"]["reason"] == "StartError"
    });
    let ended = if status["lastState"]["terminated"].is_object() {
        &status["lastState"]["terminated"]
    } else {
        &status["state"]["terminated"]
    };
    assert_eq!(ended["exitCode"], 128);
    assert!(text(&ended["message"]).contains("no such file or directory"), "{ended}");
    namespace.container_until("p", "backs off", |status| {
        matches!(waits_for(status), Some("CrashLoopBackOff" | "RunContainerError"))
    });
    namespace.event("p", "Failed", "no such file or directory");
}

#[test]
fn a_container_that_crashes_again_and_again() {
    let cluster = cluster!();
    let namespace = cluster.namespace("crash-loop");
    let mut object = pod("p", &["exit", "3"]);
    object["spec"]["restartPolicy"] = json!("Always");
    namespace.create("pods", &object);
    let status = namespace.container_until("p", "backs off", |status| waits_for(status) == Some("CrashLoopBackOff"));
    let message = text(&status["state"]["waiting"]["message"]);
    assert!(message.starts_with("back-off 10s restarting failed container=main pod=p_crash-loop("), "{message}");
    let ended = &status["lastState"]["terminated"];
    assert_eq!((ended["exitCode"].as_i64(), text(&ended["reason"])), (Some(3), "Error"));
    assert_eq!(namespace.pod("p")["status"]["phase"], "Running");
    namespace.event("p", "BackOff", "Back-off restarting failed container main in pod p_crash-loop(");
    namespace.container_until("p", "is started again", |status| status["restartCount"].as_i64() >= Some(2));
}

#[test]
fn exit_codes_and_reasons() {
    let cluster = cluster!();
    let namespace = cluster.namespace("exit-codes");
    for (name, command, code, reason, phase) in [
        ("well", &["exit", "0"][..], 0, "Completed", "Succeeded"),
        ("badly", &["exit", "7"], 7, "Error", "Failed"),
        // Its own SIGABRT does not end the first process of a namespace; the C library then makes it fault.
        ("crash", &["crash"], 139, "Error", "Failed"),
    ] {
        namespace.create("pods", &pod(name, command));
        let ended = namespace.pod_until(name, "ends", |pod| pod["status"]["phase"] == phase);
        let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((state["exitCode"].as_i64(), text(&state["reason"])), (Some(code), reason), "{name}");
        assert!(text(&state["containerID"]).contains("://"));
        assert!(state["startedAt"].is_string() && state["finishedAt"].is_string());
    }
}

#[test]
fn a_restart_policy_of_on_failure_starts_failed_containers_only() {
    let cluster = cluster!();
    let namespace = cluster.namespace("on-failure");
    let mut object = pod("p", &["exit", "1"]);
    object["spec"]["restartPolicy"] = json!("OnFailure");
    object["spec"]["containers"].as_array_mut().unwrap().push(container("well", &["exit", "0"]));
    namespace.create("pods", &object);
    let pod = namespace.pod_until("p", "is started again", |pod| {
        let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["name"] == "main" && one["restartCount"].as_i64() >= Some(1))
    });
    let all = pod["status"]["containerStatuses"].as_array().unwrap();
    let well = all.iter().find(|one| one["name"] == "well").unwrap();
    assert_eq!(well["restartCount"], 0, "{well:#}");
}

#[test]
fn more_memory_than_the_limit() {
    let cluster = cluster!();
    let namespace = cluster.namespace("oom");
    let mut object = pod("p", &["alloc", "200"]);
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
    namespace.create("pods", &object);
    let ended = namespace.pod_until("p", "ends", |pod| pod["status"]["phase"] == "Failed");
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((state["exitCode"].as_i64(), text(&state["reason"])), (Some(137), "OOMKilled"));
}

#[test]
fn a_liveness_probe_that_fails() {
    let cluster = cluster!();
    let namespace = cluster.namespace("liveness");
    let mut object = pod("p", &["sleep", "1000"]);
    object["spec"]["restartPolicy"] = json!("Always");
    object["spec"]["terminationGracePeriodSeconds"] = json!(1);
    object["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["cat", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 2});
    namespace.create("pods", &object);
    namespace.container_until("p", "is started again", |status| status["restartCount"].as_i64() >= Some(1));
    namespace.event("p", "Unhealthy", "Liveness probe failed: /tmp/alive: No such file or directory");
    namespace.event("p", "Killing", "Container main failed liveness probe, will be restarted");
}

#[test]
fn a_readiness_probe_that_fails_takes_the_pod_out_of_its_service() {
    let cluster = cluster!();
    let namespace = cluster.namespace("readiness");
    namespace.create("services", &json!({"metadata": {"name": "p"}, "spec": {"selector": {"app": "p"}, "ports": [{"port": 80, "targetPort": 8080}]}}));
    let mut object = pod("p", &["serve", "--port", "8080"]);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    namespace.create("pods", &object);
    let ready = |wanted: bool| {
        eventually(&format!("the endpoint is ready: {wanted}"), || {
            let path =
                namespace.path_in("discovery.k8s.io/v1", "endpointslices?labelSelector=kubernetes.io/service-name=p");
            let list = namespace.api.get(&path).ok();
            let seen = &list["items"][0]["endpoints"][0]["conditions"]["ready"];
            if *seen == wanted { Ok(()) } else { Err(list.to_string()) }
        });
    };
    ready(true);
    let address = text(&namespace.pod("p")["status"]["podIP"]).to_owned();
    assert_eq!(namespace.run(&["post", &format!("http://{address}:8080/fail")]).code, 0);
    ready(false);
    namespace.event("p", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500");
    assert_eq!(namespace.run(&["post", &format!("http://{address}:8080/heal")]).code, 0);
    ready(true);
}

#[test]
fn a_startup_probe_holds_the_others_back() {
    let cluster = cluster!();
    let namespace = cluster.namespace("startup");
    let mut object = pod("p", &["serve", "--port", "8080"]);
    object["spec"]["containers"][0]["startupProbe"] =
        json!({"tcpSocket": {"port": 8081}, "periodSeconds": 1, "failureThreshold": 2});
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    namespace.create("pods", &object);
    namespace.event("p", "Unhealthy", "Startup probe failed: dial tcp");
    let ended = namespace.pod_until("p", "is ended", |pod| pod["status"]["phase"] == "Failed");
    assert_ne!(ended["status"]["containerStatuses"][0]["ready"], true);
    namespace.event("p", "Killing", "Container main failed startup probe");
}

#[test]
fn an_init_container_that_fails() {
    let cluster = cluster!();
    let namespace = cluster.namespace("init-fails");
    let mut object = pod("p", &["sleep", "1000"]);
    object["spec"]["initContainers"] = json!([container("first", &["exit", "4"])]);
    namespace.create("pods", &object);
    let ended = namespace.pod_until("p", "fails", |pod| pod["status"]["phase"] == "Failed");
    let first = &ended["status"]["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(first["exitCode"], 4);
    let main = &ended["status"]["containerStatuses"][0];
    assert_eq!(waits_for(main), Some("PodInitializing"), "{main:#}");
    let initialized = ended["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Initialized");
    let initialized = initialized.unwrap();
    assert_eq!(initialized["message"], "containers with incomplete status: [first]");
    assert_eq!((text(&initialized["status"]), text(&initialized["reason"])), ("False", "ContainersNotInitialized"));
}

#[test]
fn a_pod_that_fits_nowhere() {
    let cluster = cluster!();
    let namespace = cluster.namespace("unschedulable");
    let mut object = pod("big", &["sleep", "1"]);
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "10000"}});
    namespace.create("pods", &object);
    let mut object = pod("picky", &["sleep", "1"]);
    object["spec"]["nodeSelector"] = json!({"planet": "mars"});
    namespace.create("pods", &object);
    let expected = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    let message = namespace.event("big", "FailedScheduling", "Insufficient cpu");
    assert!(message.starts_with(expected.split(" preemption").next().unwrap()), "{message}");
    let message = namespace.event("picky", "FailedScheduling", "node(s) didn't match Pod's node affinity/selector");
    assert!(message.starts_with("0/1 nodes are available: 1 node(s) didn't match"), "{message}");
    let pod = namespace.pod("big");
    let condition = &pod["status"]["conditions"][0];
    assert_eq!((text(&condition["type"]), text(&condition["reason"])), ("PodScheduled", "Unschedulable"));
}

#[test]
fn an_end_that_is_asked_for_and_one_that_is_forced() {
    let cluster = cluster!();
    let namespace = &cluster.namespace("termination");
    for (name, command, code) in [("polite", "trap", 0), ("stubborn", "ignore", 137)] {
        let mut object = pod(name, &[command]);
        object["metadata"]["finalizers"] = json!(["example.com/look"]);
        namespace.create("pods", &object);
        namespace.pod_ready(name);
        let (ended, log) = std::thread::scope(|scope| {
            let follow = namespace.path(&format!("pods/{name}/log?follow=true"));
            let log = scope.spawn(move || namespace.api.get_as(&follow, "*/*").text);
            std::thread::sleep(std::time::Duration::from_millis(500));
            namespace.api.delete(&namespace.path(&format!("pods/{name}")), &json!({})).ok();
            let ended = namespace.container_until(name, "ends", |status| status["state"]["terminated"].is_object());
            (ended, log.join().unwrap())
        });
        assert_eq!(ended["state"]["terminated"]["exitCode"], code, "{name}");
        assert!(log.contains("asked to end"), "{name}: {log}");
        let patch = json!({"metadata": {"finalizers": null}});
        namespace.api.patch(&namespace.path(&format!("pods/{name}")), MERGE, &patch).ok();
        eventually("the pod is gone", || match namespace.found(&format!("pods/{name}")) {
            Ok(_) => Err("it is there"),
            Err(_) => Ok(()),
        });
    }
}
