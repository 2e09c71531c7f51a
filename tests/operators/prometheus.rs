//! Upstream's Prometheus, unchanged, in a pod: with the configuration of its documentation's example it finds and scrapes nodes,
//! pods, services, endpoints and Ingresses, and has the series that the usual dashboards ask for.

use std::collections::BTreeMap;

use coracle_e2e::*;
use serde_json::{Value, json};

/// The variable that has the path of the program, which is built without cgo, as its image has no libraries.
const PROGRAM: &str = "CORACLE_TEST_PROMETHEUS";

/// Who it is, as its documentation has it.
const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prometheus}
rules:
- {apiGroups: [""], resources: [nodes, nodes/metrics, nodes/proxy, services, endpoints, pods], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, list, watch]}
- {nonResourceURLs: [/metrics, /metrics/cadvisor], verbs: [get]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: prom}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prometheus}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: prom}]
"#;

/// How the API and the kubelets are spoken to.
const SECURE: &str = "
    scheme: https
    tls_config: {ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt}
    authorization: {credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token}";

/// The relabelings by the annotations that are in use everywhere, for one role.
fn annotated(role: &str) -> String {
    format!(
        r#"
    - {{source_labels: [__meta_kubernetes_{role}_annotation_prometheus_io_scrape], action: keep, regex: true}}
    - {{source_labels: [__meta_kubernetes_{role}_annotation_prometheus_io_scheme], action: replace, target_label: __scheme__, regex: '(https?)'}}
    - {{source_labels: [__meta_kubernetes_{role}_annotation_prometheus_io_path], action: replace, target_label: __metrics_path__, regex: (.+)}}
    - {{source_labels: [__address__, __meta_kubernetes_{role}_annotation_prometheus_io_port], action: replace, regex: '(.+?)(?::\d+)?;(\d+)', replacement: '$1:$2', target_label: __address__}}
    - {{action: labelmap, regex: __meta_kubernetes_{role}_label_(.+)}}
    - {{source_labels: [__meta_kubernetes_namespace], action: replace, target_label: namespace}}"#
    )
}

fn configuration() -> String {
    let job = |name: &str, role: &str, secure: bool, relabelings: &str| {
        let secure = if secure { SECURE } else { "" };
        format!(
            "  - job_name: {name}\n    kubernetes_sd_configs: [{{role: {role}}}]{secure}\n    relabel_configs:{relabelings}\n"
        )
    };
    let through_api = |path: &str| {
        format!(
            "
    - {{action: labelmap, regex: __meta_kubernetes_node_label_(.+)}}
    - {{target_label: __address__, replacement: 'kubernetes.default.svc:443'}}
    - {{source_labels: [__meta_kubernetes_node_name], regex: (.+), target_label: __metrics_path__, replacement: '/api/v1/nodes/$1/proxy{path}'}}"
        )
    };
    let labels = "\n    - {action: labelmap, regex: __meta_kubernetes_node_label_(.+)}";
    let control_plane = |port: u16| {
        format!(
            "
    - {{source_labels: [__meta_kubernetes_node_labelpresent_node_role_kubernetes_io_control_plane], action: keep, regex: true}}
    - {{source_labels: [__address__], regex: '(.+):\\d+', replacement: '$1:{port}', target_label: __address__}}"
        )
    };
    let apiservers = "
    - source_labels: [__meta_kubernetes_namespace, __meta_kubernetes_service_name, __meta_kubernetes_endpoint_port_name]
      action: keep
      regex: default;kubernetes;https";
    // What a probe is asked for, and of whom.
    let probe = |role: &str, target: &str| {
        format!(
            "
    - {{source_labels: [__meta_kubernetes_{role}_annotation_prometheus_io_probe], action: keep, regex: true}}
    {target}
    - {{source_labels: [__param_target], target_label: instance}}
    - {{target_label: __address__, replacement: 'probe.prom.svc:80'}}
    - {{target_label: __metrics_path__, replacement: /}}"
        )
    };
    let service = probe("service", "- {source_labels: [__address__], target_label: __param_target}");
    let ingress = probe(
        "ingress",
        "- {source_labels: [__meta_kubernetes_ingress_scheme, __address__, __meta_kubernetes_ingress_path], regex: '(.+);(.+);(.+)', replacement: '${1}://${2}${3}', target_label: __param_target}",
    );
    // The control plane's own ports show a certificate for the server's names, as upstream's do for loopback.
    let jobs = [
        job("kubernetes-apiservers", "endpoints", true, apiservers),
        job("kubernetes-nodes", "node", true, labels),
        job("kubernetes-nodes-proxy", "node", true, &through_api("/metrics")),
        job("kubernetes-cadvisor", "node", true, &through_api("/metrics/cadvisor")),
        job("kubernetes-scheduler", "node", true, &control_plane(10259)),
        job("kubernetes-controller-manager", "node", true, &control_plane(10257)),
        job("kubernetes-service-endpoints", "endpoints", false, &annotated("service")),
        job("kubernetes-endpointslices", "endpointslice", false, &annotated("service")),
        job("kubernetes-pods", "pod", false, &annotated("pod")),
        job("kubernetes-services", "service", false, &service),
        job("kubernetes-ingresses", "ingress", false, &ingress),
    ];
    format!("global: {{scrape_interval: 2s, scrape_timeout: 2s}}\nscrape_configs:\n{}", jobs.concat())
}

