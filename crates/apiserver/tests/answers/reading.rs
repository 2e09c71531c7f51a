//! How objects are shown, and which questions are refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Api;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn deployment(api: &Api) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    api.post(DEPLOYMENTS, &json!({"metadata": {"name": "d"}, "spec": spec})).await.ok()
}

#[tokio::test]
async fn tables_and_metadata_say_the_version_that_was_asked_for() {
    let api = Api::new().await;
    for version in ["v1", "v1beta1"] {
        let accept = |kind: &str| format!("application/json;as={kind};v={version};g=meta.k8s.io");
        let table = api.get_as("/api/v1/namespaces", &accept("Table")).await.ok();
        assert_eq!(table["apiVersion"], format!("meta.k8s.io/{version}"));
        assert_eq!(table["rows"][0]["object"]["apiVersion"], format!("meta.k8s.io/{version}"));
        let list = api.get_as("/api/v1/namespaces", &accept("PartialObjectMetadataList")).await.ok();
        assert_eq!(list["apiVersion"], format!("meta.k8s.io/{version}"));
        assert_eq!(list["items"][0]["apiVersion"], format!("meta.k8s.io/{version}"));
    }
}

#[tokio::test]
async fn a_scale_has_a_table_of_its_own() {
    let api = Api::new().await;
    deployment(&api).await;
    let table =
        api.get_as(&format!("{DEPLOYMENTS}/d/scale"), "application/json;as=Table;v=v1;g=meta.k8s.io").await.ok();
    let names: Vec<&Value> = table["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("d"), json!(3), json!(0)]);
}

#[tokio::test]
async fn new_objects_have_the_status_that_clients_count_on() {
    let api = Api::new().await;
    assert_eq!(deployment(&api).await["status"], json!({}));
    let backend = json!({"service": {"name": "x", "port": {"number": 1}}});
    let made = async |path: &str, spec: Value| {
        api.post(path, &json!({"metadata": {"name": "a"}, "spec": spec})).await.ok()["status"].clone()
    };
    let ingress =
        made("/apis/networking.k8s.io/v1/namespaces/default/ingresses", json!({"defaultBackend": backend})).await;
    assert_eq!(ingress, json!({"loadBalancer": {}}));
    let budget = made("/apis/policy/v1/namespaces/default/poddisruptionbudgets", json!({"minAvailable": 1})).await;
    assert_eq!(budget, json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}));
    let scaler =
        json!({"maxReplicas": 1, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
    let v2 = made("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", scaler).await;
    assert_eq!(v2, json!({"currentMetrics": null, "desiredReplicas": 0}));
    let v1 = api.get("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/a").await.ok();
    assert_eq!(v1["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}});
    let run = json!({"schedule": "1 1 1 1 1", "jobTemplate": {"spec": {"template": template}}});
    let volume = json!({"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}});
    for (path, spec, status) in [
        ("/apis/batch/v1/namespaces/default/jobs", json!({"template": template}), json!({})),
        ("/apis/batch/v1/namespaces/default/cronjobs", run, json!({})),
        ("/api/v1/namespaces/default/resourcequotas", json!({"hard": {"pods": "9"}}), json!({})),
        ("/apis/storage.k8s.io/v1/volumeattachments", volume, json!({"attached": false})),
        ("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", json!({"devices": {}}), json!({})),
        ("/apis/networking.k8s.io/v1/servicecidrs", json!({"cidrs": ["10.77.0.0/24"]}), json!({})),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
            json!({"priorityLevelConfiguration": {"name": "exempt"}}),
            json!({}),
        ),
    ] {
        assert_eq!(made(path, spec).await, status, "{path}");
    }
    let node = api.post("/api/v1/nodes", &json!({"metadata": {"name": "a"}})).await.ok();
    assert_eq!(node["status"]["daemonEndpoints"], json!({"kubeletEndpoint": {"Port": 0}}));
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "");
}

#[tokio::test]
async fn a_container_always_has_a_last_state() {
    let api = Api::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    api.post(pods, &json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}))
        .await
        .ok();
    let status = json!({"status": {"containerStatuses": [{"name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0}]}});
    let pod = api.patch("merge-patch", &format!("{pods}/p/status"), &status).await.ok();
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"], json!({}));
}

#[tokio::test]
async fn options_that_do_not_fit_each_other_are_refused() {
    let api = Api::new().await;
    let invalid =
        |why: &str| format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: {why}");
    api.get("/api/v1/pods?resourceVersionMatch=Exact")
        .await
        .refused(422, &invalid("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    api.get("/api/v1/pods?resourceVersionMatch=Exact&resourceVersion=0")
        .await
        .refused(422, &invalid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
    api.get("/api/v1/pods?watch=1&sendInitialEvents=true")
        .await
        .refused(422, &invalid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    for (path, why) in [
        (
            "/api/v1/pods?resourceVersion=1&resourceVersionMatch=Exact&continue=x",
            "resourceVersionMatch is forbidden when continue is provided",
        ),
        (
            "/api/v1/pods?watch=1&resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x",
            "resourceVersionMatch is forbidden when continue is provided",
        ),
    ] {
        api.get(path).await.refused(422, &invalid(why));
    }
    let forbidden = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
    api.get("/api/v1/pods?sendInitialEvents=true").await.refused(422, forbidden);
    api.delete("/api/v1/namespaces/default/pods?sendInitialEvents=true").await.refused(422, forbidden);
    for path in ["/api/v1/pods?resourceVersion=-1", "/api/v1/pods?watch=1&resourceVersion=-1"] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn pages_of_a_revision_are_of_that_revision() {
    let api = Api::new().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let made = api.post(maps, &json!({"metadata": {"name": "a"}})).await.ok();
    api.post(maps, &json!({"metadata": {"name": "b"}})).await.ok();
    let revision = made["metadata"]["resourceVersion"].as_str().expect("a revision");
    let names = async |query: &str| -> Vec<String> {
        let list = api.get(&format!("{maps}?resourceVersion={revision}{query}")).await.ok();
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("&limit=5").await, ["a"]);
    assert_eq!(names("&limit=5&resourceVersionMatch=NotOlderThan").await, ["a", "b"]);
    assert_eq!(names("").await, ["a", "b"]);
}

#[tokio::test]
async fn large_lists_are_compressed_for_those_who_take_it() {
    let api = Api::new().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b"] {
        api.post(maps, &json!({"metadata": {"name": name}, "data": {"k": "x".repeat(100_000)}})).await.ok();
    }
    let gzip = [("accept-encoding", "gzip")];
    let large = api.call(http::Method::GET, maps, &gzip, String::new()).await;
    assert_eq!(
        (&large.headers["content-encoding"], large.headers.contains_key("content-length")),
        (&"gzip".parse().expect("a value"), false)
    );
    assert!(large.text.len() < 20_000);
    let small = api.call(http::Method::GET, &format!("{maps}/a"), &gzip, String::new()).await;
    assert!(!small.headers.contains_key("content-encoding"));
    assert!(!api.get(maps).await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn people_are_shown_lines() {
    let api = Api::new().await;
    let path = "/api/v1/namespaces/default";
    assert!(api.get(&format!("{path}?pretty=true")).await.text.starts_with("{\n  \"apiVersion\": \"v1\""));
    let curl = [("user-agent", "curl/8.0")];
    let by = async |path: &str| api.call(http::Method::GET, path, &curl, String::new()).await.text;
    assert!(by(path).await.starts_with("{\n"));
    assert!(by("/api/v1/namespaces").await.starts_with("{\n"));
    assert!(!by(&format!("{path}?pretty=false")).await.starts_with("{\n"));
    assert!(!api.get(path).await.text.starts_with("{\n"));
}

#[tokio::test]
async fn a_watch_lasts_as_long_as_any_number_says() {
    let api = Api::new().await;
    for seconds in [i64::MAX, 1, 0] {
        let path = format!("/api/v1/namespaces?watch=1&timeoutSeconds={seconds}&fieldSelector=metadata.name%3Ddefault");
        let event = api.first_event(&path).await;
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&"ADDED".into(), &"default".into()));
    }
    // Whose time is over before it begins ends at once, as upstream's.
    for wish in ["watch=2&timeoutSeconds=-1", "watch=&timeoutSeconds=-9223372036854775808&resourceVersion=1"] {
        let answer = api.get(&format!("/api/v1/namespaces?{wish}")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{wish}");
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_shares_the_bytes_of_the_cache() {
    let api = Api::new().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let large = "x".repeat(1_000_000);
    api.post(maps, &json!({"metadata": {"name": "a"}, "data": {"k": large}})).await.ok();
    for accept in ["application/json", "application/vnd.kubernetes.protobuf;stream=watch"] {
        let first = api.pieces(&format!("{maps}?watch=1"), accept, 2).await;
        let second = api.pieces(&format!("{maps}?watch=1"), accept, 2).await;
        let shared = |piece: &bytes::Bytes| second.iter().any(|other| other.as_ptr() == piece.as_ptr());
        assert!(first.iter().any(|piece| piece.len() > 900_000 && shared(piece)), "{accept}");
    }
}

#[tokio::test]
async fn people_are_shown_refusals_in_lines_too() {
    let api = Api::new().await;
    let path = "/api/v1/namespaces/default/services/x";
    let curl = [("user-agent", "curl/8.0")];
    let shown = api.call(http::Method::GET, path, &curl, String::new()).await.text;
    let start =
        "{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {},\n  \"status\": \"Failure\",\n";
    assert!(shown.starts_with(start), "{shown}");
    assert!(shown.ends_with("\"code\": 404\n}"), "{shown}");
    assert!(api.get(path).await.text.starts_with("{\"kind\":\"Status\""));
}

#[tokio::test]
async fn metrics_are_in_the_text_format_of_prometheus() {
    let api = Api::new().await;
    let page = api.get("/metrics").await;
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(page.text.contains("# TYPE apiserver_request_total counter\n"), "{}", page.text);
    assert!(page.text.contains("\napiserver_request_total{"), "{}", page.text);
    assert!(page.text.contains("# TYPE apiserver_request_duration_seconds histogram\n"), "{}", page.text);
    assert!(!page.text.contains("# EOF"), "{}", page.text);
}

#[tokio::test]
async fn an_escaped_slash_leads_to_no_object() {
    let api = Api::new().await;
    for path in ["/api/v1/configmaps/kube-system%2Fkube-root-ca.crt", "/api/v1/namespaces/a%2Fb/configmaps/c"] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text.contains("the server could not find the requested resource"), "{path}: {}", answer.text);
    }
}

/// Who watches one node, name or namespace sleeps through what others write, but not its bookmarks.
#[tokio::test]
async fn bookmarks_of_a_watch_of_a_part_tell_how_far_everything_is() {
    let api = Api::new().await;
    let of = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods");
    for namespace in ["quiet", "busy"] {
        api.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await.ok();
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        api.post(&account, &json!({"metadata": {"name": "default"}})).await.ok();
    }
    let pod = |name: &str, node: &str| json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
    let first = api.post(&of("quiet"), &pod("q", "far")).await.ok();
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().expect("a version").parse::<u64>();
    let begun = version(&first).expect("a number");
    let options = format!("watch=true&allowWatchBookmarks=true&resourceVersion={begun}");
    let watches = [
        format!("{}?{options}", of("quiet")),
        format!("{}?fieldSelector=metadata.name%3Dq&{options}", of("quiet")),
        format!("/api/v1/pods?fieldSelector=spec.nodeName%3Dfar&{options}"),
    ];
    let api_ref = &api;
    let ended = watches.iter().map(|watch| async move { api_ref.get(&format!("{watch}&timeoutSeconds=2")).await.text });
    let writes = async {
        let mut last = 0;
        for number in 0..20 {
            let made = api.post(&of("busy"), &pod(&format!("b{number}"), "near")).await.ok();
            last = version(&made).expect("a number");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        last
    };
    let (ended, last) = tokio::join!(futures::future::join_all(ended), writes);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = api.patch("merge-patch", &format!("{}/q", of("quiet")), &labels).await.ok();
    let changed = version(&changed).expect("a number");
    for (watch, text) in watches.iter().zip(ended) {
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        let [bookmark] = events.as_slice() else { panic!("{watch}: {text}") };
        assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("Pod")), "{watch}");
        let told = version(&bookmark["object"]).expect("a number");
        assert!(told >= last && told < changed, "{watch}: {told}, and {last} was written");
        // Who goes on from there misses nothing and sees nothing twice.
        let again = watch.replace(&format!("resourceVersion={begun}"), &format!("resourceVersion={told}"));
        let event = api.first_event(&again).await;
        assert_eq!((&event["type"], version(&event["object"])), (&json!("MODIFIED"), Ok(changed)), "{watch}");
    }
}
