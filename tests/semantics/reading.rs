//! Lists, pages, watches and other forms.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coracle_e2e::*;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn config_map(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}})
}

#[test]
fn pages_are_one_snapshot_while_others_write() {
    let cluster = cluster!();
    let namespace = cluster.namespace("pages");
    for number in 0..100 {
        namespace.create("configmaps", &config_map(&format!("a{number:03}"), json!({"set": "first"})));
    }
    let before = names(&namespace.found("configmaps?labelSelector=set=first").unwrap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let name = format!("a{number:03}x");
                namespace.create("configmaps", &config_map(&name, json!({"set": "first"})));
                if number < 50 {
                    namespace.api.delete(&namespace.path(&format!("configmaps/a{:03}", number * 2)), &json!({})).ok();
                }
            }
        });
        let mut seen = Vec::new();
        let mut token = String::new();
        let mut version = None;
        loop {
            let page =
                namespace.found(&format!("configmaps?labelSelector=set=first&limit=7&continue={token}")).unwrap();
            let this = page["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            assert_eq!(*version.get_or_insert(this.clone()), this, "pages are of different revisions");
            seen.extend(names(&page));
            token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::SeqCst);
        let distinct: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "a name came twice");
        // The writer may have been at work before the first page: compare with the exact revision.
        let exact = format!(
            "configmaps?labelSelector=set=first&resourceVersionMatch=Exact&resourceVersion={}",
            version.unwrap()
        );
        assert_eq!(seen, names(&namespace.found(&exact).unwrap()));
        assert!(before.len() == 100);
    });
}

#[test]
fn a_watch_goes_on_where_another_one_ended() {
    let cluster = cluster!();
    let namespace = cluster.namespace("watch");
    let version = namespace.found("configmaps").unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    namespace.create("configmaps", &config_map("a", json!({})));
    let path = |version: &str| {
        namespace.path(&format!(
            "configmaps?watch=true&fieldSelector=metadata.name!=kube-root-ca.crt&resourceVersion={version}"
        ))
    };
    let mut watch = namespace.api.watch(&path(&version));
    let event = watch.next(PATIENCE).unwrap();
    assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some("ADDED"), Some("a")));
    drop(watch);
    namespace.api.patch(&namespace.path("configmaps/a"), MERGE, &json!({"data": {"k": "w"}})).ok();
    namespace.api.delete(&namespace.path("configmaps/a"), &json!({})).ok();
    let mut watch = namespace.api.watch(&path(event["object"]["metadata"]["resourceVersion"].as_str().unwrap()));
    assert_eq!(watch.expect(), ("MODIFIED".into(), "a".into()));
    assert_eq!(watch.expect(), ("DELETED".into(), "a".into()));
}

#[test]
fn a_watch_from_a_forgotten_revision_is_gone() {
    let cluster = cluster!();
    let mut watch = cluster.api().watch("/api/v1/configmaps?watch=true&resourceVersion=1");
    let event = watch.next(PATIENCE).unwrap();
    // A young cluster may still know its first revision; then the watch starts with what came after it.
    if event["type"] == "ERROR" {
        assert_eq!(
            (event["object"]["code"].as_i64(), event["object"]["reason"].as_str()),
            (Some(410), Some("Expired"))
        );
    }
    let future = cluster.api().get("/api/v1/configmaps?resourceVersion=999999999999");
    assert_eq!(future.status, 504, "{}", future.text);
    assert!(future.text.contains("Too large resource version: 999999999999"), "{}", future.text);
    let token = cluster.api().get("/api/v1/configmaps?limit=1&continue=nonsense");
    assert_eq!(token.status, 400, "{}", token.text);
}