/// How many targets there are to be of each job, on two nodes with what the test makes.
const TARGETS: [(&str, usize); 11] = [
    ("kubernetes-apiservers", 1),
    ("kubernetes-cadvisor", 2),
    ("kubernetes-controller-manager", 1),
    ("kubernetes-endpointslices", 2),
    ("kubernetes-ingresses", 1),
    ("kubernetes-nodes", 2),
    ("kubernetes-nodes-proxy", 2),
    ("kubernetes-pods", 2),
    ("kubernetes-scheduler", 1),
    ("kubernetes-service-endpoints", 2),
    ("kubernetes-services", 1),
];

/// What rules and dashboards of Kubernetes that many use ask for.
const SERIES: [&str; 45] = [
    "apiserver_request_total{code=\"200\",verb=\"LIST\"}",
    "apiserver_request_duration_seconds_bucket",
    "apiserver_request_sli_duration_seconds_bucket",
    "apiserver_current_inflight_requests",
    "apiserver_storage_objects",
    "kubernetes_build_info{job=\"kubernetes-apiservers\"}",
    "workqueue_adds_total",
    "workqueue_depth",
    "workqueue_queue_duration_seconds_bucket",
    "process_cpu_seconds_total{job=\"kubernetes-apiservers\"}",
    "process_resident_memory_bytes{job=\"kubernetes-nodes\"}",
    "rest_client_requests_total",
    "scheduler_schedule_attempts_total{result=\"scheduled\"}",
    "scheduler_scheduling_attempt_duration_seconds_bucket",
    "scheduler_pending_pods",
    "kubelet_node_name",
    "kubelet_running_pods",
    "kubelet_running_containers{container_state=\"running\"}",
    "kubelet_runtime_operations_total",
    "kubelet_runtime_operations_duration_seconds_bucket",
    "kubelet_pod_start_duration_seconds_bucket",
    "kubelet_pod_worker_duration_seconds_bucket",
    "kubelet_pleg_relist_duration_seconds_bucket",
    "storage_operation_duration_seconds_bucket",
    "volume_manager_total_volumes",
    "machine_cpu_cores",
    "machine_memory_bytes",
    "container_cpu_usage_seconds_total{namespace=\"prom\",pod=\"prometheus\",container=\"main\",image!=\"\"}",
    "container_cpu_usage_seconds_total{id=\"/\"}",
    "container_cpu_cfs_periods_total{container=\"main\"}",
    "container_cpu_cfs_throttled_periods_total{container=\"main\"}",
    "container_memory_working_set_bytes{pod=\"prometheus\",container=\"main\"}",
    "container_memory_rss{pod=\"prometheus\",container=\"main\"}",
    "container_memory_cache{pod=\"prometheus\",container=\"main\"}",
    "container_memory_swap{pod=\"prometheus\",container=\"main\"}",
    "container_memory_usage_bytes{pod=\"prometheus\",container=\"main\"}",
    "container_spec_cpu_quota{container=\"main\"}",
    "container_spec_memory_limit_bytes{container=\"main\"}",
    "container_network_receive_bytes_total{pod=\"prometheus\"}",
    "container_network_transmit_packets_dropped_total{pod=\"prometheus\"}",
    "container_start_time_seconds{pod=\"prometheus\",container=\"main\"}",
    "container_last_seen{pod=\"prometheus\",container=\"main\"}",
    "served{job=\"kubernetes-pods\",app=\"served\",namespace=\"prom\"}",
    "served{job=\"kubernetes-service-endpoints\",namespace=\"prom\"}",
    "served{job=\"kubernetes-endpointslices\",namespace=\"prom\"}",
];

/// Asks its API something.
fn ask(namespace: &Namespace<'_>, what: &str) -> Result<Value, String> {
    let path = namespace.path(&format!("pods/prometheus:9090/proxy/api/v1/{what}"));
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    let answer = namespace.api.try_send(request).ok_or("no answer")?;
    if answer.status == 200 { Ok(answer.body["data"].clone()) } else { Err(answer.text) }
}

/// How many series a query finds.
fn count(namespace: &Namespace<'_>, query: &str) -> Result<u64, String> {
    let query: String = format!("count({query})").bytes().map(|byte| format!("%{byte:02X}")).collect();
    let data = ask(namespace, &format!("query?query={query}"))?;
    let value = data["result"][0]["value"][1].as_str().unwrap_or("0");
    value.parse().map_err(|_| value.to_owned())
}

