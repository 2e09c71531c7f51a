//! The whole kubelet against the fake runtime and an API server of a few kinds, in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_pki::Current;
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

#[tokio::test]
async fn the_server_serves_logs_and_exec_to_whom_it_may() {
    let cluster = start();
    let probe = json!({"exec": {"command": ["probe"]}});
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "readinessProbe": probe}]}));
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    let node = cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await.unwrap();
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(call(port, true, &get("/healthz"), b"\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    assert!(call(port, false, &get("/healthz"), b"\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    assert!(call(port, false, &get("/pods"), b"\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    assert!(call(port, true, &get("/pods"), b"PodList").await.contains("PodList"));
    assert!(call(port, true, &get("/stats/summary"), b"podRef").await.contains("\"nodeName\":\"node\""));
    assert!(
        call(port, true, &get("/metrics/resource"), b"scrape_error 0")
            .await
            .contains("container_cpu_usage_seconds_total{container=\"c\"")
    );
    let page = call(port, true, &get("/metrics/probes"), b"prober_probe_duration_seconds_bucket").await;
    assert!(
        page.contains("prober_probe_total{probe_type=\"Readiness\",result=\"successful\",container=\"c\""),
        "{page}"
    );
    assert!(call(port, true, &get("/metrics/slis"), b"} 1").await.contains("{name=\"ping\",type=\"healthz\"} 1"));
    // The first sync goes on until what it began is done.
    let page = call(port, true, &get("/metrics"), b"process_start_time_seconds ").await;
    assert!(page.contains("kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"} 1\n"), "{page}");
    let logs = cluster.dir.path().join("logs/n_p_u/c");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("0.log"), "2024-01-01T00:00:00Z stdout F hello\n").unwrap();
    assert!(call(port, true, &get("/containerLogs/n/p/c?tailLines=1"), b"hello").await.contains("hello\n"));
    assert!(call(port, true, &get("/containerLogs/n/p/x"), b"\r\n\r\n").await.starts_with("HTTP/1.1 404"));
    let exec = "GET /exec/n/p/c?command=3&output=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
    let answer = call(port, true, exec, b"NonZeroExitCode").await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(answer.contains("NonZeroExitCode"), "{answer}");
    let answer = call(port, true, &exec.replace("command=3", "command=nope"), b"InternalError").await;
    let told = "\"message\":\"Internal error occurred: error executing command in container: no such command\"";
    assert!(answer.contains(told), "{answer}");
    let spdy = "POST /exec/n/p/c?command=0&output=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
        X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    let answer = call(port, true, spdy, b"\r\n\r\n").await.to_lowercase();
    assert!(
        answer.starts_with("http/1.1 101") && answer.contains("x-stream-protocol-version: v4.channel.k8s.io"),
        "{answer}"
    );
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn the_logs_of_a_container_that_waits_say_what_for() {
    let cluster = start();
    let missing = json!([{"configMapRef": {"name": "m"}}]);
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1"}], "ephemeralContainers": [{"name": "e", "image": "i:1", "envFrom": missing}]}),
    );
    let waits = |pod: Option<&Value>| {
        pod.is_some_and(|pod| {
            let state = &pod["status"]["ephemeralContainerStatuses"][0]["state"];
            state["waiting"]["reason"] == "CreateContainerConfigError"
        })
    };
    cluster.api.wait(POD, waits).await;
    let node = cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await.unwrap();
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap();
    let get = "GET /containerLogs/n/p/e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = call(port, true, get, b"Error").await;
    assert!(
        answer.contains("container \"e\" in pod \"p\" is waiting to start: CreateContainerConfigError"),
        "{answer}"
    );
    cluster.shutdown.cancel();
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
    let (ca, serving, _) = &*PKI;
    let config = KubeletConfig {
        node_name: "node".into(),
        node_ip: "127.0.0.1".parse().unwrap(),
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
        Duration::from_secs(5)
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
    let (api, runtime, dir) = (Api::new(), FakeRuntime::new(), tempfile::tempdir().unwrap());
    let ending = CancellationToken::new();
    let (shutdown, task) = spawn(&api, &runtime, dir.path(), &ending);
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

#[tokio::test]
async fn a_pod_runs_with_one_status_write_and_leaves_nothing_when_deleted() {
    let cluster = start();
    cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await;
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "e", "mountPath": "/e"}]}],
        "volumes": [{"name": "e", "emptyDir": {}}]}),
    );
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "127.0.0.1");
    assert_eq!(pod["status"]["containerStatuses"][0]["containerID"], "coracle://u-c-0");
    assert_eq!(cluster.api.statuses_written(POD), 1);
    let mounts: Vec<String> =
        cluster.runtime.state.lock().configs[0].mounts.iter().map(|mount| mount.container_path.clone()).collect();
    assert_eq!(mounts, ["/e", "/etc/hosts", "/dev/termination-log"]);
    let mut deleted = cluster.api.get(POD).unwrap();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleted["metadata"]["deletionGracePeriodSeconds"] = json!(1);
    cluster.api.put(POD, deleted, "MODIFIED");
    cluster.api.wait(POD, |pod| pod.is_none()).await;
    assert!(cluster.runtime.state.lock().sandboxes.is_empty());
    assert!(!cluster.dir.path().join("kubelet/pods/u").exists());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let reasons = cluster.api.event_reasons();
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(reasons.iter().any(|known| known == reason), "{reason} in {reasons:?}");
    }
    cluster.shutdown.cancel();
    cluster.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_container_that_exits_restarts_at_once_and_then_backs_off() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    cluster.api.wait(POD, |pod| phase(pod, "Running")).await;
    cluster.runtime.exit("u-c-0", 1);
    cluster
        .api
        .wait(POD, |pod| {
            pod.is_some_and(|pod| {
                pod["status"]["containerStatuses"][0]["restartCount"] == 1 && condition(Some(pod), "Ready", "True")
            })
        })
        .await;
    cluster.runtime.exit("u-c-1", 1);
    let pod = cluster
        .api
        .wait(POD, |pod| {
            pod.is_some_and(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            })
        })
        .await
        .unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["message"], "back-off 10s restarting failed container=c pod=p_n(u)");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(pod["status"]["phase"], "Running");
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_job_like_pod_succeeds_and_a_missing_image_waits() {
    let cluster = start();
    create(
        &cluster.api,
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "i:1"}], "containers": [{"name": "c", "image": "i:1"}]}),
    );
    cluster
        .api
        .wait(POD, |pod| {
            pod.is_some_and(|pod| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object())
        })
        .await;
    cluster.runtime.exit("u-i-0", 0);
    cluster.api.wait(POD, |pod| phase(pod, "Running")).await;
    cluster.runtime.exit("u-c-0", 0);
    let pod = cluster.api.wait(POD, |pod| phase(pod, "Succeeded")).await.unwrap();
    assert!(condition(Some(&pod), "Initialized", "True"));
    let other = "/api/v1/namespaces/n/pods/q";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "n", "uid": "v"},
        "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "missing:1"}]}});
    cluster.api.put(other, pod, "ADDED");
    let reason = |pod: Option<&Value>, reason: &str| {
        pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason)
    };
    cluster.api.wait(other, |pod| reason(pod, "ErrImagePull")).await;
    cluster.api.wait(other, |pod| reason(pod, "ImagePullBackOff")).await;
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_missing_config_map_is_awaited_and_a_restarted_kubelet_adopts_what_runs() {
    let cluster = start();
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "envFrom": [{"configMapRef": {"name": "m"}}]}]}),
    );
    let waits = |pod: Option<&Value>| {
        pod.is_some_and(|pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
    };
    let pod = cluster.api.wait(POD, waits).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"], "configmap \"m\" not found");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": {"A": "1"}});
    cluster.api.put("/api/v1/namespaces/n/configmaps/m", map, "ADDED");
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    assert!(cluster.runtime.state.lock().configs[0].envs.contains(&("A".to_owned(), "1".to_owned())));
    cluster.shutdown.cancel();
    cluster.task.await.unwrap().unwrap();
    let (shutdown, _task) = spawn(&cluster.api, &cluster.runtime, cluster.dir.path(), &cluster.ending);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cluster.runtime.state.lock().configs.len(), 1, "no container was made anew");
    assert!(condition(cluster.api.get(POD).as_ref(), "Ready", "True"));
    shutdown.cancel();
}