#[test]
fn a_watch_can_start_with_everything_there_is() {
    let cluster = cluster!();
    let namespace = cluster.namespace("watch-list");
    for name in ["a", "b"] {
        namespace.create(
            "secrets",
            &config_map(name, json!({})).as_object().map(|object| json!({"metadata": object["metadata"]})).unwrap(),
        );
    }
    let query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = namespace.api.watch(&namespace.path(&format!("secrets?{query}")));
    assert_eq!(watch.expect(), ("ADDED".into(), "a".into()));
    assert_eq!(watch.expect(), ("ADDED".into(), "b".into()));
    let bookmark = watch.next(PATIENCE).unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[test]
fn a_watch_with_a_selector_sees_objects_come_into_it_and_leave_it() {
    let cluster = cluster!();
    let namespace = cluster.namespace("watch-selector");
    let version = namespace.found("configmaps").unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let query = format!("configmaps?watch=true&labelSelector=in=yes&resourceVersion={version}");
    let mut watch = namespace.api.watch(&namespace.path(&query));
    namespace.create("configmaps", &config_map("a", json!({"in": "no"})));
    let label = |value: &str| {
        let patch = json!({"metadata": {"labels": {"in": value}}});
        namespace.api.patch(&namespace.path("configmaps/a"), MERGE, &patch).ok();
    };
    label("yes");
    assert_eq!(watch.expect(), ("ADDED".into(), "a".into()));
    label("no");
    assert_eq!(watch.expect(), ("DELETED".into(), "a".into()));
}

#[test]
fn selectors_choose() {
    let cluster = cluster!();
    let namespace = cluster.namespace("selectors");
    for (name, labels) in [("a", json!({"tier": "web"})), ("b", json!({"tier": "db"})), ("c", json!({"x": "y"}))] {
        namespace.create("configmaps", &config_map(name, labels));
    }
    let select = |query: &str| {
        let mut all = names(&namespace.found(&format!("configmaps?{query}")).unwrap());
        all.retain(|name| name != "kube-root-ca.crt");
        all
    };
    for (query, expected) in [
        ("labelSelector=tier=web", &["a"][..]),
        ("labelSelector=tier!%3Dweb", &["b", "c"]),
        ("labelSelector=tier+in+(web,db)", &["a", "b"]),
        ("labelSelector=tier+notin+(web)", &["b", "c"]),
        ("labelSelector=tier", &["a", "b"]),
        ("labelSelector=!tier", &["c"]),
        ("labelSelector=tier,tier!%3Ddb", &["a"]),
        ("fieldSelector=metadata.name=b", &["b"]),
        ("fieldSelector=metadata.name!%3Db", &["a", "c"]),
    ] {
        assert_eq!(select(query), expected, "{query}");
    }
}

#[test]
fn tables_have_upstreams_columns() {
    let cluster = cluster!();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (path, expected) in [
        (
            "/api/v1/nodes",
            &[
                "Name",
                "Status",
                "Roles",
                "Age",
                "Version",
                "Internal-IP",
                "External-IP",
                "OS-Image",
                "Kernel-Version",
                "Container-Runtime",
            ][..],
        ),
        (
            "/api/v1/pods",
            &["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"],
        ),
        ("/api/v1/services", &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector"]),
        (
            "/apis/apps/v1/deployments",
            &["Name", "Ready", "Up-to-date", "Available", "Age", "Containers", "Images", "Selector"],
        ),
        ("/api/v1/configmaps", &["Name", "Data", "Age"]),
        ("/api/v1/namespaces", &["Name", "Status", "Age"]),
    ] {
        let answer = cluster.api().get_as(path, table).ok();
        assert_eq!(answer["kind"], "Table");
        let columns: Vec<&str> = answer["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        assert_eq!(columns, expected, "{path}");
    }
    let metadata =
        cluster.api().get_as("/api/v1/nodes", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let metadata = metadata.ok();
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert!(metadata["items"][0].get("spec").is_none());
}

#[test]
fn yaml_is_spoken() {
    let cluster = cluster!();
    let namespace = cluster.namespace("yaml");
    let request = http::Request::post(namespace.path("configmaps")).header("content-type", "application/yaml");
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: \"1\"\n";
    namespace.api.send(request.body(body.as_bytes().to_vec()).unwrap()).ok();
    let answer = namespace.api.get_as(&namespace.path("configmaps/a"), "application/yaml");
    assert!(answer.content_type.starts_with("application/yaml"));
    assert!(answer.text.contains("name: a\n"), "{}", answer.text);
}

#[test]
fn discovery_is_complete_in_both_forms() {
    let cluster = cluster!();
    let aggregated =
        cluster.api().get_as("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").ok();
    assert_eq!(aggregated["kind"], "APIGroupDiscoveryList");
    let groups = cluster.api().get("/apis").ok();
    assert_eq!(groups["kind"], "APIGroupList");
    let mut legacy: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    let mut new: Vec<&str> = aggregated["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["metadata"]["name"].as_str().unwrap())
        .collect();
    legacy.sort_unstable();
    new.sort_unstable();
    assert_eq!(legacy, new);
    for group in
        ["apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io", "storage.k8s.io", "policy", "autoscaling"]
    {
        assert!(legacy.contains(&group), "{group} is missing");
    }
    let core = cluster.api().get("/api/v1").ok();
    let resources: Vec<&str> =
        core["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    for resource in [
        "pods",
        "pods/log",
        "pods/exec",
        "pods/attach",
        "pods/portforward",
        "pods/eviction",
        "pods/binding",
        "services",
        "serviceaccounts/token",
        "replicationcontrollers/scale",
    ] {
        assert!(resources.contains(&resource), "{resource} is missing");
    }
    assert_eq!(cluster.api().get("/version").ok()["minor"], "35");
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(cluster.api().get_as(path, "*/*").text, "ok", "{path}");
    }
    assert!(cluster.api().get_as("/readyz?verbose", "*/*").text.contains("[+]ping ok"));
    assert!(cluster.api().get_as("/metrics", "*/*").text.contains("apiserver_request_total"));
    assert!(cluster.api().get("/openapi/v2").ok()["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    assert!(cluster.api().get("/openapi/v3").ok()["paths"]["apis/apps/v1"].is_object());
}

#[test]
fn the_crate_kube_works_unchanged() {
    use kube::api::{Api as Typed, DeleteParams, ListParams, Patch, PatchParams, PostParams};
    let cluster = cluster!();
    let namespace = cluster.namespace("kube");
    let api: Typed<k8s_openapi::api::core::v1::ConfigMap> = Typed::namespaced(cluster.api().kube(), "kube");
    cluster.api().wait(async {
        let object = serde_json::from_value(config_map("a", json!({"x": "y"}))).unwrap();
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        assert_eq!(made.data.unwrap()["k"], "v");
        let patch = Patch::Merge(json!({"data": {"k": "w"}}));
        let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(patched.data.unwrap()["k"], "w");
        assert_eq!(api.list(&ListParams::default().labels("x=y")).await.unwrap().items.len(), 1);
        api.delete("a", &DeleteParams::default()).await.unwrap();
        assert!(api.get_opt("a").await.unwrap().is_none());
    });
    drop(namespace);
}
