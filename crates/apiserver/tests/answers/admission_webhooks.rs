//! Admission webhooks, asked over HTTPS.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::Api;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

/// Answers reviews: gives the response of a request to a path.
pub(super) type Answer = fn(&str, &Value) -> Value;

/// A server of webhooks, and the reviews that it got.
pub(super) struct Hooks {
    pub url: String,
    pub bundle: String,
    pub reviews: Arc<Mutex<Vec<Value>>>,
}

impl Hooks {
    pub async fn serve(api: &Api, answer: Answer) -> Hooks {
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_cert_resolver(api.serving.clone());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let reviews: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = reviews.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let seen = seen.clone();
                        async move {
                            let path = request.uri().path().to_owned();
                            let body = request.into_body().collect().await.expect("a body").to_bytes();
                            let review: Value = serde_json::from_slice(&body).expect("a review");
                            seen.lock().push(review.clone());
                            if path == "/slow" {
                                tokio::time::sleep(std::time::Duration::from_secs(30)).await;
                            }
                            let mut response = answer(&path, &review["request"]);
                            response["uid"] = review["request"]["uid"].clone();
                            let whole = json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response});
                            Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from(
                                whole.to_string(),
                            ))))
                        }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Hooks { url: format!("https://{address}"), bundle: STANDARD.encode(&api.authority.certificate), reviews }
    }

    /// How many reviews came since this was asked last.
    pub fn count(&self) -> usize {
        std::mem::take(&mut *self.reviews.lock()).len()
    }

    /// A webhook about configmaps at a path, with what is given of it.
    fn hook(&self, name: &str, path: &str, given: Value) -> Value {
        let mut hook = json!({"name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.bundle},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]}]});
        for (key, value) in given.as_object().expect("an object") {
            hook[key] = value.clone();
        }
        hook
    }
}

async fn configure(api: &Api, plural: &str, hooks: &[Value]) {
    let object = json!({"metadata": {"name": "hooks"}, "webhooks": hooks});
    let made = api.post(&format!("{CONFIGURATIONS}/{plural}"), &object).await;
    made.ok();
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
}

const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

fn patch(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

#[tokio::test]
async fn a_webhook_refuses_warns_and_sees_the_request() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |_, request| match request["object"]["data"]["bad"].is_null() {
        true => json!({"allowed": true, "warnings": ["well done"]}),
        false => json!({"allowed": false, "status": {"message": "it is bad", "code": 403, "reason": "Forbidden"}}),
    })
    .await;
    configure(&api, VALIDATING, &[hooks.hook("deny", "/", json!({}))]).await;
    let refused = api.post(MAPS, &map("a", json!({"bad": "1"}))).await;
    refused.refused(403, "admission webhook \"deny.example.com\" denied the request: it is bad");
    let made = api.post(MAPS, &map("a", json!({"good": "1"}))).await;
    made.ok();
    assert_eq!(made.warnings(), ["well done"]);
    api.delete(&format!("{MAPS}/a")).await.ok();
    let reviews = hooks.reviews.lock().clone();
    let review = &reviews[1];
    assert_eq!((&review["kind"], &review["apiVersion"]), (&json!("AdmissionReview"), &json!("admission.k8s.io/v1")));
    let request = &review["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(
        (&request["name"], &request["namespace"], &request["operation"]),
        (&json!("a"), &json!("default"), &json!("CREATE"))
    );
    assert_eq!(
        (&request["object"]["kind"], &request["oldObject"], &request["dryRun"]),
        (&json!("ConfigMap"), &Value::Null, &json!(false))
    );
    assert_eq!(request["userInfo"]["username"], "admin");
    let deletion = &reviews[2]["request"];
    assert_eq!(
        (&deletion["operation"], &deletion["object"], &deletion["oldObject"]["metadata"]["name"]),
        (&json!("DELETE"), &Value::Null, &json!("a"))
    );
}

#[tokio::test]
async fn webhooks_change_what_is_written_and_are_asked_again_if_they_want() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |path, request| {
        let data = &request["object"]["data"];
        match path {
            "/count" => {
                let count = data["count"].as_str().and_then(|count| count.parse::<u32>().ok()).unwrap_or(0) + 1;
                patch(&json!([{"op": "add", "path": "/data/count", "value": count.to_string()}]))
            }
            "/once" => patch(&json!([{"op": "add", "path": "/data/once", "value": data["count"]}])),
            _ => json!({"allowed": true}),
        }
    })
    .await;
    let count = hooks.hook("count", "/count", json!({"reinvocationPolicy": "IfNeeded"}));
    configure(&api, MUTATING, &[count, hooks.hook("once", "/once", json!({}))]).await;
    let made = api.post(MAPS, &map("a", json!({"x": "y"}))).await.ok();
    // The first is asked again, as the second changed something after it; the second is not.
    assert_eq!(made["data"], json!({"x": "y", "count": "2", "once": "1"}));
    assert_eq!(hooks.reviews.lock().len(), 3);
}

