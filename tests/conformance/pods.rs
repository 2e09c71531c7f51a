//! Pods, and kernel parameters of theirs.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn should_patch_a_pod_status() {
    let cluster = cluster!();
    let namespace = cluster.namespace("pod-status");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    let patch = json!({"metadata": {"annotations": {"patched": "true"}},
        "status": {"message": "Patched by e2e test", "reason": "E2E"}});
    let patched = namespace.api.patch(&namespace.path("pods/p/status"), MERGE, &patch).ok();
    assert_eq!(
        (&patched["status"]["message"], &patched["status"]["reason"]),
        (&json!("Patched by e2e test"), &json!("E2E"))
    );
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
}

#[test]
fn should_support_sysctls() {
    let cluster = cluster!();
    let namespace = cluster.namespace("sysctls");
    let mut object = pod("p", &["cat", "/proc/sys/kernel/shm_rmid_forced"]);
    object["spec"]["securityContext"] = json!({"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]});
    let ran = namespace.run_pod(&object);
    assert_eq!((ran.code, ran.log.as_str()), (0, "1\n"));
}

#[test]
fn should_project_all_components_that_make_up_the_projection_api() {
    let cluster = cluster!();
    let namespace = cluster.namespace("projected");
    namespace.create("configmaps", &json!({"metadata": {"name": "c"}, "data": {"configmap-data": "configmap-value"}}));
    namespace.create("secrets", &json!({"metadata": {"name": "s"}, "stringData": {"secret-data": "secret-value"}}));
    let files =
        ["podname", "cpu_limit", "memory_limit", "secret-data", "configmap-data"].map(|file| format!("/all/{file}"));
    let show = files.map(|file| format!("cat {file}; echo")).join("; ");
    let mut object = pod("p", &["sh", "-c", &show]);
    let of = |resource: &str| json!({"containerName": "main", "resource": resource});
    let sources = json!([
        {"downwardAPI": {"items": [
            {"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "cpu_limit", "resourceFieldRef": of("limits.cpu")},
            {"path": "memory_limit", "resourceFieldRef": of("limits.memory")}]}},
        {"secret": {"name": "s"}}, {"configMap": {"name": "c"}}]);
    object["spec"]["volumes"] = json!([{"name": "all", "projected": {"sources": sources}}]);
    let main = &mut object["spec"]["containers"][0];
    main["volumeMounts"] = json!([{"name": "all", "mountPath": "/all", "readOnly": true}]);
    main["resources"] = json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "10m", "memory": "32Mi"}});
    let ran = namespace.run_pod(&object);
    let lines: Vec<&str> = ran.log.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["p", "1", "67108864", "secret-value", "configmap-value"], "{ran:?}");
}
