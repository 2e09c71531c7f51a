//! What nodes and pods use, of a kubelet that answers on loopback by TLS.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use coracle_apiserver::auth::User;
use http::{Method, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Api;

const NODES: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const PODS: &str = "/apis/metrics.k8s.io/v1beta1/pods";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";

/// The page of a node that uses half a processor, and whose container uses a quarter. It is asked each second, or so it says.
async fn kubelet(api: &Api, user: &str) -> (SocketAddr, Arc<AtomicU64>) {
    let pair = api.authority.server(user, &[], &[], &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).expect("a certificate");
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a configuration");
    let (acceptor, asked) = (TlsAcceptor::from(Arc::new(config)), Arc::<AtomicU64>::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let (address, counter) = (listener.local_addr().expect("an address"), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let counter = counter.clone();
            let answer = service_fn(move |request: http::Request<_>| {
                let _: http::Request<hyper::body::Incoming> = request;
                let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    let (cpu, at) = (count as f64, (1_700_000_000 + count) * 1000);
                    let of = r#"{container="c",namespace="default",pod="web"}"#;
                    let page = format!(
                        "node_cpu_usage_seconds_total {} {at}\nnode_memory_working_set_bytes 4096000 {at}\n\
                    container_cpu_usage_seconds_total{of} {} {at}\ncontainer_memory_working_set_bytes{of} 2048000 {at}\n\
                    container_start_time_seconds{of} 1.6e9\n",
                        cpu / 2.0,
                        cpu / 4.0
                    );
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(page))))
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        }
    });
    (address, asked)
}

async fn register(api: &Api, name: &str, address: SocketAddr) {
    let node = json!({"metadata": {"name": name, "labels": {"disk": "ssd"}}});
    api.post("/api/v1/nodes", &node).await.ok();
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}}}});
    api.patch("merge-patch", &format!("/api/v1/nodes/{name}/status"), &status).await.ok();
}

#[tokio::test]
async fn what_nodes_and_pods_use_is_there_with_nothing_installed() {
    let api = Api::new().await;
    let (address, asked) = kubelet(&api, "system:node:a").await;
    register(&api, "a", address).await;
    // Another node says that it is where that one is.
    register(&api, "liar", address).await;
    // Nobody answers there.
    register(&api, "silent", "127.0.0.1:1".parse().expect("an address")).await;
    let pod = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}]}});
    api.post("/api/v1/namespaces/default/pods", &pod).await.ok();

    let nodes = api.get(NODES).await.ok();
    assert_eq!((&nodes["kind"], nodes["items"].as_array().map(Vec::len)), (&json!("NodeMetricsList"), Some(1)));
    let node = &nodes["items"][0];
    assert_eq!(node["usage"], json!({"cpu": "500000000n", "memory": "4000Ki"}), "{node}");
    assert_eq!((&node["window"], &node["metadata"]["labels"]["disk"]), (&json!("1s"), &json!("ssd")));
    assert_eq!(node["timestamp"], "2023-11-14T22:13:22Z");
    let pod = api.get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/web").await.ok();
    assert_eq!(pod["containers"], json!([{"name": "c", "usage": {"cpu": "250000000n", "memory": "2000Ki"}}]));
    let count = |list: Value| list["items"].as_array().map(Vec::len);
    assert_eq!(count(api.get(&format!("{PODS}?labelSelector=app%3Dweb")).await.ok()), Some(1));
    assert_eq!(count(api.get(&format!("{PODS}?labelSelector=app%3Dother")).await.ok()), Some(0));
    assert_eq!(asked.load(Ordering::Relaxed), 2, "one answer is good for some seconds");
    for path in ["metrics/resource", "api/v1/secrets"] {
        let answer = api.get(&format!("/api/v1/nodes/liar/proxy/{path}")).await;
        let why = r#"has a certificate of \"system:node:a\", and not the one of \"system:node:liar\""#;
        assert!(answer.status == 503 && answer.text.contains(why), "{} {}", answer.status, answer.text);
    }
    api.get("/api/v1/nodes/a/proxy/metrics/resource").await;
    assert_eq!(asked.load(Ordering::Relaxed), 3, "what was for the other node did not come here");

    let resources = api.get("/apis/metrics.k8s.io/v1beta1").await.ok();
    assert_eq!(resources["resources"][0]["verbs"], json!(["get", "list"]));
    assert!(api.get(&format!("{NODES}?watch=true")).await.status.is_client_error());
    assert_eq!(api.post(NODES, &json!({"metadata": {"name": "b"}})).await.status, 405);
    assert_eq!(api.get(&format!("{NODES}/silent")).await.status, 404);
    let table = api.get_as(NODES, "application/json;as=Table;g=meta.k8s.io;v=v1").await.ok();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "500000000n", "4000Ki", "1s"]));
    let jane = api.call_by(User::new("jane", &[]), Method::GET, NODES, &[], String::new()).await;
    assert_eq!(jane.status, 403);
}

#[tokio::test]
async fn a_metrics_server_that_somebody_brings_is_asked_instead() {
    let api = Api::new().await;
    let service = api.get(API_SERVICE).await.ok();
    assert_eq!(service["status"]["conditions"][0]["reason"], "Local", "{service}");
    let spec = json!({"spec": {"service": {"namespace": "kube-system", "name": "metrics-server"}, "insecureSkipTLSVerify": true}});
    api.patch("merge-patch", API_SERVICE, &spec).await.ok();
    assert_eq!(api.get(NODES).await.status, 503);
    let api = Api::after(api).await;
    assert_eq!(api.get(NODES).await.status, 503, "it stays so when the server starts anew");
    api.delete(API_SERVICE).await.ok();
    assert_eq!(api.get(NODES).await.ok()["items"], json!([]));
}
