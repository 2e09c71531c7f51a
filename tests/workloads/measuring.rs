//! What a node tells of what its pods use, under the names that dashboards and autoscalers ask for.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn a_nodes_pages_tell_of_its_pods_what_dashboards_ask_for() {
    let cluster = cluster!();
    let namespace = cluster.namespace("measuring");
    let mut object = pod("p", &["sh", "-c", "alloc 8"]);
    let container = &mut object["spec"]["containers"][0];
    container["resources"] = json!({"limits": {"cpu": "100m", "memory": "64Mi"}});
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    object["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    namespace.create("pods", &object);
    namespace.pod_ready("p");
    let nodes = cluster.api().get("/api/v1/nodes").ok();
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let page = |path: &str| cluster.api().get_as(&format!("/api/v1/nodes/{node}/proxy/{path}"), "*/*").text;
    let of_pod = "namespace=\"measuring\",pod=\"p\"";
    for (path, names) in [
        (
            "metrics/cadvisor",
            &[
                "container_cpu_usage_seconds_total",
                "container_memory_working_set_bytes",
                "container_memory_rss",
                "container_fs_usage_bytes",
                "container_network_receive_bytes_total",
                "container_spec_memory_limit_bytes",
                "container_start_time_seconds",
            ][..],
        ),
        ("metrics/resource", &["container_cpu_usage_seconds_total", "pod_memory_working_set_bytes"][..]),
    ] {
        let text = page(path);
        for name in names {
            let is_told = |line: &str| line.starts_with(&format!("{name}{{")) && line.contains(of_pod);
            assert!(text.lines().any(is_told), "{name} of the pod is not in {path}:\n{text}");
        }
    }
    let text = page("metrics");
    for start in [
        "kubelet_running_pods ",
        "kubelet_running_containers{container_state=\"running\"} ",
        "kubelet_runtime_operations_total{operation_type=\"start_container\"} ",
        "kubelet_pod_start_duration_seconds_count ",
        "rest_client_requests_total{code=\"200\"",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start} is not there:\n{text}");
    }
    // A program's memory grows while it starts.
    eventually("the summary tells of the container's memory", || {
        let summary: serde_json::Value =
            serde_json::from_str(&page("stats/summary")).map_err(|error| error.to_string())?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let found = pods.into_iter().find(|pod| pod["podRef"]["name"] == "p").unwrap_or_default();
        let used = found["containers"][0]["memory"]["workingSetBytes"].as_u64().unwrap_or(0);
        let names: Vec<_> =
            found["volume"].as_array().into_iter().flatten().map(|volume| volume["name"].clone()).collect();
        let whole = summary["node"]["rlimit"]["maxpid"].is_u64() && names.contains(&json!("data"));
        if used >= 8 << 20 && whole { Ok(()) } else { Err(summary.to_string()) }
    });
}