/// Two pods on two nodes that serve a metric, a service of both, and an Ingress.
fn make_targets(cluster: &Cluster, namespace: &Namespace<'_>) {
    let nodes = [cluster.name.clone(), format!("{}-2", cluster.name)];
    for (number, node) in nodes.iter().enumerate() {
        let mut object = pod(&format!("served-{number}"), &["serve", "--port", "8080", "--body", "served 1"]);
        object["metadata"]["labels"] = json!({"app": "served"});
        object["metadata"]["annotations"] =
            json!({"prometheus.io/scrape": "true", "prometheus.io/path": "/", "prometheus.io/port": "8080"});
        object["spec"]["nodeName"] = json!(node);
        object["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
        object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
        namespace.create("pods", &object);
    }
    let spec = json!({"selector": {"app": "served"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let annotations = json!({"prometheus.io/scrape": "true", "prometheus.io/path": "/", "prometheus.io/probe": "true"});
    namespace.create("services", &json!({"metadata": {"name": "served", "annotations": annotations}, "spec": spec}));
    namespace.create("services", &json!({"metadata": {"name": "probe"}, "spec": spec}));
    let backend = json!({"service": {"name": "served", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let ingress = json!({"metadata": {"name": "served", "annotations": {"prometheus.io/probe": "true"}},
        "spec": {"rules": [{"host": "served.example", "http": {"paths": paths}}]}});
    cluster.api().post(&namespace.path_in("networking.k8s.io/v1", "ingresses"), &ingress).ok();
}

#[test]
fn prometheus_finds_and_scrapes_nodes_pods_services_endpoints_and_ingresses() {
    if !can_run() {
        return;
    }
    let Some(program) = std::env::var_os(PROGRAM) else {
        skip(Lacks::Tool("CORACLE_TEST_PROMETHEUS names no Prometheus"));
        return;
    };
    let cluster = Cluster::new("prometheus");
    cluster.ok("up", &["--nodes", "2"]);
    cluster.load_image(&["test:1"]);
    let archive = cluster.directory().join("prometheus.tar");
    write_archive(program.as_ref(), &["prometheus:1"], &archive).unwrap();
    cluster.ok("image load", &[&archive.to_string_lossy()]);
    let namespace = cluster.namespace("prom");
    kubectl!(&cluster, namespace).apply(ROLE);
    make_targets(&cluster, &namespace);
    namespace.create(
        "configmaps",
        &json!({"metadata": {"name": "prometheus"}, "data": {"prometheus.yml": configuration()}}),
    );
    let mut object =
        pod("prometheus", &["/bin/test", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"]);
    object["spec"]["serviceAccountName"] = json!("prometheus");
    object["spec"]["volumes"] = json!([{"name": "config", "configMap": {"name": "prometheus"}}]);
    object["spec"]["containers"][0]["image"] = json!("prometheus:1");
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "config", "mountPath": "/etc/prometheus"}]);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"port": 9090, "path": "/-/ready"}, "periodSeconds": 1});
    namespace.create("pods", &object);
    let why = || namespace.log("prometheus");
    eventually("all targets are up", || {
        let targets = ask(&namespace, "targets?state=active").map_err(|error| format!("{error}\n{}", why()))?;
        let targets = targets["activeTargets"].as_array().cloned().unwrap_or_default();
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for target in &targets {
            if target["health"] != "up" {
                return Err(format!("{:#}\n{}", target, why()));
            }
            *found.entry(target["labels"]["job"].as_str().unwrap_or_default()).or_default() += 1;
        }
        if found == BTreeMap::from(TARGETS) { Ok(()) } else { Err(format!("{found:?}\n{}", why())) }
    });
    // What is dropped has no annotation, or is no API server and no control plane.
    let dropped = ask(&namespace, "targets?state=dropped").unwrap();
    for target in dropped["droppedTargets"].as_array().into_iter().flatten() {
        let labels = &target["discoveredLabels"];
        let asks = |what: &str| {
            labels.as_object().into_iter().flatten().any(|(name, value)| name.ends_with(what) && value == "true")
        };
        let job = labels["job"].as_str().unwrap_or_default();
        let is_wrong = match job {
            "kubernetes-apiservers" => labels["__meta_kubernetes_service_name"] == "kubernetes",
            "kubernetes-scheduler" | "kubernetes-controller-manager" => {
                asks("labelpresent_node_role_kubernetes_io_control_plane")
            }
            "kubernetes-pods" => asks("pod_annotation_prometheus_io_scrape"),
            "kubernetes-service-endpoints" | "kubernetes-endpointslices" => {
                asks("service_annotation_prometheus_io_scrape")
            }
            "kubernetes-services" | "kubernetes-ingresses" => asks("annotation_prometheus_io_probe"),
            _ => true,
        };
        assert!(!is_wrong, "{target:#}");
    }
    eventually("all series are there", || {
        let lacks = |query: &&&str| !matches!(count(&namespace, query), Ok(1..));
        let missing: Vec<_> = SERIES.iter().filter(lacks).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:#?}")) }
    });
    let log = namespace.log("prometheus");
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains("level=ERROR") || line.contains("level=WARN")).collect();
    assert_eq!(complaints, Vec::<&str>::new());
}
