//! Group versions that another server answers, which is a real one here: on loopback, by TLS, with a certificate for the
//! name of its service, and it believes only the server's front proxy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_apiserver::auth::User;
use coracle_pki::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::Api;

const OBJECT: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.fish.example.com";
const FLUNDERS: &str = "/apis/fish.example.com/v1/namespaces/default/flunders";

/// Another server of the API.
struct Other {
    address: SocketAddr,
    authority: Authority,
    task: JoinHandle<()>,
    /// Whether it hangs up on everybody.
    is_away: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
}

impl Other {
    async fn start(api: &Api) -> Other {
        let map = api.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.ok();
        assert_eq!(map["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        let front_proxy = map["data"]["requestheader-client-ca-file"].as_str().expect("a certificate").to_owned();
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open(dir.path()).expect("an authority");
        let pair = authority.server("fish", &[], &["fish.default.svc".into()], &[]).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(front_proxy.as_bytes()).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")];
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.expect("a verifier"))
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key"))
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let is_away = Arc::<AtomicBool>::default();
        let hangs_up = is_away.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if hangs_up.load(Ordering::Relaxed) {
                    continue;
                }
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
                });
            }
        });
        Other { address, authority, task, is_away, _dir: dir }
    }

    /// Tells the API server of it: a service that stands for a name, and an APIService.
    async fn register(&self, api: &Api) {
        let service =
            json!({"metadata": {"name": "fish"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
        api.post("/api/v1/namespaces/default/services", &service).await.ok();
        let object = json!({"metadata": {"name": "v1.fish.example.com"}, "spec": {
            "group": "fish.example.com", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "service": {"namespace": "default", "name": "fish", "port": self.address.port()},
            "caBundle": STANDARD.encode(&self.authority.certificate),
        }});
        api.post("/apis/apiregistration.k8s.io/v1/apiservices", &object).await.ok();
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let of = |name: &str| {
        let values = request.headers().get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
    };
    let told = json!({
        "method": request.method().as_str(), "uri": request.uri().to_string(), "user": of("x-remote-user"),
        "groups": of("x-remote-group"), "authorization": of("authorization"),
    });
    let path = request.uri().path().to_owned();
    let verbs = json!(["get", "list", "create"]);
    let answer = match path.as_str() {
        "/apis/fish.example.com/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": verbs, "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]}]}),
        "/openapi/v3" => json!({"paths": {
            "apis/fish.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/fish.example.com/v1?hash=7"},
            "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=8"}}}),
        "/openapi/v2" => {
            json!({"swagger": "2.0", "paths": {"/apis/fish.example.com/v1/flunders": {"get": {}}, "/apis/apps/v1/x": {}},
            "definitions": {"com.example.Flunder": {"type": "object"}}})
        }
        _ => {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let mut told = told;
            told["body"] = String::from_utf8_lossy(&body).into();
            told
        }
    };
    let mut response = Response::new(Full::new(answer.to_string().into()));
    *response.status_mut() = if path.ends_with("/missing") { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(response)
}

/// Waits for a condition of the APIService; what the message of the last state is.
async fn reaches(api: &Api, status: &str, reason: &str) -> String {
    for _ in 0..500 {
        let condition = api.get(OBJECT).await.ok()["status"]["conditions"][0].clone();
        if condition["status"] == status && condition["reason"] == reason {
            return condition["message"].as_str().unwrap_or_default().to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{}", api.get(OBJECT).await.text);
}

async fn registered() -> (Api, Other) {
    let api = Api::new().await;
    let other = Other::start(&api).await;
    other.register(&api).await;
    assert_eq!(reaches(&api, "True", "Passed").await, "all checks passed");
    (api, other)
}

#[tokio::test]
async fn requests_pass_to_the_server_that_answers_them_with_who_makes_them() {
    let (api, _other) = registered().await;
    let jane = || User::new("jane", &["dev"]);
    // However it is written, it is the same question.
    for path in [FLUNDERS, &FLUNDERS.replace("flunders", "fl%75nders"), &FLUNDERS.replace("/flunders", "%2Fflunders")] {
        let refused = api.call_by(jane(), Method::GET, path, &[], String::new()).await;
        refused.refused(
            403,
            "flunders.fish.example.com is forbidden: User \"jane\" cannot list resource \"flunders\" in API group \"fish.example.com\" in the namespace \"default\"",
        );
    }
    let role = json!({"metadata": {"name": "fish"}, "rules": [{"apiGroups": ["fish.example.com"], "resources": ["flunders"], "verbs": ["create", "get"]}]});
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.ok();
    let binding = json!({"metadata": {"name": "fish"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fish"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.ok();
    let headers = [("x-remote-group", "system:masters"), ("content-type", "application/json")];
    let path = format!("{FLUNDERS}?dryRun=All");
    let told = api.call_by(jane(), Method::POST, &path, &headers, r#"{"a":1}"#.into()).await.ok();
    let expected = json!({
        "method": "POST", "uri": path, "user": "jane", "groups": "dev,system:authenticated", "authorization": "", "body": r#"{"a":1}"#,
    });
    assert_eq!(told, expected);
    let missing = api.get(&format!("{FLUNDERS}/missing")).await;
    assert_eq!((missing.status, &missing.json()["user"]), (StatusCode::NOT_FOUND, &json!("admin")));
}

#[tokio::test]
async fn what_the_other_server_has_is_told_with_what_this_one_has() {
    let (api, _other) = registered().await;
    for _ in 0..100 {
        if api.get("/apis").await.text.contains("fish.example.com") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let group = api.get("/apis/fish.example.com").await.ok();
    assert_eq!(group["preferredVersion"]["groupVersion"], "fish.example.com/v1");
    assert_eq!(api.get("/apis/fish.example.com/v1").await.ok()["resources"][0]["name"], "flunders");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = api.get_as("/apis", accept).await.ok();
    let items = all["items"].as_array().expect("groups");
    let fish = items.iter().find(|item| item["metadata"]["name"] == "fish.example.com").expect("the group");
    let expected = json!({"version": "v1", "freshness": "Current", "resources": [{
        "resource": "flunders", "scope": "Namespaced", "singularResource": "flunder", "verbs": ["get", "list", "create"],
        "shortNames": ["fl"], "responseKind": {"group": "fish.example.com", "version": "v1", "kind": "Flunder"},
        "subresources": [{"subresource": "status", "verbs": ["get"],
            "responseKind": {"group": "fish.example.com", "version": "v1", "kind": "Flunder"}}],
    }]});
    assert_eq!(fish["versions"], json!([expected]));
    let index = api.get("/openapi/v3").await.ok();
    let own = &index["paths"]["apis/apps/v1"]["serverRelativeURL"];
    assert_ne!(own, "/openapi/v3/apis/apps/v1?hash=8");
    let url = index["paths"]["apis/fish.example.com/v1"]["serverRelativeURL"].as_str().expect("a URL");
    assert_eq!(api.get(url).await.ok()["uri"], url);
    let document = api.get("/openapi/v2").await.ok();
    assert_eq!(document["definitions"]["com.example.Flunder"], json!({"type": "object"}));
    assert!(
        document["paths"]["/apis/apps/v1/x"].is_null()
            && !document["paths"]["/apis/fish.example.com/v1/flunders"].is_null()
    );
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let document = api.get_as("/openapi/v2", protobuf).await.text;
    assert!(document.contains("com.example.Flunder") && document.contains("/apis/fish.example.com/v1/flunders"));
    api.delete(OBJECT).await.ok();
    assert_eq!(api.get(FLUNDERS).await.status, StatusCode::NOT_FOUND);
    for _ in 0..100 {
        if !api.get("/apis").await.text.contains("fish.example.com") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{}", api.get("/apis").await.text);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable_and_says_why() {
    let (api, other) = registered().await;
    other.task.abort();
    let _ = other.task.await;
    let mut object = api.get(OBJECT).await.ok();
    object["metadata"]["labels"] = json!({"again": "1"});
    api.put(OBJECT, &object).await.ok();
    let why = reaches(&api, "False", "FailedDiscoveryCheck").await;
    let url = format!("https://fish.default.svc:{}/apis/fish.example.com/v1", other.address.port());
    assert!(why.starts_with(&format!("failing or missing response from {url}: ")), "{why}");
    let answer = api.get(FLUNDERS).await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n"));
    api.delete("/api/v1/namespaces/default/services/fish").await.ok();
    assert_eq!(reaches(&api, "False", "ServiceNotFound").await, "service/fish in \"default\" is not present");
    let service = json!({"metadata": {"name": "fish"}, "spec": {"ports": [{"port": 1}]}});
    api.post("/api/v1/namespaces/default/services", &service).await.ok();
    let why = format!("service/fish in \"default\" is not listening on port {}", other.address.port());
    assert_eq!(reaches(&api, "False", "ServicePortError").await, why);
    object["spec"]["service"]["port"] = 1.into();
    object["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    api.put(OBJECT, &object).await.ok();
    let why = "endpoints for service/fish in \"default\" have no addresses with port name \"\"";
    assert_eq!(reaches(&api, "False", "MissingEndpoints").await, why);
}

#[tokio::test]
async fn a_server_that_did_not_answer_is_asked_again_soon() {
    let (api, other) = registered().await;
    other.is_away.store(true, Ordering::Relaxed);
    api.patch("merge-patch", OBJECT, &json!({"metadata": {"labels": {"again": "1"}}})).await.ok();
    reaches(&api, "False", "FailedDiscoveryCheck").await;
    other.is_away.store(false, Ordering::Relaxed);
    reaches(&api, "True", "Passed").await;
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_told_nothing() {
    let api = Api::new().await;
    let other = Other::start(&api).await;
    other.register(&api).await;
    reaches(&api, "True", "Passed").await;
    let stranger = tempfile::tempdir().expect("a directory");
    let stranger = Authority::open(stranger.path()).expect("an authority").certificate;
    let patch: Value = json!({"spec": {"caBundle": STANDARD.encode(stranger)}});
    api.patch("merge-patch", OBJECT, &patch).await.ok();
    reaches(&api, "False", "FailedDiscoveryCheck").await;
    let both = json!({"spec": {"insecureSkipTLSVerify": true}});
    let answer = api.patch("merge-patch", OBJECT, &both).await;
    answer.refused(
        422,
        "APIService.apiregistration.k8s.io \"v1.fish.example.com\" is invalid: spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
    );
    let insecure = json!({"spec": {"insecureSkipTLSVerify": true, "caBundle": null}});
    api.patch("merge-patch", OBJECT, &insecure).await.ok();
    reaches(&api, "True", "Passed").await;
}
