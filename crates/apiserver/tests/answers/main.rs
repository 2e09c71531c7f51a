//! What the API server answers, asked of it in this process: no socket, no node, no root. With `CORACLE_TEST_STORE=etcd` all
//! of it is asked of servers that stand on an etcd each.

mod access;
mod admission_policies;
mod admission_webhooks;
mod aggregation;
mod apply;
mod audit;
mod authentication;
mod authorization;
mod certificates;
mod changes;
mod classes;
mod conformance;
mod connections;
mod conversion;
mod custom;
mod defaults;
mod documents;
mod etcd;
mod evictions;
mod foreign;
mod held;
mod hostile;
mod joining;
mod kinds;
mod lagging;
mod legacy_tokens;
mod limit_ranges;
mod malformed;
mod metrics;
mod mutating_policies;
mod network_policies;
mod node;
mod objects;
mod other_server;
mod owner_references;
mod pod_security;
mod quotas;
mod reading;
mod refusals;
mod resource_metrics;
mod services;
mod shares;
mod unreadable;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use coracle_apiserver::auth::User;
use coracle_apiserver::{Config, Server};
use coracle_pki::{Authority, Current, Pair};
use coracle_store::{Embedded, Options, Store};
use coracle_testing::etcd::Cluster;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

/// An API server of a test, with its data in a directory that goes with it.
struct Api {
    server: Server,
    store: Arc<dyn Store>,
    authority: Arc<Authority>,
    /// The server's certificate, and an administrator's.
    serving: Arc<Current>,
    admin: Pair,
    _dir: tempfile::TempDir,
    /// The cluster of etcd that it stands on, if it does.
    _cluster: Option<Cluster>,
}

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Api {
    async fn new() -> Api {
        Api::over(|store| store).await
    }

    /// One on a store that is made of the usual one.
    async fn over(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Api {
        let dir = tempfile::tempdir().expect("a directory");
        let cluster = std::env::var("CORACLE_TEST_STORE").ok().filter(|store| store == "etcd");
        let cluster = cluster.and_then(|_| Cluster::start(1, &[]));
        let store: Arc<dyn Store> = match &cluster {
            Some(cluster) => Arc::new(etcd::connect(cluster.urls()).await),
            None => Arc::new(Embedded::open(&dir.path().join("store"), Options::default()).expect("a store")),
        };
        let mut api = Api::on(dir, wrap(store)).await;
        api._cluster = cluster;
        // What the controllers of a cluster make first.
        api.post("/api/v1/namespaces/default/serviceaccounts", &serde_json::json!({"metadata": {"name": "default"}}))
            .await;
        api
    }

    /// One that begins with what another has stored.
    async fn after(other: Api) -> Api {
        drop(other.server);
        let api = Api::on(other._dir, other.store).await;
        Api { _cluster: other._cluster, ..api }
    }

    async fn on(dir: tempfile::TempDir, store: Arc<dyn Store>) -> Api {
        Api::at(Ipv4Addr::new(192, 0, 2, 1), dir, store).await
    }

    /// One that clients reach at an address.
    async fn at(advertised: Ipv4Addr, dir: tempfile::TempDir, store: Arc<dyn Store>) -> Api {
        Api::set_up(advertised, dir, store, |_| ()).await
    }

    /// One that is set up in another way than usual.
    async fn with(change: impl FnOnce(&mut Config)) -> Api {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Embedded::open(&dir.path().join("store"), Options::default()).expect("a store");
        Api::set_up(Ipv4Addr::new(192, 0, 2, 1), dir, Arc::new(store), change).await
    }

    async fn set_up(
        advertised: Ipv4Addr,
        dir: tempfile::TempDir,
        store: Arc<dyn Store>,
        change: impl FnOnce(&mut Config),
    ) -> Api {
        let authority = Arc::new(Authority::open(&dir.path().join("pki")).expect("an authority"));
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let serving = authority.server("kube-apiserver", &[], &[], &[address]).expect("a certificate");
        let admin = authority.client("admin", "admin", &["system:masters"]).expect("a certificate");
        let current = |pair: &Pair| Current::new(pair).expect("a usable certificate");
        let mut config = Config::new(store.clone(), authority.clone()).expect("a configuration");
        config.advertise_address = IpAddr::V4(advertised);
        change(&mut config);
        let server = Server::new(config).await.expect("a server");
        Api { server, store, authority, serving: current(&serving), admin, _dir: dir, _cluster: None }
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        self.call_by(User::new("admin", &["system:masters"]), method, path, headers, body).await
    }

    async fn call_by(&self, user: User, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::from(body))).expect("a request");
        let (parts, body) = self.server.handle(request, Some(Arc::new(user))).await.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], String::new()).await
    }

    /// The first pieces of a watch, whose answer has no end.
    async fn pieces(&self, path: &str, accept: &str, count: usize) -> Vec<bytes::Bytes> {
        let request = Request::get(path).header("accept", accept).body(Full::new(bytes::Bytes::new()));
        let user = Arc::new(User::new("admin", &["system:masters"]));
        let mut body = self.server.handle(request.expect("a request"), Some(user)).await.into_body();
        let mut pieces = Vec::new();
        while pieces.len() < count {
            let frame = body.frame().await.expect("a piece").unwrap_or_else(|error| panic!("{error}"));
            pieces.push(frame.into_data().expect("data"));
        }
        pieces
    }

    async fn first_event(&self, path: &str) -> Value {
        self.event(path, |_| true).await
    }

    /// The first event of a watch that is looked for.
    async fn event(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut count = 0;
        loop {
            count += 1;
            let pieces = self.pieces(path, "application/json", count).await;
            let text = pieces.concat();
            let events = serde_json::Deserializer::from_slice(&text).into_iter();
            if let Some(event) = events.map(|event| event.expect("an event")).find(&wanted) {
                return event;
            }
        }
    }

    /// Reads, changes and writes an object, again if another writer was faster.
    async fn replace(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        loop {
            let mut object = self.get(path).await.ok();
            change(&mut object);
            let answer = self.put(path, &object).await;
            if answer.status != StatusCode::CONFLICT {
                return answer.ok();
            }
        }
    }

    async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call(Method::GET, path, &[("accept", accept)], String::new()).await
    }

    async fn post(&self, path: &str, object: &Value) -> Answer {
        self.call(Method::POST, path, &[], object.to_string()).await
    }

    async fn put(&self, path: &str, object: &Value) -> Answer {
        self.call(Method::PUT, path, &[], object.to_string()).await
    }

    async fn patch(&self, kind: &str, path: &str, patch: &Value) -> Answer {
        let media_type = format!("application/{kind}+json");
        self.call(Method::PATCH, path, &[("content-type", &media_type)], patch.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], String::new()).await
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The object of a success.
    fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text);
        self.json()
    }

    fn refused(&self, code: u16, message: &str) {
        assert_eq!((self.status.as_u16(), self.json()["message"].as_str()), (code, Some(message)), "{}", self.text);
    }

    fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter();
        let text = |value: &str| value.strip_prefix("299 - \"")?.strip_suffix('"').map(str::to_owned);
        values.map(|value| text(value.to_str().expect("text")).expect("a warning")).collect()
    }
}
