//! The whole kubelet against the fake runtime and an API server of a few kinds, in memory.

mod ends;
mod resize;
mod safety;
mod server;
mod starts;
mod status;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_pki::Current;
use coracle_testing::until_so;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::KubeletConfig;
use crate::eviction::config::Eviction;
use crate::testing::{FakeImages, FakeRuntime};

/// Objects by path, and every change in order.
#[derive(Default)]
struct Objects {
    live: BTreeMap<String, Value>,
    log: Vec<(&'static str, String, Value)>,
}

#[derive(Clone)]
struct Api {
    objects: Arc<Mutex<Objects>>,
    changed: watch::Sender<usize>,
}

/// Merges as a strategic patch of a status does: conditions by type, other lists whole.
fn merge(target: &mut Value, patch: &Value) {
    let (Some(target), Some(patch)) = (target.as_object_mut(), patch.as_object()) else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else if key == "conditions" && target.get(key).is_some_and(Value::is_array) {
            let list = target[key].as_array_mut().unwrap();
            for condition in value.as_array().unwrap() {
                list.retain(|known| known["type"] != condition["type"]);
                if condition["$patch"] != "delete" {
                    list.push(condition.clone());
                }
            }
        } else if value.is_object() {
            merge(target.entry(key.clone()).or_insert(json!({})), value);
        } else {
            target.insert(key.clone(), value.clone());
        }
    }
}

impl Api {
    fn new() -> Api {
        Api { objects: Arc::default(), changed: watch::Sender::new(0) }
    }

    fn put(&self, path: &str, mut object: Value, kind: &'static str) -> Value {
        let mut objects = self.objects.lock();
        object["metadata"]["resourceVersion"] = json!((objects.log.len() + 1).to_string());
        if kind == "DELETED" {
            objects.live.remove(path);
        } else {
            objects.live.insert(path.to_owned(), object.clone());
        }
        objects.log.push((kind, path.to_owned(), object.clone()));
        self.changed.send_replace(objects.log.len());
        object
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.objects.lock().live.get(path).cloned()
    }

    async fn handle(self, request: Request<Body>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
        let path = parts.uri.path().trim_end_matches("/status").to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let answer = |code: u16, value: Value| {
            let mut response = Response::new(Full::from(value.to_string()).boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            Ok(response)
        };
        let missing =
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"});
        let collection = matches!(
            path.rsplit('/').next(),
            Some("pods" | "services" | "nodes" | "events" | "leases" | "configmaps" | "secrets")
        );
        match parts.method {
            Method::GET if query.contains("watch=true") => {
                let from: usize = query
                    .split('&')
                    .find_map(|p| p.strip_prefix("resourceVersion="))
                    .and_then(|v| v.parse().ok())
                    .unwrap_or(0);
                let stream = futures::stream::unfold(
                    (self.clone(), self.changed.subscribe(), from),
                    move |(api, mut changed, mut at)| {
                        let prefix = path.clone();
                        async move {
                            loop {
                                let next = api.objects.lock().log.get(at).cloned();
                                match next {
                                    Some((kind, path, object)) => {
                                        at += 1;
                                        let same = prefix.rsplit('/').next() == path.rsplit('/').nth(1);
                                        if same {
                                            let line = format!("{}\n", json!({"type": kind, "object": object}));
                                            return Some((Ok(Frame::data(Bytes::from(line))), (api, changed, at)));
                                        }
                                    }
                                    None => changed.changed().await.ok()?,
                                }
                            }
                        }
                    },
                );
                Ok(Response::new(StreamBody::new(stream.boxed()).boxed_unsync()))
            }
            Method::GET if collection => {
                let objects = self.objects.lock();
                let name = path.rsplit('/').next().unwrap_or_default();
                let items: Vec<Value> = objects
                    .live
                    .iter()
                    .filter(|(key, _)| key.rsplit('/').nth(1) == Some(name))
                    .map(|(_, v)| v.clone())
                    .collect();
                answer(
                    200,
                    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": objects.log.len().to_string()}, "items": items}),
                )
            }
            Method::GET => match self.get(&path) {
                Some(object) => answer(200, object),
                None => answer(404, missing),
            },
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
                answer(201, self.put(&path, body, "ADDED"))
            }
            Method::PUT => answer(200, self.put(&path, body, "MODIFIED")),
            Method::PATCH => match self.get(&path) {
                Some(mut object) => {
                    merge(&mut object, &body);
                    answer(200, self.put(&path, object, "MODIFIED"))
                }
                None => answer(404, missing),
            },
            Method::DELETE => match self.get(&path) {
                Some(object) => answer(200, self.put(&path, object, "DELETED")),
                None => answer(404, missing),
            },
            _ => answer(405, Value::Null),
        }
    }

