//! Pods that are resized while they run.

use super::*;

/// Requests and limits of a container.
fn amounts(cpu: &str, memory: &str) -> Value {
    json!({"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": cpu, "memory": memory}})
}

fn named(uid: &str) -> String {
    format!("/api/v1/namespaces/n/pods/{uid}")
}

/// A pod of one container, `c`, and everything else the same.
fn create_one(api: &Api, uid: &str, resources: Value, policy: Value) {
    let container = json!({"name": "c", "image": "i:1", "resources": resources, "resizePolicy": policy});
    let spec = json!({"nodeName": "node", "restartPolicy": "OnFailure", "containers": [container]});
    let metadata = json!({"name": uid, "namespace": "n", "uid": uid, "generation": 1});
    api.put(&named(uid), json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}), "ADDED");
}

/// Writes what a pod asks for, as the subresource does.
fn resize(api: &Api, uid: &str, resources: Value) {
    let mut pod = api.get(&named(uid)).unwrap();
    pod["spec"]["containers"][0]["resources"] = resources;
    pod["metadata"]["generation"] = json!(pod["metadata"]["generation"].as_i64().unwrap() + 1);
    api.put(&named(uid), pod, "MODIFIED");
}

fn find<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// Whether the first container is said to have so much, and nothing is pending or in progress.
fn has(resources: Value) -> impl Fn(Option<&Value>) -> bool {
    move |pod| {
        pod.is_some_and(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            let settled = ["PodResizePending", "PodResizeInProgress"].iter().all(|name| find(pod, name).is_none());
            settled && status["resources"] == resources && status["allocatedResources"] == resources["requests"]
        })
    }
}

#[tokio::test]
async fn a_resize_is_carried_out_at_once_without_a_restart() {
    let cluster = start();
    create_one(&cluster.api, "u", amounts("10m", "64Mi"), json!([]));
    cluster.api.wait(&named("u"), |pod| condition(pod, "Ready", "True")).await;
    resize(&cluster.api, "u", amounts("20m", "32Mi"));
    let pod = cluster.api.wait(&named("u"), has(amounts("20m", "32Mi"))).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    let updates: Vec<_> = cluster.runtime.state.lock().updates.clone();
    let memory = 32 << 20;
    let order = updates.iter().map(|(id, to)| (id.as_str(), to.memory_limit_in_bytes, to.cpu_quota));
    // Memory shrinks: the container first; the processor grows: the pod first.
    let expected = [("u-c-0", memory, 0), ("s-u", memory, 0), ("s-u", 0, 2000), ("u-c-0", 0, 2000)];
    assert_eq!(order.collect::<Vec<_>>(), expected);
    let reasons = cluster.api.event_reasons();
    for reason in ["ResizeStarted", "ResizeCompleted"] {
        assert_eq!(reasons.iter().filter(|known| *known == reason).count(), 1, "{reasons:?}");
    }
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_container_is_started_anew_for_a_resize_when_its_policy_says_so_whatever_it_exits_with() {
    let cluster = start();
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    create_one(&cluster.api, "u", amounts("10m", "64Mi"), policy);
    cluster.api.wait(&named("u"), |pod| condition(pod, "Ready", "True")).await;
    cluster.runtime.state.lock().ends_late = true;
    resize(&cluster.api, "u", amounts("10m", "128Mi"));
    until_so("the container is stopped", async || cluster.runtime.state.lock().stops == 1).await;
    cluster.runtime.exit("u-c-0", 0);
    let pod = cluster.api.wait(&named("u"), has(amounts("10m", "128Mi"))).await.unwrap();
    let restarted = |pod: Option<&Value>| {
        pod.is_some_and(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"] == 1 && status["state"]["running"].is_object()
        })
    };
    cluster.api.wait(&named("u"), restarted).await;
    let config = cluster.runtime.state.lock().configs.last().cloned().unwrap();
    assert_eq!(config.resources.memory_limit_in_bytes, 128 << 20, "{pod}");
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_memory_limit_below_what_is_used_is_not_set_and_says_so_until_it_fits() {
    let cluster = start();
    create_one(&cluster.api, "u", amounts("10m", "64Mi"), json!([]));
    cluster.api.wait(&named("u"), |pod| condition(pod, "Ready", "True")).await;
    cluster.runtime.state.lock().memory_used = 50 << 20;
    resize(&cluster.api, "u", amounts("10m", "32Mi"));
    let fails = |pod: Option<&Value>| {
        pod.is_some_and(|pod| find(pod, "PodResizeInProgress").is_some_and(|c| c["reason"] == "Error"))
    };
    let pod = cluster.api.wait(&named("u"), fails).await.unwrap();
    let progress = find(&pod, "PodResizeInProgress").unwrap();
    assert_eq!((&progress["observedGeneration"], &progress["status"]), (&json!(2), &json!("True")));
    assert_eq!(
        progress["message"],
        "cannot decrease memory limits: [attempting to set pod memory limit (33554432) below current usage (52428800), \
         attempting to set container \"c\" memory limit (33554432) below current usage (52428800)]"
    );
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (&status["resources"], &status["allocatedResources"]["memory"]),
        (&amounts("10m", "64Mi"), &json!("32Mi"))
    );
    assert!(cluster.runtime.state.lock().updates.is_empty());
    cluster.runtime.state.lock().memory_used = 1 << 20;
    cluster.api.wait(&named("u"), has(amounts("10m", "32Mi"))).await;
    cluster.shutdown.cancel();
}

