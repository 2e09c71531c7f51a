//! What the status says.

use super::*;

#[tokio::test]
async fn the_status_names_the_image_that_runs_until_another_does() {
    let cluster = start();
    // What is changed is started anew even in a pod that restarts nothing.
    create(&cluster.api, json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}));
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    let ready_at = cluster.api.objects.lock().log.len();
    cluster.runtime.state.lock().ends_late = true;
    let mut pod = cluster.api.get(POD).unwrap();
    pod["spec"]["containers"][0]["image"] = json!("i:2");
    pod["metadata"]["generation"] = json!(2);
    cluster.api.put(POD, pod, "MODIFIED");
    until_so("the old container is told to end", async || cluster.runtime.state.lock().stops == 1).await;
    let seen =
        |pod: Option<&Value>, generation: i64| pod.is_some_and(|pod| pod["status"]["observedGeneration"] == generation);
    let pod = cluster.api.wait(POD, |pod| seen(pod, 2)).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "i:1");
    let ended = std::time::Instant::now();
    cluster.runtime.exit("u-c-0", 143);
    let restarted =
        |pod: Option<&Value>| pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1);
    let pod = cluster.api.wait(POD, restarted).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "i:2");
    // What is over within a second is told as one change.
    if ended.elapsed() < Duration::from_secs(1) {
        let objects = cluster.api.objects.lock();
        let mut since = objects.log[ready_at..].iter().filter(|(_, path, _)| path == POD);
        assert!(since.all(|(_, _, pod)| condition(Some(pod), "Ready", "True")));
    }
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn what_others_write_into_the_status_is_written_anew_where_it_is_not_so() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    let honest = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    for forged in [json!({"phase": "Pending"}), json!({"podIP": "1.2.3.4"}), json!({"containerStatuses": []})] {
        let mut pod = cluster.api.get(POD).unwrap();
        merge(&mut pod["status"], &forged);
        merge(&mut pod["status"], &json!({"conditions": [{"type": "example.com/theirs", "status": "True"}]}));
        cluster.api.put(POD, pod, "MODIFIED");
        let seen = |pod: Option<&Value>| {
            let status = |key: &str| pod.map(|pod| &pod["status"][key]) == Some(&honest["status"][key]);
            ["phase", "podIP", "containerStatuses"].into_iter().all(status)
        };
        let pod = cluster.api.wait(POD, seen).await;
        assert!(condition(pod.as_ref(), "example.com/theirs", "True"), "{pod:?}");
    }
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn the_status_says_how_volumes_are_mounted() {
    let cluster = start();
    let mount = |path: &str, read_only: bool, recursive: Value| json!({"name": "e", "mountPath": path, "readOnly": read_only, "recursiveReadOnly": recursive});
    let mut mounts = vec![mount("/a", false, Value::Null), mount("/b", true, Value::Null)];
    if coracle_testing::is_root() {
        mounts.push(mount("/c", true, json!("IfPossible")));
    }
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "volumeMounts": mounts}], "volumes": [{"name": "e", "emptyDir": {}}]}),
    );
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    let told = pod["status"]["containerStatuses"][0]["volumeMounts"].as_array().unwrap().clone();
    let modes: Vec<_> = told.iter().map(|mount| mount["recursiveReadOnly"].as_str().unwrap_or("-")).collect();
    assert_eq!(modes, ["-", "Disabled", "Enabled"][..mounts.len()]);
    if let [_, _, recursive, ..] = cluster.runtime.state.lock().configs[0].mounts.as_slice()
        && mounts.len() == 3
    {
        assert!(std::fs::write(format!("{}/new", recursive.host_path), "x").is_err());
    }
    cluster.api.put(POD, pod, "DELETED");
    until_so("the pod's directory goes", async || !cluster.dir.path().join("kubelet/pods/u").exists()).await;
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_node_that_was_not_heard_of_says_that_it_and_its_pods_are_ready_once_it_hears_otherwise() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    const NODE: &str = "/api/v1/nodes/node";
    cluster.api.wait(NODE, |node| condition(node, "Ready", "True")).await;
    for (path, status, reason) in [(NODE, "Unknown", "NodeStatusUnknown"), (POD, "False", "NodeNotReady")] {
        let mut object = cluster.api.get(path).unwrap();
        let conditions = object["status"]["conditions"].as_array_mut().unwrap();
        let ready = conditions.iter_mut().find(|condition| condition["type"] == "Ready").unwrap();
        (ready["status"], ready["reason"]) = (json!(status), json!(reason));
        cluster.api.put(path, object, "MODIFIED");
        cluster.api.wait(path, |object| condition(object, "Ready", "True")).await;
    }
    cluster.shutdown.cancel();
}
