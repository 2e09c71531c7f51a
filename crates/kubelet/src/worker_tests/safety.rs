//! What containers must not reach, and what is refused.

use super::*;

#[tokio::test]
async fn containers_never_write_to_what_the_kubelet_writes_and_only_root_reaches_a_pods_directory() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = start();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": {"A": "1"}});
    cluster.api.put("/api/v1/namespaces/n/configmaps/m", map, "ADDED");
    let mounts = json!([{"name": "m", "mountPath": "/m"}, {"name": "m", "mountPath": "/a", "subPath": "A"}, {"name": "e", "mountPath": "/e"}]);
    let mounts = if coracle_testing::is_root() { mounts } else { json!([mounts[0], mounts[2]]) };
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "volumeMounts": mounts}],
        "volumes": [{"name": "m", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}]}),
    );
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    let mounts = cluster.runtime.state.lock().configs[0].mounts.clone();
    for mount in &mounts {
        let wanted = matches!(mount.container_path.as_str(), "/m" | "/a");
        assert_eq!(mount.readonly, wanted, "{}", mount.container_path);
    }
    for dir in ["kubelet", "kubelet/pods", "kubelet/pods/u"] {
        let mode = std::fs::metadata(cluster.dir.path().join(dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750, "{dir}");
    }
    cluster.api.put(POD, pod, "DELETED");
    until_so("the pod's directory goes", async || !cluster.dir.path().join("kubelet/pods/u").exists()).await;
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn protection_that_the_node_does_not_have_is_refused_with_the_reason() {
    let class =
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"}, "handler": "kata"});
    let refused = "Failed to create pod sandbox: ";
    for (field, value, message) in [
        ("hostUsers", json!(false), "RuntimeClass handler \"\" does not support user namespaces"),
        ("runtimeClassName", json!("vm"), "failed to get sandbox runtime: no runtime for \"kata\" is configured"),
        ("runtimeClassName", json!("none"), "not found"),
    ] {
        let cluster = start();
        cluster.api.put("/apis/node.k8s.io/v1/runtimeclasses/vm", class.clone(), "ADDED");
        let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
        spec[field] = value;
        create(&cluster.api, spec);
        until_so("the refusal is awaited", async || told(&cluster.api, "FailedCreatePodSandBox") > 0).await;
        let objects = cluster.api.objects.lock();
        let event = objects.live.values().find(|object| object["reason"] == "FailedCreatePodSandBox").unwrap();
        let text = event["message"].as_str().unwrap();
        assert!(text.starts_with(refused) && text.ends_with(message), "{text}");
        drop(objects);
        assert!(cluster.runtime.state.lock().sandboxes.is_empty());
        cluster.shutdown.cancel();
    }
    let cluster = start();
    let context = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}});
    create(&cluster.api, json!({"securityContext": context, "containers": [{"name": "c", "image": "i:1"}]}));
    let pod = cluster.api.wait(POD, |pod| phase(pod, "Failed")).await.unwrap();
    assert_eq!(pod["status"]["reason"], "AppArmor");
    assert!(pod["status"]["message"].as_str().unwrap().starts_with("Pod was rejected: Cannot enforce AppArmor: "));
    cluster.shutdown.cancel();
    let cluster = start();
    let context = json!({"procMount": "Unmasked"});
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "securityContext": context}]}));
    let waits = |pod: Option<&Value>| {
        let waiting = pod.map(|pod| &pod["status"]["containerStatuses"][0]["state"]["waiting"]);
        waiting.is_some_and(|waiting| waiting["reason"] == "CreateContainerConfigError")
    };
    let pod = cluster.api.wait(POD, waits).await.unwrap();
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("needs a user namespace"), "{message}");
    cluster.shutdown.cancel();
}