#[tokio::test]
async fn containers_never_write_to_what_the_kubelet_writes_and_only_root_reaches_a_pods_directory() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = start();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": {"A": "1"}});
    cluster.api.put("/api/v1/namespaces/n/configmaps/m", map, "ADDED");
    let mounts = json!([{"name": "m", "mountPath": "/m"}, {"name": "m", "mountPath": "/a", "subPath": "A"}, {"name": "e", "mountPath": "/e"}]);
    let mounts = if coracle_testing::is_root() { mounts } else { json!([mounts[0], mounts[2]]) };
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "volumeMounts": mounts}],
        "volumes": [{"name": "m", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}]}),
    );
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    let mounts = cluster.runtime.state.lock().configs[0].mounts.clone();
    for mount in &mounts {
        let wanted = matches!(mount.container_path.as_str(), "/m" | "/a");
        assert_eq!(mount.readonly, wanted, "{}", mount.container_path);
    }
    for dir in ["kubelet", "kubelet/pods", "kubelet/pods/u"] {
        let mode = std::fs::metadata(cluster.dir.path().join(dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750, "{dir}");
    }
    cluster.api.put(POD, pod, "DELETED");
    until("the pod's directory goes", || !cluster.dir.path().join("kubelet/pods/u").exists()).await;
    cluster.shutdown.cancel();
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

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} in vain");
}