    /// Waits until the object at a path is as wanted.
    async fn wait(&self, path: &str, wanted: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        let mut changed = self.changed.subscribe();
        let reached = async {
            loop {
                let object = self.get(path);
                if wanted(object.as_ref()) {
                    return object;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), reached).await {
            Ok(object) => object,
            Err(_) => panic!("{path} is {:#}", self.get(path).unwrap_or_default()),
        }
    }

    fn statuses_written(&self, path: &str) -> usize {
        self.objects.lock().log.iter().filter(|(kind, known, _)| *kind == "MODIFIED" && known == path).count()
    }

    fn event_reasons(&self) -> Vec<String> {
        let objects = self.objects.lock();
        let events = objects.live.iter().filter(|(path, _)| path.contains("/events/"));
        events.map(|(_, event)| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

type Pair = (String, String);

/// An authority, a serving certificate and a client's of `system:masters`, in PEM.
static PKI: std::sync::LazyLock<(String, Pair, Pair)> = std::sync::LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let issue = |name: &str, group: &str, usage: rcgen::ExtendedKeyUsagePurpose| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let serving = issue("node", "system:nodes", rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let client = issue("admin", "system:masters", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    (ca, serving, client)
});

/// Sends a raw request to the kubelet's server and reads until `end` or the connection's end.
async fn call(port: u64, with_certificate: bool, request: &str, end: &[u8]) -> String {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (ca, _, (certificate, key)) = &*PKI;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if with_certificate {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port as u16)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while !text.windows(end.len()).any(|window| window == end) {
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the server answers");
    String::from_utf8_lossy(&text).into_owned()
}

struct Cluster {
    api: Api,
    runtime: Arc<FakeRuntime>,
    shutdown: CancellationToken,
    /// Lets the kubelet end with its containers.
    ending: CancellationToken,
    dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

fn spawn(
    api: &Api,
    runtime: &Arc<FakeRuntime>,
    dir: &std::path::Path,
    ending: &CancellationToken,
) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
    spawn_with(api, runtime, dir, ending, None)
}

fn spawn_with(
    api: &Api,
    runtime: &Arc<FakeRuntime>,
    dir: &std::path::Path,
    ending: &CancellationToken,
    network_plugin: Option<tokio::sync::watch::Receiver<Option<String>>>,
) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let (ca, serving, _) = &*PKI;
    let config = KubeletConfig {
        node_name: "node".into(),
        node_ip: "127.0.0.1".parse().unwrap(),
        second_node_ip: None,
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        root_dir: dir.join("kubelet"),
        log_dir: dir.join("logs"),
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        max_pods: 110,
        serving: Current::new(&coracle_pki::Pair { certificate: serving.0.clone(), key: serving.1.clone() }).unwrap(),
        server_tls_bootstrap: false,
        client_certificate: None,
        client_ca_pem: ca.clone().into_bytes(),
        apiserver_user: "apiserver".into(),
        port: 0,
        kubernetes_version: "v1.35.0".into(),
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        resolv_conf: "/etc/resolv.conf".into(),
        pod_cidr: tokio::sync::watch::channel(Some("10.244.0.0/24".parse().unwrap())).1,
        network_plugin,
        image_dir: dir.join("images"),
        // However full the disk of the machine is.
        eviction: Eviction { hard: Default::default(), ..Default::default() },
        image_gc: Default::default(),
        provider_id: None,
    };
    let served = api.clone();
    let client = coracle_client::in_process(tower::service_fn(move |request| served.clone().handle(request)));
    let shutdown = CancellationToken::new();
    let ending = ending.clone();
    let asked = async move {
        ending.cancelled().await;
        crate::Shutdown { longest: Duration::from_secs(5), others_go_on: true }
    };
    let run = crate::run(config, client, runtime.clone(), Arc::new(FakeImages), asked);
    let cancelled = shutdown.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            ended = run => ended,
            () = cancelled.cancelled() => Ok(()),
        }
    });
    (shutdown, task)
}

fn start() -> Cluster {
    start_with(None)
}

/// One whose pods plugins connect, if they say that they can.
fn start_with(network_plugin: Option<tokio::sync::watch::Receiver<Option<String>>>) -> Cluster {
    let (api, runtime, dir) = (Api::new(), FakeRuntime::new(), tempfile::tempdir().unwrap());
    let ending = CancellationToken::new();
    let (shutdown, task) = spawn_with(&api, &runtime, dir.path(), &ending, network_plugin);
    Cluster { api, runtime, shutdown, ending, dir, task }
}

const POD: &str = "/api/v1/namespaces/n/pods/p";

fn create(api: &Api, spec: Value) {
    let mut spec = spec;
    spec["nodeName"] = json!("node");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec});
    api.put(POD, pod, "ADDED");
}

fn phase(pod: Option<&Value>, phase: &str) -> bool {
    pod.is_some_and(|pod| pod["status"]["phase"] == phase)
}

fn condition(pod: Option<&Value>, name: &str, status: &str) -> bool {
    let conditions = pod.and_then(|pod| pod["status"]["conditions"].as_array().cloned()).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == name && condition["status"] == status)
}

/// Asks for the deletion of the pod.
fn delete(api: &Api) {
    let mut deleted = api.get(POD).unwrap();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleted["metadata"]["deletionGracePeriodSeconds"] = json!(5);
    api.put(POD, deleted, "MODIFIED");
}

/// How often a reason was told, repeats included.
fn told(api: &Api, reason: &str) -> u64 {
    let objects = api.objects.lock();
    let events = objects.live.iter().filter(|(path, object)| path.contains("/events/") && object["reason"] == reason);
    events.map(|(_, event)| event["count"].as_u64().unwrap_or(1)).sum()
}
