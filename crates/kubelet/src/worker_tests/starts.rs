//! Pods that begin, or wait for something.

use super::*;

#[tokio::test]
async fn a_pod_runs_with_one_status_write_and_leaves_nothing_when_deleted() {
    let cluster = start();
    cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await;
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "e", "mountPath": "/e"}]}],
        "volumes": [{"name": "e", "emptyDir": {}}]}),
    );
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "127.0.0.1");
    assert_eq!(pod["status"]["containerStatuses"][0]["containerID"], "coracle://u-c-0");
    assert_eq!(cluster.api.statuses_written(POD), 1);
    let mounts: Vec<String> =
        cluster.runtime.state.lock().configs[0].mounts.iter().map(|mount| mount.container_path.clone()).collect();
    assert_eq!(mounts, ["/e", "/etc/hosts", "/dev/termination-log"]);
    let mut deleted = cluster.api.get(POD).unwrap();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleted["metadata"]["deletionGracePeriodSeconds"] = json!(1);
    cluster.api.put(POD, deleted, "MODIFIED");
    cluster.api.wait(POD, |pod| pod.is_none()).await;
    assert!(cluster.runtime.state.lock().sandboxes.is_empty());
    assert!(!cluster.dir.path().join("kubelet/pods/u").exists());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let reasons = cluster.api.event_reasons();
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(reasons.iter().any(|known| known == reason), "{reason} in {reasons:?}");
    }
    cluster.shutdown.cancel();
    cluster.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_container_that_exits_restarts_at_once_and_then_backs_off() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    cluster.api.wait(POD, |pod| phase(pod, "Running")).await;
    cluster.runtime.exit("u-c-0", 1);
    cluster
        .api
        .wait(POD, |pod| {
            pod.is_some_and(|pod| {
                pod["status"]["containerStatuses"][0]["restartCount"] == 1 && condition(Some(pod), "Ready", "True")
            })
        })
        .await;
    cluster.runtime.exit("u-c-1", 1);
    let pod = cluster
        .api
        .wait(POD, |pod| {
            pod.is_some_and(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            })
        })
        .await
        .unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["message"], "back-off 10s restarting failed container=c pod=p_n(u)");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(pod["status"]["phase"], "Running");
    // What is new does not wait for what the old one did.
    let mut new = pod;
    new["spec"]["containers"][0]["image"] = json!("i:2");
    cluster.api.put(POD, new, "MODIFIED");
    for restarts in [2, 3] {
        let again = |pod: Option<&Value>| {
            let count = pod.map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].clone());
            count == Some(json!(restarts)) && condition(pod, "Ready", "True")
        };
        cluster.api.wait(POD, again).await;
        cluster.runtime.exit(&format!("u-c-{restarts}"), 1);
    }
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_job_like_pod_succeeds_and_a_missing_image_waits() {
    let cluster = start();
    create(
        &cluster.api,
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "i:1"}], "containers": [{"name": "c", "image": "i:1"}]}),
    );
    cluster
        .api
        .wait(POD, |pod| {
            pod.is_some_and(|pod| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object())
        })
        .await;
    cluster.runtime.exit("u-i-0", 0);
    cluster.api.wait(POD, |pod| phase(pod, "Running")).await;
    cluster.runtime.exit("u-c-0", 0);
    let pod = cluster.api.wait(POD, |pod| phase(pod, "Succeeded")).await.unwrap();
    assert!(condition(Some(&pod), "Initialized", "True"));
    let other = "/api/v1/namespaces/n/pods/q";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "n", "uid": "v"},
        "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "missing:1"}]}});
    cluster.api.put(other, pod, "ADDED");
    let reason = |pod: Option<&Value>, reason: &str| {
        pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason)
    };
    cluster.api.wait(other, |pod| reason(pod, "ErrImagePull")).await;
    cluster.api.wait(other, |pod| reason(pod, "ImagePullBackOff")).await;
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_missing_config_map_is_awaited_and_a_restarted_kubelet_adopts_what_runs() {
    let cluster = start();
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "envFrom": [{"configMapRef": {"name": "m"}}]}]}),
    );
    let waits = |pod: Option<&Value>| {
        pod.is_some_and(|pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
    };
    let pod = cluster.api.wait(POD, waits).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"], "configmap \"m\" not found");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": {"A": "1"}});
    cluster.api.put("/api/v1/namespaces/n/configmaps/m", map, "ADDED");
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    assert!(cluster.runtime.state.lock().configs[0].envs.contains(&("A".to_owned(), "1".to_owned())));
    cluster.shutdown.cancel();
    cluster.task.await.unwrap().unwrap();
    let (shutdown, _task) = spawn(&cluster.api, &cluster.runtime, cluster.dir.path(), &cluster.ending);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cluster.runtime.state.lock().configs.len(), 1, "no container was made anew");
    assert!(condition(cluster.api.get(POD).as_ref(), "Ready", "True"));
    shutdown.cancel();
}

