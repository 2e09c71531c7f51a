//! Changes and deletions.

use serde_json::json;

use crate::{Api, held};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn no_patch_makes_another_kind_of_an_object() {
    let api = Api::new().await;
    api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    let path = format!("{MAPS}/a");
    for patch in [json!({"kind": null, "apiVersion": null}), json!({"kind": "Pod", "apiVersion": "foo/v9"})] {
        for kind in ["merge-patch", "strategic-merge-patch"] {
            let answer = api.patch(kind, &path, &patch).await;
            assert_eq!(answer.status, 422, "{kind} {patch}: {}", answer.text);
        }
    }
    let answer = api.patch("json-patch", &path, &json!([{"op": "remove", "path": "/kind"}])).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    let stored = api.get(&path).await.ok();
    assert_eq!((&stored["kind"], &stored["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    api.put(&path, &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}})).await.refused(
        400,
        "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion",
    );
    // What says no kind is of the endpoint's.
    api.put(&path, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.ok();
}

#[tokio::test]
async fn a_deletion_is_answered_as_the_kind_is() {
    let api = Api::new().await;
    let services = "/api/v1/namespaces/default/services";
    api.post(services, &json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})).await.ok();
    assert_eq!(api.delete(&format!("{services}/a")).await.ok()["kind"], "Service");
    api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    let answer = api.delete(&format!("{MAPS}/a")).await;
    assert!(answer.text.starts_with(r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success""#));
    assert!(answer.text.ends_with("}\n"), "{:?}", answer.text);
}

#[tokio::test]
async fn a_version_that_is_no_number_does_not_keep_an_object_from_being_made() {
    let api = Api::new().await;
    api.post(MAPS, &json!({"metadata": {"name": "a", "resourceVersion": "v1"}})).await.ok();
    api.post(MAPS, &json!({"metadata": {"name": "b", "resourceVersion": "0"}})).await.ok();
    api.post(MAPS, &json!({"metadata": {"name": "c", "resourceVersion": "7"}}))
        .await
        .refused(400, "resourceVersion should not be set on objects to be created");
}

#[tokio::test]
async fn a_subresource_changes_what_is_its_own() {
    let api = Api::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    api.post(pods, &json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}))
        .await
        .ok();
    let container = |name: &str, command: &str| json!({"name": name, "image": "i:1", "command": [command]});
    let patch = json!({"spec": {"containers": [{"name": "c", "image": "evil:1"}], "ephemeralContainers": [container("e", "a")]},
        "status": {"phase": "Failed"}});
    let pod = api.patch("strategic-merge-patch", &format!("{pods}/a/ephemeralcontainers"), &patch).await.ok();
    assert_eq!(pod["spec"]["containers"][0]["image"], "i:1");
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["name"], "e");
    assert_eq!(pod["status"]["phase"], "Pending");
    let patch = json!({"spec": {"ephemeralContainers": [container("e", "b")]}});
    let answer = api.patch("strategic-merge-patch", &format!("{pods}/a/ephemeralcontainers"), &patch).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    let patch = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "20m"}}}]}});
    api.patch("strategic-merge-patch", &format!("{pods}/a/resize"), &patch).await.refused(
        422,
        "Pod \"a\" is invalid: spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
    );
}