/// As much of the node's processors as it has, less some thousandths.
fn all_but(cluster: &Cluster, milli: i64) -> String {
    let node = cluster.api.get("/api/v1/nodes/node").unwrap();
    let cpu = node["status"]["allocatable"]["cpu"].as_str().unwrap();
    format!(
        "{}m",
        crate::quantity::milli_value(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(cpu.into())) - milli
    )
}

#[tokio::test]
async fn what_the_node_never_has_is_infeasible_and_what_others_have_is_deferred_until_they_go() {
    let cluster = start();
    cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await;
    create_one(&cluster.api, "a", amounts("100m", "64Mi"), json!([]));
    create_one(&cluster.api, "b", amounts(&all_but(&cluster, 300), "64Mi"), json!([]));
    for uid in ["a", "b"] {
        cluster.api.wait(&named(uid), |pod| condition(pod, "Ready", "True")).await;
    }
    let pending = |reason: &'static str| {
        move |pod: Option<&Value>| {
            pod.is_some_and(|pod| find(pod, "PodResizePending").is_some_and(|c| c["reason"] == reason))
        }
    };
    resize(&cluster.api, "a", amounts(&all_but(&cluster, -1), "64Mi"));
    let pod = cluster.api.wait(&named("a"), pending("Infeasible")).await.unwrap();
    let message = find(&pod, "PodResizePending").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Node didn't have enough capacity: cpu, requested: "), "{message}");
    resize(&cluster.api, "a", amounts("500m", "64Mi"));
    let pod = cluster.api.wait(&named("a"), pending("Deferred")).await.unwrap();
    let told = find(&pod, "PodResizePending").unwrap();
    assert_eq!(told["observedGeneration"], 3);
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("Node didn't have enough resource: cpu, requested: 500, used: "), "{message}");
    assert_eq!(pod["status"]["containerStatuses"][0]["resources"], amounts("100m", "64Mi"));
    let gone = cluster.api.get(&named("b")).unwrap();
    cluster.api.put(&named("b"), gone, "DELETED");
    cluster.api.wait(&named("a"), has(amounts("500m", "64Mi"))).await;
    let reasons = cluster.api.event_reasons();
    for reason in ["ResizeInfeasible", "ResizeDeferred", "ResizeStarted", "ResizeCompleted"] {
        assert!(reasons.iter().any(|known| known == reason), "{reason} is not in {reasons:?}");
    }
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_restarted_kubelet_goes_on_with_what_was_allocated_and_decides_on_what_came_meanwhile() {
    let mut cluster = start();
    create_one(&cluster.api, "u", amounts("10m", "64Mi"), json!([]));
    cluster.api.wait(&named("u"), |pod| condition(pod, "Ready", "True")).await;
    resize(&cluster.api, "u", amounts("20m", "64Mi"));
    cluster.api.wait(&named("u"), has(amounts("20m", "64Mi"))).await;
    cluster.shutdown.cancel();
    (&mut cluster.task).await.unwrap().unwrap();
    // Nobody is there who could give it so much, and it must not be taken for given.
    resize(&cluster.api, "u", amounts("100000", "64Mi"));
    let (shutdown, _task) = spawn(&cluster.api, &cluster.runtime, cluster.dir.path(), &cluster.ending);
    let infeasible = |pod: Option<&Value>| condition(pod, "PodResizePending", "True");
    let pod = cluster.api.wait(&named("u"), infeasible).await.unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!((&status["resources"], &status["allocatedResources"]["cpu"]), (&amounts("20m", "64Mi"), &json!("20m")));
    resize(&cluster.api, "u", amounts("30m", "64Mi"));
    cluster.api.wait(&named("u"), has(amounts("30m", "64Mi"))).await;
    assert_eq!(cluster.runtime.state.lock().configs.len(), 1, "the container was started anew");
    shutdown.cancel();
}

#[tokio::test]
async fn a_kubelet_that_ended_before_it_told_of_a_resize_has_the_next_one_tell() {
    let mut cluster = start();
    create_one(&cluster.api, "u", amounts("10m", "64Mi"), json!([]));
    cluster.api.wait(&named("u"), |pod| condition(pod, "Ready", "True")).await;
    resize(&cluster.api, "u", amounts("20m", "64Mi"));
    let mut pod = cluster.api.wait(&named("u"), has(amounts("20m", "64Mi"))).await.unwrap();
    cluster.shutdown.cancel();
    (&mut cluster.task).await.unwrap().unwrap();
    let told = json!({"type": "PodResizeInProgress", "status": "True", "observedGeneration": 2});
    pod["status"]["conditions"].as_array_mut().unwrap().push(told);
    cluster.api.put(&named("u"), pod, "MODIFIED");
    let (shutdown, _task) = spawn(&cluster.api, &cluster.runtime, cluster.dir.path(), &cluster.ending);
    cluster.api.wait(&named("u"), has(amounts("20m", "64Mi"))).await;
    shutdown.cancel();
}
