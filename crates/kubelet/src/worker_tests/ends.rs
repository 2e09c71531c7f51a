//! Pods and containers that end, and jobs of workers that are lost.

use super::*;

#[tokio::test]
async fn a_container_that_is_ending_when_the_node_ends_has_its_hook_once_and_others_have_theirs() {
    for deleted in [true, false] {
        let cluster = start();
        let hook = json!({"preStop": {"exec": {"command": ["true"]}}});
        create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": hook}]}));
        cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
        cluster.runtime.state.lock().ends_late = true;
        if deleted {
            delete(&cluster.api);
            until_so("the stop is awaited", async || cluster.runtime.state.lock().stops == 1).await;
        }
        cluster.ending.cancel();
        until_so("the hook is awaited", async || cluster.runtime.state.lock().execs == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.runtime.exit("u-c-0", 143);
        cluster.task.await.unwrap().unwrap();
        assert_eq!(cluster.runtime.state.lock().execs, 1);
        let pod = cluster.api.get(POD).expect("its object is left to the next start");
        let told = |object: &Value| {
            let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = all.into_iter().find(|one| one["type"] == "Ready").unwrap_or_default();
            (ready["status"] == "False" && ready["message"] == "node is shutting down")
                .then_some(ready["reason"].clone())
        };
        assert_eq!(told(&pod), (!deleted).then(|| json!("NodeNotReady")), "services lead to others: {pod:#}");
        let node = cluster.api.get("/api/v1/nodes/node").expect("the node is there");
        assert_eq!(told(&node), Some(json!("KubeletNotReady")), "{node:#}");
    }
}

#[tokio::test]
async fn an_ending_container_is_killed_once_also_when_its_end_comes_late_or_a_stop_fails() {
    for fails in [false, true] {
        let cluster = start();
        let hook = json!({"preStop": {"exec": {"command": ["true"]}}});
        create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": hook}]}));
        cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
        {
            let mut state = cluster.runtime.state.lock();
            (state.ends_late, state.stop_fails) = (true, fails);
        }
        delete(&cluster.api);
        let stops = if fails { 2 } else { 1 };
        until_so("the stop is awaited", async || cluster.runtime.state.lock().stops == stops).await;
        // Whatever wakes the worker meanwhile.
        let mut touched = cluster.api.get(POD).unwrap();
        for round in 0..5 {
            touched["metadata"]["annotations"] = json!({"round": round.to_string()});
            cluster.api.put(POD, touched.clone(), "MODIFIED");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(cluster.runtime.state.lock().stops, stops);
        cluster.runtime.exit("u-c-0", 143);
        cluster.api.wait(POD, |pod| pod.is_none()).await;
        assert_eq!(cluster.runtime.state.lock().execs, 1, "the hook");
        until_so("the event is awaited", async || told(&cluster.api, "Killing") > 0).await;
        assert_eq!(told(&cluster.api, "Killing"), 1);
        cluster.shutdown.cancel();
    }
}

#[tokio::test]
async fn a_job_that_is_lost_starts_nothing_beside_those_that_go_on() {
    let cluster = start();
    {
        let mut state = cluster.runtime.state.lock();
        (state.hangs, state.stop_panics) = (Some("b".into()), true);
    }
    let probe = json!({"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1});
    create(
        &cluster.api,
        json!({"containers": [{"name": "a", "image": "i:1", "livenessProbe": probe}, {"name": "b", "image": "i:1"}]}),
    );
    // The first stop of a panics; the probe fails again, and the second one ends it.
    until_so("the container is to be stopped", async || cluster.runtime.state.lock().stops == 2).await;
    let made =
        |name: &str| cluster.runtime.state.lock().configs.iter().filter(|config| config.metadata.name == name).count();
    assert_eq!((made("a"), made("b")), (1, 1));
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_pod_whose_object_vanishes_is_removed_from_the_node() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    cluster.api.put(POD, pod, "DELETED");
    for _ in 0..200 {
        if cluster.runtime.state.lock().sandboxes.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.runtime.state.lock().sandboxes.is_empty());
    cluster.shutdown.cancel();
}
