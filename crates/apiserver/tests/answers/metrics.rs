//! The page for Prometheus: that it is one, and has what dashboards ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_apiserver::auth::User;
use coracle_testing::exposition::{Family, families};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use crate::Api;

/// Names, kinds and labels that a server has which has answered a few requests.
const FAMILIES: [(&str, &str, &str); 36] = [
    ("apiserver_request_total", "counter", "code component dry_run group resource scope subresource verb version"),
    (
        "apiserver_request_duration_seconds",
        "histogram",
        "component dry_run group resource scope subresource verb version",
    ),
    ("apiserver_request_sli_duration_seconds", "histogram", "component group resource scope subresource verb version"),
    ("apiserver_response_sizes", "histogram", "component group resource scope subresource verb version"),
    ("apiserver_longrunning_requests", "gauge", "component group resource scope subresource verb version"),
    ("apiserver_current_inflight_requests", "gauge", "request_kind"),
    ("apiserver_watch_events_total", "counter", "group resource version"),
    ("apiserver_watch_events_sizes", "histogram", "group resource version"),
    ("apiserver_watch_cache_events_received_total", "counter", "group resource"),
    ("apiserver_watch_cache_resource_version", "gauge", "group resource"),
    ("apiserver_watch_cache_capacity", "gauge", "group resource"),
    ("apiserver_storage_objects", "gauge", "resource"),
    ("apiserver_resource_objects", "gauge", "group resource"),
    ("apiserver_storage_size_bytes", "gauge", "storage_cluster_id"),
    ("etcd_request_duration_seconds", "histogram", "group operation resource"),
    ("etcd_requests_total", "counter", "group operation resource"),
    ("apiserver_admission_controller_admission_duration_seconds", "histogram", "name operation rejected type"),
    ("apiserver_admission_step_admission_duration_seconds", "histogram", "operation rejected type"),
    ("apiserver_audit_event_total", "counter", ""),
    ("apiserver_audit_requests_rejected_total", "counter", ""),
    ("authentication_attempts", "counter", "result"),
    ("authentication_duration_seconds", "histogram", "result"),
    ("authenticated_user_requests", "counter", "username"),
    ("authorization_attempts_total", "counter", "result"),
    ("authorization_duration_seconds", "histogram", "result"),
    ("apiserver_client_certificate_expiration_seconds", "histogram", ""),
    ("apiserver_tls_handshake_errors_total", "counter", ""),
    (
        "kubernetes_build_info",
        "gauge",
        "build_date compiler git_commit git_tree_state git_version go_version major minor platform",
    ),
    ("kubernetes_feature_enabled", "gauge", "name stage"),
    ("process_cpu_seconds_total", "counter", ""),
    ("process_resident_memory_bytes", "gauge", ""),
    ("process_virtual_memory_bytes", "gauge", ""),
    ("process_open_fds", "gauge", ""),
    ("process_max_fds", "gauge", ""),
    ("process_start_time_seconds", "gauge", ""),
    ("coracle_store_revision", "gauge", ""),
];

async fn page(api: &Api) -> BTreeMap<String, Family> {
    families(&api.get("/metrics").await.text)
}

/// The value of the sample with these labels; none of those that are not named may be several.
fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let of = |(family, _): &(&String, &Family)| {
        name.strip_prefix(family.as_str()).is_some_and(|rest| ["", "_sum", "_count", "_bucket"].contains(&rest))
    };
    let family = families.iter().find(of).map(|(_, family)| family)?;
    let fits = |labels_of: &BTreeMap<String, String>| {
        labels.iter().all(|(label, value)| labels_of.get(*label).is_some_and(|own| own == value))
    };
    family.samples.iter().find(|sample| sample.name == name && fits(&sample.labels)).map(|sample| sample.value)
}

#[tokio::test]
async fn all_that_is_asked_for_is_told_under_its_name_with_its_labels() {
    let api = Api::new().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    api.post(maps, &json!({"metadata": {"name": "told"}})).await.ok();
    api.first_event(&format!("{maps}?watch=1")).await;
    api.get(maps).await.ok();
    let found = page(&api).await;
    for (name, kind, labels) in FAMILIES {
        let family = found.get(name).unwrap_or_else(|| panic!("{name} is missing of {:?}", found.keys()));
        let own: Vec<&str> = family.labels.iter().map(String::as_str).collect();
        assert_eq!((family.kind.as_str(), own.join(" ").as_str()), (kind, labels), "{name}");
    }
}