#[tokio::test]
async fn a_container_that_is_ending_when_the_node_ends_has_its_hook_once_and_others_have_theirs() {
    for deleted in [true, false] {
        let cluster = start();
        let hook = json!({"preStop": {"exec": {"command": ["true"]}}});
        create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": hook}]}));
        cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
        cluster.runtime.state.lock().ends_late = true;
        if deleted {
            delete(&cluster.api);
            until("the stop is awaited", || cluster.runtime.state.lock().stops == 1).await;
        }
        cluster.ending.cancel();
        until("the hook is awaited", || cluster.runtime.state.lock().execs == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.runtime.exit("u-c-0", 143);
        cluster.task.await.unwrap().unwrap();
        assert_eq!(cluster.runtime.state.lock().execs, 1);
        assert!(cluster.api.get(POD).is_some(), "its object is left to the next start");
    }
}

#[tokio::test]
async fn an_ending_container_is_killed_once_also_when_its_end_comes_late_or_a_stop_fails() {
    for fails in [false, true] {
        let cluster = start();
        let hook = json!({"preStop": {"exec": {"command": ["true"]}}});
        create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": hook}]}));
        cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
        {
            let mut state = cluster.runtime.state.lock();
            (state.ends_late, state.stop_fails) = (true, fails);
        }
        delete(&cluster.api);
        let stops = if fails { 2 } else { 1 };
        until("the stop is awaited", || cluster.runtime.state.lock().stops == stops).await;
        // Whatever wakes the worker meanwhile.
        let mut touched = cluster.api.get(POD).unwrap();
        for round in 0..5 {
            touched["metadata"]["annotations"] = json!({"round": round.to_string()});
            cluster.api.put(POD, touched.clone(), "MODIFIED");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(cluster.runtime.state.lock().stops, stops);
        cluster.runtime.exit("u-c-0", 143);
        cluster.api.wait(POD, |pod| pod.is_none()).await;
        assert_eq!(cluster.runtime.state.lock().execs, 1, "the hook");
        until("the event is awaited", || told(&cluster.api, "Killing") > 0).await;
        assert_eq!(told(&cluster.api, "Killing"), 1);
        cluster.shutdown.cancel();
    }
}

#[tokio::test]
async fn the_status_names_the_image_that_runs_until_another_does() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    cluster.runtime.state.lock().ends_late = true;
    let mut pod = cluster.api.get(POD).unwrap();
    pod["spec"]["containers"][0]["image"] = json!("i:2");
    pod["metadata"]["generation"] = json!(2);
    cluster.api.put(POD, pod, "MODIFIED");
    until("the old container is told to end", || cluster.runtime.state.lock().stops == 1).await;
    let seen =
        |pod: Option<&Value>, generation: i64| pod.is_some_and(|pod| pod["status"]["observedGeneration"] == generation);
    let pod = cluster.api.wait(POD, |pod| seen(pod, 2)).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "i:1");
    cluster.runtime.exit("u-c-0", 143);
    let restarted =
        |pod: Option<&Value>| pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1);
    let pod = cluster.api.wait(POD, restarted).await.unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "i:2");
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_resize_is_told_to_wait_for_the_next_start() {
    let cluster = start();
    let cpu = |amount: &str| json!({"limits": {"cpu": amount}, "requests": {"cpu": amount}});
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "resources": cpu("10m")}]}));
    let mut pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    pod["spec"]["containers"][0]["resources"] = cpu("20m");
    pod["metadata"]["generation"] = json!(2);
    cluster.api.put(POD, pod, "MODIFIED");
    let pod = cluster.api.wait(POD, |pod| condition(pod, "PodResizePending", "True")).await.unwrap();
    let pending = pod["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodResizePending");
    assert_eq!(pending.unwrap()["reason"], "Infeasible");
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!((&status["resources"], &status["allocatedResources"]), (&cpu("10m"), &json!({"cpu": "10m"})));
    cluster.runtime.exit("u-c-0", 1);
    let resized =
        |pod: Option<&Value>| pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["resources"] == cpu("20m"));
    let waits = |pod: Option<&Value>| ["True", "False"].iter().any(|status| condition(pod, "PodResizePending", status));
    cluster.api.wait(POD, |pod| resized(pod) && !waits(pod)).await;
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_job_that_is_lost_starts_nothing_beside_those_that_go_on() {
    let cluster = start();
    {
        let mut state = cluster.runtime.state.lock();
        (state.hangs, state.stop_panics) = (Some("b".into()), true);
    }
    let probe = json!({"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1});
    create(
        &cluster.api,
        json!({"containers": [{"name": "a", "image": "i:1", "livenessProbe": probe}, {"name": "b", "image": "i:1"}]}),
    );
    // The first stop of a panics; the probe fails again, and the second one ends it.
    until("the container is to be stopped", || cluster.runtime.state.lock().stops == 2).await;
    let made =
        |name: &str| cluster.runtime.state.lock().configs.iter().filter(|config| config.metadata.name == name).count();
    assert_eq!((made("a"), made("b")), (1, 1));
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn protection_that_the_node_does_not_have_is_refused_with_the_reason() {
    let class =
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"}, "handler": "kata"});
    let refused = "Failed to create pod sandbox: ";
    for (field, value, message) in [
        ("hostUsers", json!(false), "RuntimeClass handler \"\" does not support user namespaces"),
        ("runtimeClassName", json!("vm"), "failed to get sandbox runtime: no runtime for \"kata\" is configured"),
        ("runtimeClassName", json!("none"), "not found"),
    ] {
        let cluster = start();
        cluster.api.put("/apis/node.k8s.io/v1/runtimeclasses/vm", class.clone(), "ADDED");
        let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
        spec[field] = value;
        create(&cluster.api, spec);
        until("the refusal is awaited", || told(&cluster.api, "FailedCreatePodSandBox") > 0).await;
        let objects = cluster.api.objects.lock();
        let event = objects.live.values().find(|object| object["reason"] == "FailedCreatePodSandBox").unwrap();
        let text = event["message"].as_str().unwrap();
        assert!(text.starts_with(refused) && text.ends_with(message), "{text}");
        drop(objects);
        assert!(cluster.runtime.state.lock().sandboxes.is_empty());
        cluster.shutdown.cancel();
    }
    let cluster = start();
    let context = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}});
    create(&cluster.api, json!({"securityContext": context, "containers": [{"name": "c", "image": "i:1"}]}));
    let pod = cluster.api.wait(POD, |pod| phase(pod, "Failed")).await.unwrap();
    assert_eq!(pod["status"]["reason"], "AppArmor");
    assert!(pod["status"]["message"].as_str().unwrap().starts_with("Pod was rejected: Cannot enforce AppArmor: "));
    cluster.shutdown.cancel();
    let cluster = start();
    let context = json!({"procMount": "Unmasked"});
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "securityContext": context}]}));
    let waits = |pod: Option<&Value>| {
        let waiting = pod.map(|pod| &pod["status"]["containerStatuses"][0]["state"]["waiting"]);
        waiting.is_some_and(|waiting| waiting["reason"] == "CreateContainerConfigError")
    };
    let pod = cluster.api.wait(POD, waits).await.unwrap();
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("needs a user namespace"), "{message}");
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn the_status_says_how_volumes_are_mounted() {
    let cluster = start();
    let mount = |path: &str, read_only: bool, recursive: Value| json!({"name": "e", "mountPath": path, "readOnly": read_only, "recursiveReadOnly": recursive});
    let mut mounts = vec![mount("/a", false, Value::Null), mount("/b", true, Value::Null)];
    if coracle_testing::is_root() {
        mounts.push(mount("/c", true, json!("IfPossible")));
    }
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1", "volumeMounts": mounts}], "volumes": [{"name": "e", "emptyDir": {}}]}),
    );
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    let told = pod["status"]["containerStatuses"][0]["volumeMounts"].as_array().unwrap().clone();
    let modes: Vec<_> = told.iter().map(|mount| mount["recursiveReadOnly"].as_str().unwrap_or("-")).collect();
    assert_eq!(modes, ["-", "Disabled", "Enabled"][..mounts.len()]);
    if let [_, _, recursive, ..] = cluster.runtime.state.lock().configs[0].mounts.as_slice()
        && mounts.len() == 3
    {
        assert!(std::fs::write(format!("{}/new", recursive.host_path), "x").is_err());
    }
    cluster.api.put(POD, pod, "DELETED");
    until("the pod's directory goes", || !cluster.dir.path().join("kubelet/pods/u").exists()).await;
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_pod_whose_object_vanishes_is_removed_from_the_node() {
    let cluster = start();
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1"}]}));
    let pod = cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await.unwrap();
    cluster.api.put(POD, pod, "DELETED");
    for _ in 0..200 {
        if cluster.runtime.state.lock().sandboxes.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.runtime.state.lock().sandboxes.is_empty());
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_and_readiness_decides_ready() {
    let cluster = start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let probe = |port: u16| json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1});
    create(
        &cluster.api,
        json!({"containers": [
        {"name": "a", "image": "i:1", "readinessProbe": probe(open)},
        {"name": "b", "image": "i:1", "livenessProbe": probe(1)}]}),
    );
    let pod = cluster
        .api
        .wait(POD, |pod| pod.is_some_and(|pod| pod["status"]["containerStatuses"][1]["restartCount"] == 1))
        .await;
    assert_eq!(pod.unwrap()["status"]["containerStatuses"][0]["ready"], true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let objects = cluster.api.objects.lock();
    let messages: Vec<&str> = objects
        .live
        .iter()
        .filter(|(path, _)| path.contains("/events/"))
        .filter_map(|(_, e)| e["message"].as_str())
        .collect();
    assert!(
        messages.contains(&"Liveness probe failed: dial tcp 127.0.0.1:1: connect: connection refused"),
        "{messages:?}"
    );
    assert!(messages.contains(&"Container b failed liveness probe, will be restarted"), "{messages:?}");
    drop(objects);
    cluster.shutdown.cancel();
}
