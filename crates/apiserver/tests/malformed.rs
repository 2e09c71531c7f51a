//! Twenty thousand requests that make no sense: each is refused with a reason, nothing changes, and nothing of them stays. A program of its own: others would
//! take memory meanwhile.

use std::sync::Arc;

use coracle_apiserver::auth::User;
use coracle_apiserver::{Config, Server};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Runs, RngSeed, TestRunner};
use serde_json::{Value, json};

const COUNT: usize = 20_000;
/// What this process may grow by, in KiB: what allocators keep, and no more for each request than a byte or two.
const GROWTH: usize = 16 << 10;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

#[derive(Clone, Debug)]
struct Malformed {
    method: Method,
    path: String,
    media_type: String,
    body: Vec<u8>,
}

/// A request with a body of JSON, which may be wrong in itself.
fn malformed(method: Method, path: impl Into<String>, media_type: &str, body: impl Into<Vec<u8>>) -> Malformed {
    Malformed { method, path: path.into(), media_type: media_type.into(), body: body.into() }
}

fn paths() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(MAPS), Just(PODS), Just(DEPLOYMENTS), Just(DEFINITIONS), Just(POLICIES)]
}

/// Bytes that are no object in any format.
fn garbage() -> impl Strategy<Value = Malformed> {
    const TYPES: [&str; 5] = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/cbor",
        "text/html",
    ];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4000),
        "[\\[\\]{}:,\"a0\\\\ -]{1,4000}".prop_map(String::into_bytes),
    ];
    // Of these, none begins an object.
    let bytes = bytes.prop_map(|mut bytes| {
        bytes.insert(0, b']');
        bytes
    });
    (paths(), proptest::sample::select(&TYPES[..]), bytes)
        .prop_map(|(path, media_type, body)| malformed(Method::POST, path, media_type, body))
}

/// Objects cut off, or with a field of another type.
fn almost() -> impl Strategy<Value = Malformed> {
    let wrong = prop_oneof![Just(json!(7)), Just(json!("x")), Just(json!([[]])), Just(json!([7])), Just(json!(true))];
    let field = proptest::sample::select(&["labels", "annotations", "ownerReferences"][..]);
    let typed = (paths(), field, wrong).prop_map(|(path, field, wrong)| {
        let object = json!({"metadata": {"name": "made", field: wrong}});
        malformed(Method::POST, path, "application/json", object.to_string())
    });
    let cut = (paths(), 1_usize..70, "[a-z]{1,500}").prop_map(|(path, at, text)| {
        let object = json!({"metadata": {"name": "made", "labels": {"a": "b", "c": text}}}).to_string();
        malformed(Method::POST, path, "application/json", object.as_bytes()[..at.min(object.len() - 1)].to_vec())
    });
    let kind = (paths(), "[A-Z][a-z]{3,9}").prop_map(|(path, kind)| {
        let object = json!({"apiVersion": "v1", "kind": format!("{kind}x"), "metadata": {"name": "made"}});
        malformed(Method::POST, path, "application/json", object.to_string())
    });
    prop_oneof![typed, cut, kind]
}

/// Objects of the right form that are not valid.
fn invalid() -> impl Strategy<Value = Malformed> {
    let name = prop_oneof!["[A-Z_ /%]{1,300}", "-[a-z]{0,9}", "[a-z]{254,300}", Just(String::new())];
    let names = (paths(), name.clone()).prop_map(|(path, name)| {
        malformed(Method::POST, path, "application/json", json!({"metadata": {"name": name}}).to_string())
    });
    let labels = ("[ !$&]{1,70}", "[ !$&]{1,70}").prop_map(|(key, value)| {
        let object = json!({"metadata": {"name": "made", "labels": {key: value}}});
        malformed(Method::POST, MAPS, "application/json", object.to_string())
    });
    let pods = (name, "[ !$&]{1,70}", -70_000_i64..0).prop_map(|(name, image, port)| {
        let container = json!({"name": name, "image": image, "ports": [{"containerPort": port}]});
        let object = json!({"metadata": {"name": "made"}, "spec": {"containers": [container]}});
        malformed(Method::POST, PODS, "application/json", object.to_string())
    });
    let strict = ("x[a-z]{1,200}", 1_usize..50).prop_map(|(field, count)| {
        let unknown = (0..count).map(|number| (format!("{field}{number}"), json!(number)));
        let object: Value = unknown.chain([("metadata".to_owned(), json!({"name": "made"}))]).collect();
        malformed(Method::POST, format!("{MAPS}?fieldValidation=Strict"), "application/json", object.to_string())
    });
    let schemas = ("[a-z]{1,12}q", "[(\\[]{1,50}").prop_map(|(kind, pattern)| {
        let schema = json!({"openAPIV3Schema": {"type": kind, "pattern": pattern, "properties": {"spec": {}}}});
        let names = json!({"plural": "mades", "kind": "Made"});
        let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": schema}]);
        let object = json!({"metadata": {"name": "mades.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}});
        malformed(Method::POST, DEFINITIONS, "application/json", object.to_string())
    });
    let expressions = "[a-z(\\[.+]{1,400}\\(".prop_map(|expression| {
        let rules = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}]});
        let spec = json!({"matchConstraints": rules, "validations": [{"expression": expression}]});
        malformed(Method::POST, POLICIES, "application/json", json!({"metadata": {"name": "made"}, "spec": spec}).to_string())
    });
    prop_oneof![3 => names, 3 => labels, 3 => pods, 3 => strict, 2 => schemas, 1 => expressions]
}