/// How much more a sample says than it did before. Other tests of this process count as well.
fn more(
    before: &BTreeMap<String, Family>,
    after: &BTreeMap<String, Family>,
    name: &str,
    labels: &[(&str, &str)],
) -> f64 {
    value(after, name, labels).unwrap_or(0.0) - value(before, name, labels).unwrap_or(0.0)
}

#[tokio::test]
async fn requests_are_counted_as_what_they_were() {
    let api = Api::new().await;
    let before = page(&api).await;
    let drivers = "/apis/storage.k8s.io/v1/csidrivers";
    let driver = json!({"metadata": {"name": "d.example.com"}, "spec": {}});
    api.post(&format!("{drivers}?dryRun=All"), &driver).await.ok();
    api.post(drivers, &driver).await.ok();
    assert_eq!(api.post(drivers, &driver).await.status, 409);
    let path = format!("{drivers}/d.example.com");
    api.get(&path).await.ok();
    api.get(drivers).await.ok();
    api.patch("merge-patch", &path, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    let applied = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"labels": {"c": "d"}}});
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{path}?fieldManager=m");
    api.call(Method::PATCH, &path, &headers, applied.to_string()).await.ok();
    let after = page(&api).await;
    for labels in [
        &[("verb", "POST"), ("dry_run", "All"), ("code", "201"), ("scope", "resource")][..],
        &[("verb", "POST"), ("dry_run", ""), ("code", "201")],
        &[("verb", "POST"), ("code", "409"), ("component", "apiserver")],
        &[("verb", "GET"), ("code", "200"), ("scope", "resource")],
        &[("verb", "LIST"), ("code", "200"), ("scope", "cluster")],
        &[("verb", "PATCH"), ("code", "200")],
        &[("verb", "APPLY"), ("code", "200")],
    ] {
        let own = [("resource", "csidrivers"), ("group", "storage.k8s.io"), ("version", "v1")];
        let counted = more(&before, &after, "apiserver_request_total", &[&own[..], labels].concat());
        assert!(counted >= 1.0, "{labels:?}");
    }
    let sizes = [("resource", "csidrivers"), ("verb", "LIST")];
    assert!(more(&before, &after, "apiserver_response_sizes_sum", &sizes) > 100.0);
    let stored = value(&after, "apiserver_storage_objects", &[("resource", "csidrivers.storage.k8s.io")]);
    assert_eq!(stored, Some(1.0));
    let created = [("operation", "create"), ("group", "storage.k8s.io"), ("resource", "csidrivers")];
    assert!(more(&before, &after, "etcd_requests_total", &created) >= 1.0);
    let admitted = [("operation", "CREATE"), ("type", "admit"), ("rejected", "false")];
    let count = "apiserver_admission_step_admission_duration_seconds_count";
    assert!(more(&before, &after, count, &admitted) >= 2.0);
}

#[tokio::test]
async fn watches_are_counted_while_they_last() {
    let api = Api::new().await;
    let path = "/apis/storage.k8s.io/v1/csistoragecapacities?watch=1";
    let request = Request::get(path).body(Full::new(bytes::Bytes::new())).expect("a request");
    let watch = api.server.handle(request, Some(Arc::new(User::new("admin", &["system:masters"])))).await;
    let labels = [("resource", "csistoragecapacities"), ("verb", "WATCH"), ("scope", "cluster")];
    let lasting = value(&page(&api).await, "apiserver_longrunning_requests", &labels);
    assert!(lasting.is_some_and(|lasting| lasting >= 1.0), "{lasting:?}");
    drop(watch);
}

#[tokio::test]
async fn who_asks_and_what_is_decided_is_counted() {
    let api = Api::new().await;
    let before = page(&api).await;
    let by = async |user: User| api.call_by(user, Method::GET, "/api/v1/namespaces", &[], String::new()).await;
    by(User::new("admin@example.com", &["system:masters"])).await.ok();
    assert_eq!(by(User::new("jane", &[])).await.status, 403);
    let after = page(&api).await;
    for (name, labels) in [
        ("authorization_attempts_total", ("result", "allowed")),
        ("authorization_attempts_total", ("result", "no-opinion")),
        ("authorization_duration_seconds_count", ("result", "allowed")),
        ("authentication_attempts", ("result", "success")),
        ("authenticated_user_requests", ("username", "other")),
        ("authenticated_user_requests", ("username", "email_id")),
    ] {
        assert!(more(&before, &after, name, &[labels]) >= 1.0, "{name} {labels:?}");
    }
}