#[tokio::test]
async fn an_event_always_has_its_time_if_only_as_null() {
    let api = Api::new().await;
    let about = json!({"kind": "Pod", "name": "p", "namespace": "default"});
    let event = json!({"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "type": "Normal"});
    api.post("/api/v1/namespaces/default/events", &event).await.ok();
    for path in ["/api/v1/namespaces/default/events/e", "/apis/events.k8s.io/v1/namespaces/default/events/e"] {
        let event = api.get(path).await.ok();
        assert_eq!(event.as_object().unwrap().get("eventTime"), Some(&serde_json::Value::Null), "{event}");
    }
    let changed = api.patch("merge-patch", "/api/v1/namespaces/default/events/e", &json!({"count": 2})).await.ok();
    assert_eq!(changed.as_object().unwrap().get("eventTime"), Some(&serde_json::Value::Null), "{changed}");
    let protobuf = api.get_as("/api/v1/namespaces/default/events/e", "application/vnd.kubernetes.protobuf").await;
    assert_eq!(protobuf.status, 200);
}

#[tokio::test]
async fn an_event_that_repeats_is_forgotten_all_the_same() {
    let api = Api::new().await;
    if api.store.settled_revision().is_none() {
        // Only the store itself knows when that is.
        return;
    }
    let events = "/api/v1/namespaces/default/events";
    let about = json!({"kind": "Pod", "namespace": "default", "name": "p"});
    api.post(events, &json!({"metadata": {"name": "e"}, "involvedObject": about, "count": 1})).await.ok();
    let expires = async || {
        let kept = api.store.get("/registry/events/default/e", None).await.expect("it is read").expect("it is there");
        kept.expires()
    };
    let first = expires().await.expect("it ends");
    api.patch("strategic-merge-patch", &format!("{events}/e"), &json!({"count": 2})).await.ok();
    assert!(expires().await.expect("it still ends") >= first);
    // A core Event is the same object as one of its own group.
    let path = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    api.patch("merge-patch", path, &json!({"deprecatedCount": 3})).await.ok();
    assert!(expires().await.is_some());
}

/// The largest number that a client can write.
const EVER: i64 = i64::MAX;

#[tokio::test]
async fn times_that_no_clock_reaches_are_long_and_break_nothing() {
    let api = Api::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, spec: serde_json::Value| {
        let mut spec = spec;
        spec["containers"] = json!([{"name": "c", "image": "i:1"}]);
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let toleration = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": EVER});
    let specs = [json!({"terminationGracePeriodSeconds": EVER}), json!({"tolerations": [toleration]}), json!({})];
    for (name, spec) in ["grace", "toleration", "asked"].into_iter().zip(specs) {
        api.post(pods, &pod(name, spec)).await.ok();
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
        api.post(&format!("{pods}/{name}/binding"), &binding).await.ok();
    }
    let deleted = api.delete(&format!("{pods}/grace")).await.ok();
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], EVER);
    assert!(deleted["metadata"]["deletionTimestamp"].as_str().is_some_and(|time| time.starts_with("9999-12-")));
    let deleted = api.delete(&format!("{pods}/asked?gracePeriodSeconds={EVER}")).await.ok();
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], EVER);
    // A second deletion with a shorter time is possible all the same.
    let deleted = api.delete(&format!("{pods}/asked?gracePeriodSeconds=7")).await.ok();
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 7);
    let collection = api.delete(&format!("{pods}?gracePeriodSeconds={EVER}")).await.ok();
    assert_eq!(collection["items"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_put_that_makes_an_object_replaces_the_one_that_came_first() {
    let (api, held) = held::api().await;
    let path = "/api/v1/namespaces/default/endpoints/e";
    let endpoints = |label: &str| json!({"metadata": {"name": "e", "labels": {"put": label}}});
    held.hold();
    let (late, second) = (api.clone(), endpoints("second"));
    let task = tokio::spawn(async move { late.put(path, &second).await });
    held.holds().await;
    let first = api.put(path, &endpoints("first")).await;
    assert_eq!(first.status, 201);
    held.release().await;
    let second = task.await.expect("an answer");
    assert_eq!(second.status, 200, "{}", second.text);
    assert_eq!(second.json()["metadata"]["uid"], first.json()["metadata"]["uid"]);
    assert_eq!(api.get(path).await.ok()["metadata"]["labels"]["put"], "second");
}

#[tokio::test]
async fn a_dry_run_of_very_many_deletions_lets_others_go_on() {
    let api = Api::new().await;
    let maps: Vec<_> = (0..700).map(|number| json!({"metadata": {"name": format!("m{number}")}})).collect();
    for few in maps.chunks(50) {
        let made = futures::future::join_all(few.iter().map(|map| api.post(MAPS, map))).await;
        made.iter().for_each(|answer| drop(answer.ok()));
    }
    let path = format!("{MAPS}?dryRun=All");
    let mut turns = 0;
    let others = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let deleted = tokio::select! {
        () = others => unreachable!("it has no end"),
        answer = api.delete(&path) => answer.ok(),
    };
    assert!(deleted["items"].as_array().is_some_and(|items| items.len() >= 700));
    assert!(turns >= 5, "others had {turns} turns");
    assert_eq!(api.get(&format!("{MAPS}/m0")).await.status, 200);
}

#[tokio::test]
async fn what_depends_on_controllers_and_jobs_stays_unless_their_deletion_says_otherwise() {
    let api = Api::new().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = json!({"metadata": {"name": "a"}, "spec": {"template": template}});
    let mut template = template;
    template["spec"]["restartPolicy"] = "Always".into();
    let controller = json!({"metadata": {"name": "a"}, "spec": {"template": template, "replicas": 0}});
    let set =
        json!({"metadata": {"name": "a"}, "spec": {"template": template, "selector": {"matchLabels": {"a": "b"}}}});
    let [v1, apps, batch] =
        ["/api/v1", "/apis/apps/v1", "/apis/batch/v1"].map(|group| format!("{group}/namespaces/default"));
    let warning = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
    for (path, object, orphans, warnings) in [
        (format!("{v1}/replicationcontrollers"), controller, true, vec![]),
        (format!("{batch}/jobs"), job, true, vec![warning]),
        (format!("{apps}/replicasets"), set, false, vec![]),
    ] {
        let object_path = format!("{path}/a");
        for (query, orphans, warnings) in [
            ("", orphans, warnings),
            ("?propagationPolicy=Orphan", true, vec![]),
            ("?propagationPolicy=Background", false, vec![]),
            ("?orphanDependents=false", false, vec![]),
        ] {
            api.post(&path, &object).await.ok();
            let deleted = api.delete(&format!("{object_path}{query}")).await;
            assert_eq!(deleted.warnings(), warnings, "{path}{query}");
            let finalizers = deleted.ok()["metadata"]["finalizers"].clone();
            assert_eq!(finalizers == json!(["orphan"]), orphans, "{path}{query}: {finalizers}");
            if orphans {
                api.patch("merge-patch", &object_path, &json!({"metadata": {"finalizers": null}})).await.ok();
            }
            assert_eq!(api.get(&object_path).await.status, 404);
        }
        // The object says it itself.
        let mut held = object.clone();
        held["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        api.post(&path, &held).await.ok();
        let deleted = api.delete(&object_path).await.ok();
        assert_eq!(deleted["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    }
}
