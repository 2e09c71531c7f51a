//! Pods that are given other amounts of processor and memory while they run.

use std::path::PathBuf;

use coracle_e2e::*;
use serde_json::{Value, json};

/// A kubectl that has the subresource `resize` (1.32 and later).
fn resizer(namespace: &Namespace<'_>, cluster: &Cluster) -> Option<Kubectl> {
    let found = kubectls().into_iter().map(|program| Kubectl::new(cluster, &program, &namespace.name));
    let mut found = found.filter(|kubectl| {
        let version: Value = serde_json::from_str(&kubectl.ok("version --client -o json")).expect("a version is JSON");
        let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default().trim_end_matches('+');
        minor.parse::<u32>().is_ok_and(|minor| minor >= 32)
    });
    let kubectl = found.next();
    if kubectl.is_none() {
        skip(Lacks::Tool("there is no kubectl of 1.32 or later on PATH"));
    }
    kubectl
}

fn amounts(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}})
}

fn sized(name: &str, resources: &Value, policy: Value) -> Value {
    let mut object = pod(name, &["serve", "--port", "8080"]);
    let container = &mut object["spec"]["containers"][0];
    (container["resources"], container["resizePolicy"]) = (resources.clone(), policy);
    object["spec"]["restartPolicy"] = json!("Always");
    object
}

/// Patches the resources of the container `main`.
fn resize(kubectl: &Kubectl, name: &str, resources: &Value) -> Ran {
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}).to_string();
    kubectl.run(&["patch", "pod", name, "--subresource", "resize", "--patch", &patch])
}

/// Whether a pod's container is said to have so much, and nothing of a resize is left.
fn has(pod: &Value, resources: &Value) -> bool {
    let status = &pod["status"]["containerStatuses"][0];
    condition(pod, "PodResizePending").is_null()
        && condition(pod, "PodResizeInProgress").is_null()
        && status["resources"] == *resources
        && status["allocatedResources"] == resources["requests"]
}

fn condition<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == name).unwrap_or(&Value::Null)
}

/// The limits of processor (thousandths) and memory (bytes) of a pod's only container and of the pod as a whole, as the
/// kernel has them.
pub fn limits(pod: &Value) -> [(u64, u64); 2] {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().rsplit('/').next().unwrap();
    let find = |file: [&str; 2]| -> Option<(PathBuf, bool)> {
        let mut found = None;
        for (name, is_v2) in [(file[0], true), (file[1], false)] {
            found = found.or_else(|| group("/sys/fs/cgroup".into(), id, name).map(|path| (path, is_v2)));
        }
        found
    };
    let (cpu, v2) = find(["cpu.max", "cpu.cfs_quota_us"]).expect("the container has a group");
    let (memory, _) = find(["memory.max", "memory.limit_in_bytes"]).expect("the container has a group");
    let of = |cpu: &std::path::Path, memory: &std::path::Path| {
        let read = |file: PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        let quota = read(cpu.join(if v2 { "cpu.max" } else { "cpu.cfs_quota_us" }));
        let quota: u64 = quota.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let bytes = read(memory.join(if v2 { "memory.max" } else { "memory.limit_in_bytes" }));
        (quota / 100, bytes.trim().parse().unwrap_or(0))
    };
    [of(&cpu, &memory), of(cpu.parent().unwrap(), memory.parent().unwrap())]
}

/// The group of a name that has a file.
fn group(directory: PathBuf, name: &str, file: &str) -> Option<PathBuf> {
    if directory.ends_with(name) {
        return directory.join(file).exists().then_some(directory);
    }
    let below = std::fs::read_dir(&directory).ok()?.flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.into_iter().find_map(|entry| group(entry.path(), name, file))
}

const MI: u64 = 1 << 20;

#[test]
fn a_pod_is_resized_with_kubectl_while_it_runs_and_the_kernel_has_it() {
    let cluster = cluster!();
    let namespace = cluster.namespace("resizing");
    let Some(kubectl) = resizer(&namespace, cluster) else { return };
    let (small, large) = (amounts("50m", "64Mi"), amounts("150m", "128Mi"));
    namespace.create("pods", &sized("p", &small, json!([])));
    let before = namespace.pod_ready("p");
    assert_eq!(limits(&before), [(50, 64 * MI); 2]);
    for (wanted, expected) in [(&large, (150, 128 * MI)), (&small, (50, 64 * MI))] {
        let ran = resize(&kubectl, "p", wanted);
        assert_eq!((ran.code, ran.out.as_str()), (0, "pod/p patched\n"), "{}", ran.err);
        let pod = namespace.pod_until("p", "has what it asks for", |pod| has(pod, wanted));
        assert_eq!(limits(&pod), [expected; 2]);
        let status = &pod["status"]["containerStatuses"][0];
        let same = &before["status"]["containerStatuses"][0];
        assert_eq!((&status["restartCount"], &status["containerID"]), (&json!(0), &same["containerID"]));
        assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    }
    let told = "\"name\":\"main\",\"resources\":{\"limits\":{\"cpu\":\"150m\",\"memory\":\"128Mi\"}";
    namespace.event("p", "ResizeStarted", told);
    namespace.event("p", "ResizeCompleted", told);
    let ran = resize(&kubectl, "p", &json!({"requests": {"cpu": "40m"}}));
    assert!(ran.err.contains("Pod QOS Class may not change as a result of resizing"), "{ran:?}");
}