#[tokio::test]
async fn selectors_and_conditions_say_what_a_webhook_is_asked_about() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |_, _| json!({"allowed": false})).await;
    let given = json!({"objectSelector": {"matchLabels": {"ask": "me"}}, "namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["default"]}]},
        "matchConditions": [{"name": "not-me", "expression": "object.metadata.name != 'spared'"}]});
    configure(&api, VALIDATING, &[hooks.hook("deny", "/", given)]).await;
    let labelled = |name: &str| json!({"metadata": {"name": name, "labels": {"ask": "me"}}});
    api.post(MAPS, &map("plain", json!({}))).await.ok();
    api.post(MAPS, &labelled("spared")).await.ok();
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.ok();
    api.post("/api/v1/namespaces/other/configmaps", &labelled("a")).await.ok();
    assert!(hooks.reviews.lock().is_empty());
    api.post(MAPS, &labelled("a"))
        .await
        .refused(400, "admission webhook \"deny.example.com\" denied the request without explanation");
    // Nobody is locked out of what locks them out.
    api.delete(&format!("{CONFIGURATIONS}/{VALIDATING}/hooks")).await.ok();
    api.post(MAPS, &labelled("a")).await.ok();
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_or_let_pass() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |_, _| json!({"allowed": true})).await;
    let mut gone = hooks.hook("gone", "/", json!({"failurePolicy": "Fail"}));
    gone["clientConfig"] = json!({"service": {"name": "none", "namespace": "default", "path": "/x"}});
    configure(&api, VALIDATING, std::slice::from_ref(&gone)).await;
    api.post(MAPS, &map("a", json!({}))).await.refused(
        500,
        "Internal error occurred: failed calling webhook \"gone.example.com\": failed to call webhook: Post \"https://none.default.svc:443/x?timeout=10s\": service \"none\" not found",
    );
    let path = format!("{CONFIGURATIONS}/{VALIDATING}/hooks");
    let slow = hooks.hook("slow", "/slow", json!({"timeoutSeconds": 1}));
    api.patch("merge-patch", &path, &json!({"webhooks": [slow]})).await.ok();
    let message = api.post(MAPS, &map("a", json!({}))).await.json()["message"].as_str().expect("a message").to_owned();
    assert!(
        message.contains("failed to call webhook: Post") && message.ends_with("context deadline exceeded"),
        "{message}"
    );
    gone["failurePolicy"] = "Ignore".into();
    api.patch("merge-patch", &path, &json!({"webhooks": [gone]})).await.ok();
    api.post(MAPS, &map("a", json!({}))).await.ok();
}

#[tokio::test]
async fn a_trial_asks_only_those_without_side_effects() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |_, _| json!({"allowed": true})).await;
    configure(&api, MUTATING, &[hooks.hook("m", "/", json!({"admissionReviewVersions": ["v1beta1"]}))]).await;
    api.post(&format!("{MAPS}?dryRun=All"), &map("a", json!({}))).await.ok();
    let review = hooks.reviews.lock()[0].clone();
    assert_eq!(
        (&review["apiVersion"], &review["request"]["dryRun"]),
        (&json!("admission.k8s.io/v1beta1"), &json!(true))
    );
    assert_eq!(review["request"]["options"]["dryRun"], json!(["All"]));
}

#[tokio::test]
async fn a_patch_that_does_not_fit_is_an_error() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |path, _| match path {
        "/type" => patch(&json!([{"op": "add", "path": "/data", "value": 5}])),
        _ => patch(&json!([{"op": "remove", "path": "/none"}])),
    })
    .await;
    configure(&api, MUTATING, &[hooks.hook("m", "/type", json!({}))]).await;
    assert_eq!(api.post(MAPS, &map("a", json!({}))).await.status, 500);
    let other = json!({"webhooks": [hooks.hook("m", "/none", json!({}))]});
    api.patch("merge-patch", &format!("{CONFIGURATIONS}/{MUTATING}/hooks"), &other).await.ok();
    assert_eq!(api.post(MAPS, &map("a", json!({}))).await.status, 500);
    assert_eq!(api.get(&format!("{MAPS}/a")).await.status, 404);
}

#[tokio::test]
async fn a_scale_is_shown_as_one_and_may_be_changed() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |_, request| {
        let wanted = request["object"]["spec"]["replicas"].as_i64().unwrap_or_default();
        match wanted {
            9 => json!({"allowed": false, "status": {"message": "too many"}}),
            _ => patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": wanted + 1}])),
        }
    })
    .await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    api.post(deployments, &json!({"metadata": {"name": "a"}, "spec": spec})).await.ok();
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"]}]);
    configure(&api, MUTATING, &[hooks.hook("scale", "/", json!({"rules": rules}))]).await;
    let path = format!("{deployments}/a/scale");
    let scaled = api.patch("merge-patch", &path, &json!({"spec": {"replicas": 3}})).await.ok();
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(4)));
    assert_eq!(api.get(&format!("{deployments}/a")).await.ok()["spec"]["replicas"], 4);
    let request = hooks.reviews.lock()[0]["request"].clone();
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(request["resource"], json!({"group": "apps", "version": "v1", "resource": "deployments"}));
    assert_eq!((&request["subResource"], &request["object"]["kind"]), (&json!("scale"), &json!("Scale")));
    assert_eq!(
        (&request["oldObject"]["spec"]["replicas"], &request["object"]["spec"]["replicas"]),
        (&json!(1), &json!(3))
    );
    let refused = api.patch("merge-patch", &path, &json!({"spec": {"replicas": 9}})).await;
    refused.refused(400, "admission webhook \"scale.example.com\" denied the request: too many");
}
