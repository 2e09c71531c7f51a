//! Metrics of every part, scraped as Prometheus does where upstream has them.

use std::collections::BTreeMap;

use coracle_e2e::*;
use coracle_testing::exposition::{Family, families};
use serde_json::json;

/// What dashboards ask the scheduler for.
const OF_SCHEDULER: [(&str, &str); 14] = [
    ("scheduler_pending_pods", "queue"),
    ("scheduler_schedule_attempts_total", "profile result"),
    ("scheduler_scheduling_attempt_duration_seconds", "profile result"),
    ("scheduler_scheduling_algorithm_duration_seconds", ""),
    ("scheduler_framework_extension_point_duration_seconds", "extension_point profile status"),
    ("scheduler_plugin_execution_duration_seconds", "extension_point plugin status"),
    ("scheduler_pod_scheduling_sli_duration_seconds", "attempts"),
    ("scheduler_pod_scheduling_attempts", ""),
    ("scheduler_preemption_attempts_total", ""),
    ("scheduler_preemption_victims", ""),
    ("scheduler_queue_incoming_pods_total", "event queue"),
    ("rest_client_requests_total", "code host method"),
    ("rest_client_request_duration_seconds", "host verb"),
    ("process_cpu_seconds_total", ""),
];

/// What dashboards ask the controllers for.
const OF_CONTROLLERS: [(&str, &str); 20] = [
    ("workqueue_depth", "name"),
    ("workqueue_adds_total", "name"),
    ("workqueue_queue_duration_seconds", "name"),
    ("workqueue_work_duration_seconds", "name"),
    ("workqueue_unfinished_work_seconds", "name"),
    ("workqueue_longest_running_processor_seconds", "name"),
    ("workqueue_retries_total", "name"),
    ("rest_client_requests_total", "code host method"),
    ("node_collector_zone_size", "zone"),
    ("node_collector_zone_health", "zone"),
    ("node_collector_unhealthy_nodes_in_zone", "zone"),
    ("endpoint_slice_controller_num_endpoint_slices", ""),
    ("endpoint_slice_controller_desired_endpoint_slices", ""),
    ("endpoint_slice_controller_endpoints_added_per_sync", ""),
    ("endpoint_slice_controller_endpoints_removed_per_sync", ""),
    ("endpoint_slice_controller_endpointslices_changed_per_sync", "topology traffic_distribution"),
    ("endpoint_slice_controller_syncs", "result"),
    ("job_controller_job_syncs_total", "action completion_mode result"),
    ("job_controller_job_sync_duration_seconds", "action completion_mode result"),
    (
        "kubernetes_build_info",
        "build_date compiler git_commit git_tree_state git_version go_version major minor platform",
    ),
];

fn has(families: &BTreeMap<String, Family>, wanted: &[(&str, &str)]) -> Result<(), String> {
    for (name, labels) in wanted {
        let family = families.get(*name).ok_or_else(|| format!("{name} is missing"))?;
        let own: Vec<&str> = family.labels.iter().map(String::as_str).collect();
        if own.join(" ") != *labels {
            return Err(format!("{name} has the labels {own:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_part_tells_its_metrics_where_upstreams_does() {
    let cluster = cluster!();
    let namespace = cluster.namespace("metrics");
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none.invalid/x"}]}});
    let path = namespace.path_in("batch/v1", "jobs");
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
    namespace.api.post(&path, &job).ok();
    namespace.create(
        "services",
        &json!({"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}),
    );
    for (port, wanted, other) in
        [(10259, &OF_SCHEDULER[..], "apiserver_request_total"), (10257, &OF_CONTROLLERS[..], "scheduler_pending_pods")]
    {
        let mut remote = cluster.remote();
        remote.server = format!("https://{}:{port}", cluster.node_address());
        let api = Api::new(&remote);
        eventually("all is told", || {
            let page = api.get_as("/metrics", "*/*");
            let found = families(&page.text);
            assert!(!found.contains_key(other), "{other} is another part's");
            has(&found, wanted)
        });
        assert_eq!(api.get_as("/healthz", "*/*").text, "ok");
        assert_eq!(api.get_as("/api/v1/pods", "*/*").status, 404);
        let nobody =
            Api::new(&coracle_client::Remote { client_cert_pem: None, client_key_pem: None, ..remote.clone() });
        assert_eq!((nobody.get("/metrics").status, nobody.get_as("/healthz", "*/*").status), (403, 200));
    }
    let all = families(&cluster.api().get_as("/metrics", "*/*").text);
    has(&all, &OF_SCHEDULER).and_then(|()| has(&all, &OF_CONTROLLERS)).expect("the API server tells all");
    assert!(all.contains_key("apiserver_request_total"));
}
