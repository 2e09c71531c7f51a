//! An API server with a scheduler, and a hand that does what kubelets would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use coracle_apiserver::Server;
use coracle_apiserver::auth::User;
use coracle_client::{Election, in_process};
use coracle_pki::{Authority, Current, Pair};
use coracle_scheduler::{Config, SchedulerConfiguration};
pub use coracle_testing::until;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub struct Cluster {
    server: Server,
    pub authority: Arc<Authority>,
    pub admin: Pair,
    schedulers: Vec<AbortHandle>,
    pub client: Client,
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// An API server, and nobody who schedules.
    pub async fn bare() -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let config = coracle_apiserver::Config::in_directory(dir.path()).expect("a configuration");
        let authority = config.authority.clone();
        let admin = authority.client("admin", "admin", &["system:masters"]).expect("a certificate");
        let server = Server::new(config).await.expect("a server");
        let client = in_process(server.service(User::new("admin", &["system:masters"])));
        let cluster = Cluster { server, authority, admin, schedulers: Vec::new(), client, dir };
        let account = json!({"metadata": {"name": "default"}});
        cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
        cluster
    }

    /// With a scheduler of the default configuration.
    pub async fn new() -> Cluster {
        let mut cluster = Cluster::bare().await;
        cluster.schedule("{}");
        cluster
    }

    /// Starts a scheduler; what the configuration says of itself is added.
    pub fn schedule(&mut self, config: &str) {
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        let body = if config == "{}" { "" } else { config };
        let scheduler = SchedulerConfiguration::parse(&format!("{head}{body}")).expect("a configuration");
        let identity = format!("test-{}", self.schedulers.len());
        let config = Config { election: scheduler.election(Election::default()), identity, scheduler };
        let client = in_process(self.server.service(User::new("system:kube-scheduler", &[])));
        let run = coracle_scheduler::run(client, config);
        let running = tokio::spawn(async move {
            let ended = run.await;
            eprintln!("the scheduler ended: {ended:?}");
        });
        self.schedulers.push(running.abort_handle());
    }

    /// Ends one of the schedulers as a crash does.
    pub fn stop(&self, number: usize) {
        self.schedulers[number].abort();
    }

    /// Lets others reach the API server by HTTPS.
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let serving = self.authority.server("kube-apiserver", &[], &[], &addresses).expect("a certificate");
        let (server, serving) = (self.server.clone(), Current::new(&serving).expect("a usable certificate"));
        tokio::spawn(async move { server.serve(listener, serving).await });
        address
    }

    pub async fn post(&self, path: &str, object: &Value) -> Value {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).expect("a request");
        self.client.request(request).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A node with so much CPU, and these fields besides.
    pub async fn node(&self, name: &str, cpu: &str, more: Value) -> Node {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"capacity": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
                "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}});
        merge(&mut node, &more);
        let node: Node = serde_json::from_value(node).expect("a node");
        let api: Api<Node> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &node).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A pod that asks for so much CPU, with these fields besides.
    pub async fn pod(&self, name: &str, cpu: &str, more: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}],
                "terminationGracePeriodSeconds": 0}});
        merge(&mut pod, &more);
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        self.pods().create(&PostParams::default(), &pod).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until a pod has a node.
    pub async fn placed(&self, name: &str) -> String {
        until(&format!("a node for {name}"), || async {
            self.pods().get(name).await.ok()?.spec?.node_name.filter(|node| !node.is_empty())
        })
        .await
    }

    /// Waits until a pod is told that it has no node, and why.
    pub async fn refused(&self, name: &str) -> String {
        until(&format!("a refusal of {name}"), || async {
            let conditions = self.pods().get(name).await.ok()?.status?.conditions?;
            let scheduled = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled")?;
            scheduled.message.filter(|_| scheduled.status == "False")
        })
        .await
    }

    /// The kubelet says that a pod that is being deleted has ended.
    pub async fn bury(&self, name: &str) {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = self.pods().delete(name, &params).await;
    }

    /// Waits for an event about a pod.
    pub async fn event(&self, name: &str, reason: &str) -> Event {
        let params = ListParams::default().fields(&format!("involvedObject.name={name},reason={reason}"));
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        until(&format!("the event {reason} of {name}"), || async {
            events.list(&params).await.expect("a list").items.into_iter().next()
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.schedulers.iter().for_each(AbortHandle::abort);
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(fields), Some(more)) => {
            for (key, value) in more {
                merge(fields.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}