/// Patches of something that is there.
fn patches() -> impl Strategy<Value = Malformed> {
    const TYPES: [&str; 5] =
        ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml", "patch+json"];
    let bytes = "[\\]:,\"a0 ]{1,300}".prop_map(|text| format!("]{text}").into_bytes());
    let broken = (proptest::sample::select(&TYPES[..]), bytes).prop_map(|(kind, body)| {
        malformed(Method::PATCH, format!("{MAPS}/there?fieldManager=m"), &format!("application/{kind}"), body)
    });
    let op = proptest::sample::select(&["add", "remove", "replace", "move", "copy", "test", "nothing"][..]);
    let nowhere = (op, "/x[a-z/~]{1,200}/y").prop_map(|(op, path)| {
        let patch = json!([{"op": op, "path": path, "from": path, "value": 1}]);
        malformed(Method::PATCH, format!("{MAPS}/there"), "application/json-patch+json", patch.to_string())
    });
    let typed = prop_oneof![Just(json!(7)), Just(json!("x")), Just(json!([1]))].prop_map(|wrong| {
        let patch = json!({"metadata": {"labels": wrong}}).to_string();
        malformed(Method::PATCH, format!("{MAPS}/there"), "application/merge-patch+json", patch)
    });
    let manager = "[a-z]{129,400}".prop_map(|manager| {
        malformed(Method::PATCH, format!("{MAPS}/there?fieldManager={manager}"), "application/apply-patch+yaml", "a: b")
    });
    prop_oneof![broken, nowhere, typed, manager]
}

/// Paths and queries that lead nowhere.
fn queries() -> impl Strategy<Value = Malformed> {
    let get = |path: String| malformed(Method::GET, path, "", "");
    let nowhere = "/(api|apis)/[a-z0-9]{1,20}q(/[a-z]{1,20}){0,5}".prop_map(get);
    let missing = "[a-z]{1,60}q".prop_map(move |name| get(format!("{MAPS}/{name}")));
    let option = proptest::sample::select(
        &[
            "limit",
            "timeoutSeconds",
            "resourceVersion",
            "continue",
            "labelSelector",
            "fieldSelector",
            "resourceVersionMatch",
        ][..],
    );
    let options =
        (option, "%21[a-z(,]{1,200}%3D%3D%3D").prop_map(move |(option, value)| get(format!("{MAPS}?{option}={value}")));
    let methods =
        (proptest::sample::select(&["PUT", "DELETE", "PATCH"][..]), "[a-z]{1,40}q").prop_map(|(method, name)| {
            let body = json!({"metadata": {"name": "other"}}).to_string();
            malformed(method.parse().expect("a method"), format!("{MAPS}/{name}"), "application/merge-patch+json", body)
        });
    let dry = "[a-z]{1,200}".prop_map(|value| {
        malformed(
            Method::POST,
            format!("{MAPS}?dryRun={value}"),
            "application/json",
            r#"{"metadata": {"name": "made"}}"#,
        )
    });
    prop_oneof![nowhere, missing, options, methods, dry]
}

async fn server(dir: &tempfile::TempDir) -> Server {
    let config = Config::in_directory(dir.path()).expect("a configuration");
    Server::new(config).await.expect("a server")
}

async fn send(server: &Server, malformed: Malformed) -> (u16, HeaderMap, String) {
    let Malformed { method, path, media_type, body } = malformed;
    let mut request = Request::builder().method(method).uri(path);
    if !media_type.is_empty() {
        request = request.header("content-type", media_type);
    }
    let request = request.body(Full::new(bytes::Bytes::from(body))).expect("a request");
    let user = Arc::new(User::new("admin", &["system:masters"]));
    let (parts, body) = server.handle(request, Some(user)).await.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&bytes).into_owned())
}

/// The memory of this process, in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a file");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("a number")
}

async fn everything(server: &Server) -> String {
    let mut all = String::new();
    for path in [MAPS, PODS, DEPLOYMENTS, DEFINITIONS, POLICIES] {
        let (status, _, text) = send(server, malformed(Method::GET, path, "", "")).await;
        assert_eq!(status, 200);
        // The list's own revision may be that of what the server does by itself.
        let mut list: Value = serde_json::from_str(&text).expect("JSON");
        all += &list["items"].take().to_string();
    }
    all
}

#[tokio::test]
async fn twenty_thousand_malformed_requests_are_refused_with_reasons_and_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = server(&dir).await;
    for (path, name) in [("/api/v1/namespaces/default/serviceaccounts", "default"), (MAPS, "there")] {
        let object = json!({"metadata": {"name": name}}).to_string();
        let (status, _, text) = send(&server, malformed(Method::POST, path, "application/json", object)).await;
        assert_eq!(status, 201, "{text}");
    }
    let any = prop_oneof![garbage(), almost(), invalid(), patches(), queries()];
    let mut runner = TestRunner::new(Runs { rng_seed: RngSeed::Fixed(1), ..Runs::default() });
    let before = everything(&server).await;
    let mut at_first = 0;
    for number in 0..COUNT {
        // What is kept for all requests is there after some.
        if number == COUNT / 10 {
            at_first = memory();
        }
        let wrong = any.new_tree(&mut runner).expect("a request").current();
        let told = format!("{} {} {}", wrong.method, wrong.path, String::from_utf8_lossy(&wrong.body));
        let (status, headers, text) = send(&server, wrong).await;
        assert!((400..500).contains(&status), "{told}: {status} {text}");
        let is_status = headers.get("content-type").is_some_and(|media_type| media_type == "application/json");
        let message = serde_json::from_str::<Value>(&text).unwrap_or_default()["message"].clone();
        let says = if is_status { message.as_str().unwrap_or_default() } else { text.trim() };
        assert!(says.len() > 8, "{told}: {status} {text}");
    }
    assert_eq!(everything(&server).await, before);
    let growth = memory().saturating_sub(at_first);
    assert!(growth < GROWTH, "{growth} KiB more");
}