#[test]
fn memory_is_resized_by_a_restart_where_the_policy_says_so_and_the_processor_is_not() {
    let cluster = cluster!();
    let namespace = cluster.namespace("resizing-policy");
    let Some(kubectl) = resizer(&namespace, cluster) else { return };
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    namespace.create("pods", &sized("p", &amounts("50m", "64Mi"), policy));
    namespace.pod_ready("p");
    assert_eq!(resize(&kubectl, "p", &amounts("60m", "64Mi")).code, 0);
    let pod = namespace.pod_until("p", "has more of the processor", |pod| has(pod, &amounts("60m", "64Mi")));
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(resize(&kubectl, "p", &amounts("60m", "96Mi")).code, 0);
    let pod = namespace.pod_until("p", "was started anew", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        has(pod, &amounts("60m", "96Mi")) && status["restartCount"] == 1 && status["ready"] == true
    });
    assert_eq!(limits(&pod), [(60, 96 * MI); 2]);
    namespace.event("p", "Killing", "Container main resize requires restart");
}

#[test]
fn a_memory_limit_below_what_is_used_is_refused_and_the_pod_goes_on() {
    let cluster = cluster!();
    let namespace = cluster.namespace("resizing-used");
    let Some(kubectl) = resizer(&namespace, cluster) else { return };
    let mut object = sized("p", &amounts("50m", "128Mi"), json!([]));
    object["spec"]["containers"][0]["command"] = json!(["sh", "-c", "alloc 48"]);
    namespace.create("pods", &object);
    let before = namespace.pod_ready("p");
    eventually("it uses memory", || {
        let used = memory_used(&before);
        if used > 40 * MI { Ok(()) } else { Err(format!("{used} bytes")) }
    });
    assert_eq!(resize(&kubectl, "p", &amounts("50m", "16Mi")).code, 0);
    let pod =
        namespace.pod_until("p", "says why not", |pod| condition(pod, "PodResizeInProgress")["reason"] == "Error");
    let message = condition(&pod, "PodResizeInProgress")["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("cannot decrease memory limits: "), "{message}");
    assert!(message.contains("container \"main\" memory limit (16777216) below current usage"), "{message}");
    assert_eq!(limits(&pod), [(50, 128 * MI); 2]);
    namespace.event("p", "ResizeError", "cannot decrease memory limits");
    assert_eq!(resize(&kubectl, "p", &amounts("50m", "96Mi")).code, 0);
    let pod = namespace.pod_until("p", "has what fits", |pod| has(pod, &amounts("50m", "96Mi")));
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
}

fn memory_used(pod: &Value) -> u64 {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().rsplit('/').next().unwrap();
    let files = ["memory.current", "memory.usage_in_bytes"];
    let found = files.into_iter().find_map(|file| Some(group("/sys/fs/cgroup".into(), id, file)?.join(file)));
    found.and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn what_the_node_never_has_is_infeasible_and_a_smaller_wish_is_granted() {
    let cluster = cluster!();
    let namespace = cluster.namespace("resizing-room");
    let Some(kubectl) = resizer(&namespace, cluster) else { return };
    let nodes = cluster.api().get("/api/v1/nodes").ok();
    let cpus: u64 = nodes["items"][0]["status"]["allocatable"]["cpu"].as_str().unwrap().parse().unwrap();
    let requests = |cpu: &str| json!({"requests": {"cpu": cpu}});
    namespace.create("pods", &sized("p", &requests("100m"), json!([])));
    namespace.pod_ready("p");
    assert_eq!(resize(&kubectl, "p", &requests(&(cpus + 1).to_string())).code, 0);
    let refused = |pod: &Value| condition(pod, "PodResizePending")["reason"] == "Infeasible";
    let pod = namespace.pod_until("p", "asks for too much", refused);
    let message = condition(&pod, "PodResizePending")["message"].as_str().unwrap();
    assert!(message.starts_with("Node didn't have enough capacity: cpu, requested: "), "{message}");
    assert_eq!(pod["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], "100m");
    namespace.event("p", "ResizeInfeasible", "Node didn't have enough capacity");
    let smaller = requests("150m");
    assert_eq!(resize(&kubectl, "p", &smaller).code, 0);
    namespace.pod_until("p", "has what it asks for", |pod| has(pod, &smaller));
}