#[tokio::test]
async fn a_restarted_kubelet_takes_what_is_ready_for_ready_and_asks_no_startup_probe_again() {
    let mut cluster = start();
    let bind = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (readiness, startup) = (bind().await, bind().await);
    let probe = |listener: &tokio::net::TcpListener| json!({"tcpSocket": {"port": listener.local_addr().unwrap().port()}, "periodSeconds": 1, "failureThreshold": 1});
    let probes = [probe(&readiness), probe(&startup)];
    create(
        &cluster.api,
        json!({"hostNetwork": true, "containers":
            [{"name": "c", "image": "i:1", "readinessProbe": probes[0], "startupProbe": probes[1]}]}),
    );
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    cluster.shutdown.cancel();
    (&mut cluster.task).await.unwrap().unwrap();
    while tokio::time::timeout(Duration::from_millis(10), readiness.accept()).await.is_ok() {}
    drop(startup);
    let before = cluster.api.objects.lock().log.len();
    let (shutdown, _task) = spawn(&cluster.api, &cluster.runtime, cluster.dir.path(), &cluster.ending);
    for _ in 0..2 {
        readiness.accept().await.expect("it is probed");
    }
    let was_ready = |(_, path, pod): &(_, String, Value)| path != POD || condition(Some(pod), "Ready", "True");
    assert!(cluster.api.objects.lock().log[before..].iter().all(was_ready));
    assert_eq!(cluster.runtime.state.lock().stops, 0);
    drop(readiness);
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "False")).await;
    shutdown.cancel();
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_and_readiness_decides_ready() {
    let cluster = start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let probe = |port: u16| json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1});
    create(
        &cluster.api,
        json!({"containers": [
        {"name": "a", "image": "i:1", "readinessProbe": probe(open)},
        {"name": "b", "image": "i:1", "livenessProbe": probe(1)}]}),
    );
    let pod = cluster
        .api
        .wait(POD, |pod| pod.is_some_and(|pod| pod["status"]["containerStatuses"][1]["restartCount"] == 1))
        .await;
    assert_eq!(pod.unwrap()["status"]["containerStatuses"][0]["ready"], true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let objects = cluster.api.objects.lock();
    let messages: Vec<&str> = objects
        .live
        .iter()
        .filter(|(path, _)| path.contains("/events/"))
        .filter_map(|(_, e)| e["message"].as_str())
        .collect();
    assert!(
        messages.contains(&"Liveness probe failed: dial tcp 127.0.0.1:1: connect: connection refused"),
        "{messages:?}"
    );
    assert!(messages.contains(&"Container b failed liveness probe, will be restarted"), "{messages:?}");
    drop(objects);
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn pods_wait_for_plugins_that_cannot_connect_them_but_not_those_of_the_nodes_network() {
    const NODE: &str = "/api/v1/nodes/node";
    let why = tokio::sync::watch::Sender::new(Some("cni plugin not initialized".to_owned()));
    let cluster = start_with(Some(why.subscribe()));
    let node = cluster.api.wait(NODE, |node| condition(node, "Ready", "False")).await.unwrap();
    let conditions = node["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    let message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network \
        plugin returns error: cni plugin not initialized";
    assert_eq!((&ready["reason"], &ready["message"]), (&json!("KubeletNotReady"), &json!(message)));
    let containers = json!([{"name": "c", "image": "i:1"}]);
    create(&cluster.api, json!({"containers": containers}));
    let host = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "h", "namespace": "n", "uid": "h"},
        "spec": {"nodeName": "node", "hostNetwork": true, "containers": containers}});
    cluster.api.put("/api/v1/namespaces/n/pods/h", host, "ADDED");
    cluster.api.wait("/api/v1/namespaces/n/pods/h", |pod| condition(pod, "Ready", "True")).await;
    until_so("the pod is told", async || told(&cluster.api, "NetworkNotReady") == 1).await;
    assert_eq!(cluster.runtime.state.lock().sandboxes.len(), 1);
    // One that goes before they can is not held up, and has had no sandbox.
    delete(&cluster.api);
    cluster.api.wait(POD, |pod| pod.is_none()).await;
    create(&cluster.api, json!({"containers": containers}));
    until_so("the next is told", async || told(&cluster.api, "NetworkNotReady") == 2).await;
    why.send_replace(None);
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    cluster.api.wait(NODE, |node| condition(node, "Ready", "True")).await;
    why.send_replace(Some("plugins are gone".to_owned()));
    cluster.api.wait(NODE, |node| condition(node, "Ready", "False")).await;
    assert!(condition(cluster.api.get(POD).as_ref(), "Ready", "True"), "those that run go on");
    cluster.shutdown.cancel();
}
