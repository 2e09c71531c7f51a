//! The audit log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle_apiserver::audit::{Backend, Mode, Options, Rotation, Target, Webhook};
use coracle_apiserver::auth::User;
use http::Method;
use serde_json::{Value, json};

use crate::other_server::OtherServer;
use crate::{Api, connections};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server that writes an audit log by a policy.
struct Audited {
    api: Api,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

impl Audited {
    async fn by(rules: &str) -> Audited {
        Audited::to(rules, Mode::Blocking, |dir| dir.join("audit.log")).await
    }

    async fn to(rules: &str, mode: Mode, log: impl FnOnce(&Path) -> PathBuf) -> Audited {
        let dir = tempfile::tempdir().expect("a directory");
        let (policy, log) = (dir.path().join("policy.yaml"), log(dir.path()));
        std::fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).expect("a file");
        let rotation = Rotation { max_size: 100 << 20, max_backups: 0, max_age: Default::default(), compress: false };
        let backend = Backend { target: Target::File(log.clone(), rotation), mode, buffer: 100 };
        let audit = Options { policy: Some(policy), backends: vec![backend] };
        let api = Api::with(|config| config.audit = audit).await;
        Audited { api, log, _dir: dir }
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Waits for an entry that nobody else waits for.
    async fn reaches(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            if self.events().len() >= count {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.events()
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test]
async fn a_request_is_written_down_as_it_comes_and_as_it_ends() {
    let audited = Audited::by("rules: [{level: RequestResponse, resources: [{resources: [configmaps]}]}]").await;
    let body = serde_json::to_string_pretty(&map("a")).expect("JSON");
    let headers = [
        ("audit-id", "mine"),
        ("user-agent", "test/1"),
        ("x-forwarded-for", "192.0.2.7"),
        ("content-type", "application/json"),
    ];
    let made = audited.api.call(Method::POST, MAPS, &headers, body).await;
    made.ok();
    assert_eq!(made.headers["audit-id"], "mine");
    audited.api.get("/api/v1/namespaces/default/secrets").await.ok();
    let events = audited.events();
    assert_eq!(events.len(), 2, "{events:#?}");
    for (event, stage) in events.iter().zip(["RequestReceived", "ResponseComplete"]) {
        assert_eq!((&event["kind"], &event["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
        assert_eq!((&event["level"], &event["stage"]), (&json!("RequestResponse"), &json!(stage)));
        assert_eq!(
            (&event["auditID"], &event["verb"], &event["requestURI"]),
            (&json!("mine"), &json!("create"), &json!(MAPS))
        );
        assert_eq!(event["user"], json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]}));
        assert_eq!((&event["sourceIPs"], &event["userAgent"]), (&json!(["192.0.2.7"]), &json!("test/1")));
        assert_eq!(event["requestReceivedTimestamp"], events[0]["requestReceivedTimestamp"]);
        assert_eq!(event["stageTimestamp"].as_str().map(str::len), Some("2024-05-01T10:00:00.000000Z".len()));
    }
    let [first, last] = &events[..] else { panic!("{events:#?}") };
    let mut reference = json!({"resource": "configmaps", "namespace": "default", "apiVersion": "v1"});
    assert_eq!((&first["objectRef"], &first["responseStatus"]), (&reference, &Value::Null));
    reference["name"] = "a".into();
    assert_eq!((&last["objectRef"], &last["responseStatus"]), (&reference, &json!({"metadata": {}, "code": 201})));
    assert_eq!((&last["requestObject"], &last["responseObject"]), (&map("a"), &made.json()));
    assert_eq!(last["annotations"]["authorization.k8s.io/decision"], "allow");
}

#[tokio::test]
async fn a_request_by_a_socket_is_written_down_with_its_address_and_certificate() {
    let audited =
        Audited::by("omitStages: [RequestReceived]\nrules: [{level: Metadata, resources: [{resources: [pods]}]}]")
            .await;
    let address = connections::listen(&audited.api).await;
    assert_eq!(connections::list_pods(&audited.api, address).await, 200);
    let event = &audited.events()[0];
    assert_eq!((&event["sourceIPs"], &event["user"]["username"]), (&json!(["127.0.0.1"]), &json!("admin")));
    let credential = &event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(credential.as_str().is_some_and(|id| id.starts_with("X509SHA256=")), "{credential}");
    assert_eq!(event["objectRef"], json!({"resource": "pods", "apiVersion": "v1"}));
}

#[tokio::test]
async fn a_refusal_says_why_at_every_level() {
    let audited = Audited::by("omitStages: [RequestReceived]\nrules: [{level: Metadata}]").await;
    let joe = || User::new("joe", &[]);
    audited.api.call_by(joe(), Method::GET, MAPS, &[], String::new()).await;
    audited.api.get(&format!("{MAPS}/none")).await;
    let events = audited.events();
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(events[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[0]["responseStatus"]["reason"], "Forbidden");
    let status = json!({"metadata": {}, "status": "Failure", "message": "configmaps \"none\" not found", "reason": "NotFound",
        "details": {"name": "none", "kind": "configmaps"}, "code": 404});
    assert_eq!((&events[1]["responseStatus"], &events[1]["responseObject"]), (&status, &Value::Null));
}

#[tokio::test]
async fn whoever_acts_as_another_is_written_down_with_both_names() {
    let audited = Audited::by("omitStages: [RequestReceived]\nrules: [{level: Metadata, verbs: [list]}]").await;
    audited.api.call(Method::GET, MAPS, &[("impersonate-user", "jane")], String::new()).await;
    let event = &audited.events()[0];
    assert_eq!((&event["user"]["username"], &event["impersonatedUser"]["username"]), (&json!("admin"), &json!("jane")));
    let unknown = audited.api.call(Method::GET, MAPS, &[("authorization", "Bearer x")], String::new()).await;
    assert_eq!(unknown.status, 401);
    let event = &audited.events()[1];
    assert_eq!((&event["stage"], &event["responseStatus"]["code"]), (&json!("ResponseStarted"), &json!(401)));
    assert_eq!(event["responseStatus"]["message"], "Authentication failed, attempted: bearer, x509");
    assert_eq!((&event["user"], &event["impersonatedUser"]), (&json!({}), &Value::Null));
}

#[tokio::test]
async fn a_watch_is_written_down_when_it_starts_and_when_it_ends() {
    let audited = Audited::by("rules: [{level: RequestResponse, verbs: [watch]}]").await;
    audited.api.post(MAPS, &map("a")).await.ok();
    audited.api.first_event(&format!("{MAPS}?watch=1")).await;
    let events = audited.reaches(3).await;
    let stages: Vec<&Value> = events.iter().map(|event| &event["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert!(events.iter().skip(1).all(|event| event["responseStatus"] == json!({"metadata": {}, "code": 200})));
    // A client that leaves before it has an answer.
    audited.api.get(&format!("{MAPS}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(audited.reaches(6).await.len(), 6);
}

#[tokio::test]
async fn what_is_written_down_is_json_whatever_the_client_reads() {
    let audited = Audited::by("omitManagedFields: true\nomitStages: [RequestReceived]\nrules: [{level: RequestResponse, verbs: [get, list, patch]}]").await;
    audited.api.post(MAPS, &map("a")).await.ok();
    let path = format!("{MAPS}/a");
    for (path, accept) in [
        (&*path, "application/vnd.kubernetes.protobuf"),
        (MAPS, "application/vnd.kubernetes.protobuf"),
        (&path, "application/yaml"),
    ] {
        let got = audited.api.get_as(path, accept).await;
        assert_eq!((got.status.as_u16(), got.headers["content-type"].to_str().ok()), (200, Some(accept)), "{path}");
    }
    let missing = audited.api.get_as(&format!("{MAPS}/none"), "application/yaml").await;
    assert_eq!(missing.headers["content-type"], "application/yaml");
    let apply = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a},\n data: {k: w}}".to_owned();
    let headers = [("content-type", "application/apply-patch+yaml")];
    audited.api.call(Method::PATCH, &format!("{path}?fieldManager=t&force=true"), &headers, apply).await.ok();
    let events = audited.events();
    assert_eq!(events.len(), 5);
    assert_eq!(events[0]["responseObject"]["data"]["k"], "v");
    assert_eq!(events[0]["responseObject"]["metadata"]["managedFields"], Value::Null);
    assert_eq!(events[1]["responseObject"]["kind"], "ConfigMapList");
    assert_eq!(events[3]["responseObject"]["reason"], "NotFound");
    assert_eq!(events[4]["requestObject"]["data"]["k"], "w");
    assert_eq!(events[4]["responseObject"]["data"]["k"], "w");
}

#[tokio::test]
async fn nothing_that_a_client_sends_begins_a_line_of_its_own() {
    let audited = Audited::by("rules: [{level: RequestResponse}]").await;
    let before = audited.events().len();
    let long = "u".repeat(5000);
    let headers = [("user-agent", long.as_str()), ("audit-id", long.as_str()), ("content-type", "application/json")];
    audited.api.call(Method::POST, MAPS, &headers, "{\n\"kind\":\n\"x\\n{}\"}".into()).await;
    audited.api.call(Method::POST, MAPS, &headers, "\n{}\n\n{\"kind\":\"Event\"}\n".into()).await;
    let events = audited.events();
    assert_eq!(events.len() - before, 4);
    let last = &events[events.len() - 1];
    assert_eq!(last["auditID"].as_str().map(str::len), Some(64));
    assert!(last["userAgent"].as_str().is_some_and(|agent| agent.len() == 1024 && agent.ends_with("...TRUNCATED")));
}

#[tokio::test]
async fn a_full_disk_refuses_requests_only_where_that_is_wanted() {
    let full = |_: &Path| PathBuf::from("/dev/full");
    let lenient = Audited::to("rules: [{level: Metadata, verbs: [list]}]", Mode::Blocking, full).await;
    lenient.api.get(MAPS).await.ok();
    let strict = Audited::to("rules: [{level: Metadata, verbs: [list]}]", Mode::BlockingStrict, full).await;
    strict.api.get(MAPS).await.refused(500, "Internal error occurred: failed to store audit event");
    let metrics = strict.api.get("/metrics").await.text;
    assert!(metrics.contains("apiserver_audit_requests_rejected_total 1"), "{metrics}");
    assert!(metrics.contains("apiserver_audit_error_total{plugin=\"log\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_flood_is_written_down_whole_where_requests_wait() {
    let audited = Audited::by(
        "omitStages: [RequestReceived]\nrules: [{level: Metadata, verbs: [get], resources: [{group: ''}]}]",
    )
    .await;
    let path = "/api/v1/namespaces/default";
    let requests = (0..200).map(|_| audited.api.get(path));
    let answers = futures::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status.is_success()));
    assert_eq!(audited.events().len(), 200);
}

#[tokio::test]
async fn what_is_applied_is_written_down_whatever_form_of_json_it_has() {
    let audited = Audited::by("omitStages: [RequestReceived]\nrules: [{level: Request}]").await;
    let body = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "x"}, "data": {"k": "v"}}"#;
    let path = "/api/v1/namespaces/default/configmaps/a?fieldManager=m";
    let headers = [("content-type", "application/apply-patch+yaml")];
    audited.api.call_by(User::new("admin", &["system:masters"]), Method::PATCH, path, &headers, body.into()).await.ok();
    let events = audited.events();
    let last = events.last().expect("an entry");
    assert_eq!(last["requestObject"]["data"], json!({"k": "v"}), "{last}");
}

/// A server that sends what its audit policy wants to another.
async fn sends_to(server: &OtherServer, mode: Mode) -> (Api, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = dir.path().join("policy.yaml");
    let rules = "omitStages: [RequestReceived]\nrules: [{level: Metadata, verbs: [list], resources: [{group: ''}]}]";
    std::fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).expect("a file");
    let webhook = Webhook {
        file: server.kubeconfig("/audit"),
        initial_backoff: Duration::from_millis(20),
        max_size: 10,
        max_wait: Duration::from_millis(200),
        throttle: None,
    };
    let backend = Backend { target: Target::Webhook(webhook), mode, buffer: 100 };
    let audit = Options { policy: Some(policy), backends: vec![backend] };
    (Api::with(|config| config.audit = audit).await, dir)
}

#[tokio::test]
async fn another_server_is_sent_entries_together_and_again_if_it_fails() {
    let failures = AtomicUsize::new(2);
    let answer = move |_: &str, _: &Value| {
        let fails = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        (if fails { String::new() } else { "ok".to_owned() }, 0)
    };
    let server = OtherServer::serve(Arc::new(answer)).await;
    let (api, _dir) = sends_to(&server, Mode::Batch).await;
    let lists = futures::future::join_all((0..15).map(|_| api.get(MAPS))).await;
    lists.iter().for_each(|answer| drop(answer.ok()));
    let sent = || -> Vec<Value> {
        let asked = server.asked.lock();
        let lists = asked.iter().map(|(_, list)| list.clone());
        lists.collect()
    };
    // Of three requests two fail and are made again.
    for _ in 0..2000 {
        if sent().len() >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lists = sent();
    assert!(lists.iter().all(|list| list["kind"] == "EventList" && list["apiVersion"] == "audit.k8s.io/v1"));
    let mut names: Vec<String> = (lists.iter().flat_map(|list| list["items"].as_array().expect("items")))
        .map(|event| {
            assert_eq!((&event["verb"], &event["stage"]), (&json!("list"), &json!("ResponseComplete")));
            event["auditID"].as_str().expect("a name").to_owned()
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 15);
    assert!(api.get("/metrics").await.text.contains("apiserver_audit_error_total{plugin=\"webhook\"} 0"));
}

#[tokio::test]
async fn requests_wait_for_another_server_and_what_it_does_not_take_is_counted() {
    let refuses = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let now = refuses.clone();
    let answer = move |_: &str, _: &Value| (if now.load(Ordering::SeqCst) { String::new() } else { "ok".into() }, 0);
    let server = OtherServer::serve(Arc::new(answer)).await;
    let (api, _dir) = sends_to(&server, Mode::Blocking).await;
    api.get(MAPS).await.ok();
    assert_eq!(server.count("/audit"), 1);
    refuses.store(true, Ordering::SeqCst);
    api.get(MAPS).await.ok();
    // It was tried five times.
    assert_eq!(server.count("/audit"), 6);
    assert!(api.get("/metrics").await.text.contains("apiserver_audit_error_total{plugin=\"webhook\"} 1"));
}
