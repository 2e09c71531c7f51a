//! An API server with all controllers, and a hand that does what a kubelet would.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::Server;
use coracle_apiserver::auth::User;
use coracle_client::{Election, in_process};
pub use coracle_testing::until;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

pub struct Cluster {
    server: Server,
    controllers: AbortHandle,
    pub client: Client,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub async fn new() -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let config = coracle_apiserver::Config::in_directory(dir.path()).expect("a configuration");
        let server = Server::new(config).await.expect("a server");
        let client = in_process(server.service(User::new("admin", &["system:masters"])));
        let controllers = start_controllers(&server);
        let cluster = Cluster { server, controllers, client, _dir: dir };
        let accounts = cluster.api::<ServiceAccount>();
        until("the default service account", || async { accounts.get_opt("default").await.ok().flatten() }).await;
        cluster
    }

    /// A client that is a service account of `kube-system`.
    pub fn client_of(&self, account: &str) -> Client {
        in_process(self.server.service(User::service_account("kube-system", account)))
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Kills the controllers.
    pub fn stop_controllers(&self) {
        self.controllers.abort();
    }

    /// Kills the controllers and starts them anew.
    pub fn restart_controllers(&mut self) {
        self.stop_controllers();
        self.controllers = start_controllers(&self.server);
    }

    /// Objects of the namespace `default`.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + Debug,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let patched = self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until an object is as it should be.
    pub async fn wait<K>(&self, name: &str, what: &str, fits: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api = self.api::<K>();
        until(what, || async { api.get_opt(name).await.expect("an answer").filter(|object| fits(object)) }).await
    }

    /// Pods that a label selector finds.
    pub async fn pods(&self, labels: &str) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default().labels(labels)).await.expect("a list").items
    }

    /// Waits until so many pods are there that have neither ended nor are being deleted.
    pub async fn active_pods(&self, labels: &str, count: usize) -> Vec<Pod> {
        let active = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
        };
        until(&format!("{count} active pods of {labels}"), || async {
            let pods: Vec<Pod> = self.pods(labels).await.into_iter().filter(active).collect();
            Some(pods).filter(|pods| pods.len() == count)
        })
        .await
    }

    /// The pod runs and is ready.
    pub async fn run(&self, pod: &Pod) {
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        self.set_status(pod, status).await;
    }

    /// The pod's containers end with a code; it does so `seconds` ago.
    pub async fn end(&self, pod: &Pod, code: i32, seconds: i64) {
        let at = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(seconds)).expect("a time");
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let statuses: Vec<Value> = containers
            .map(|container| {
                json!({"name": container.name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": code, "finishedAt": at.to_string()}}})
            })
            .collect();
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        self.set_status(pod, json!({"phase": phase, "containerStatuses": statuses})).await;
    }

    pub async fn set_status(&self, pod: &Pod, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.expect("a pod");
    }

    /// Puts the pod on a node, where its end takes a kubelet.
    pub async fn bind(&self, pod: &Pod) {
        let binding = json!({"metadata": {"name": pod.name_any()}, "target": {"kind": "Node", "name": "node"}});
        let path = format!("/api/v1/namespaces/default/pods/{}/binding", pod.name_any());
        self.post(&path, &binding).await.expect("a binding");
    }

    /// Posts an object of any kind.
    pub async fn post(&self, path: &str, object: &Value) -> kube::Result<Value> {
        let request = http::Request::post(path).header("content-type", "application/json");
        self.client.request(request.body(object.to_string().into_bytes()).expect("a request")).await
    }

    /// The kubelet says that a pod that is being deleted has ended.
    pub async fn bury(&self, pod: &Pod) {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.api::<Pod>().delete(&pod.name_any(), &params).await.expect("a deletion");
    }

    /// Waits for an event about an object.
    pub async fn event(&self, name: &str, reason: &str) -> Event {
        let params = ListParams::default().fields(&format!("involvedObject.name={name},reason={reason}"));
        let events = self.api::<Event>();
        until(&format!("the event {reason} of {name}"), || async {
            events.list(&params).await.expect("a list").items.into_iter().next()
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.controllers.abort();
    }
}

fn start_controllers(server: &Server) -> AbortHandle {
    let config = coracle_controllers::Config {
        cluster_cidr: "10.244.0.0/16".parse().expect("a range"),
        node_cidr_masks: Default::default(),
        root_ca: String::new(),
        api_server_names: Vec::new(),
        api_server_addresses: Vec::new(),
        authority: None,
        service_account_key: None,
        load_balancer_pool: vec!["10.90.0.128/30".parse().unwrap()],
        election: Election::default(),
        identity: "test".to_owned(),
        terminated_pod_threshold: 12_500,
        others: tokio::sync::watch::channel(true).1,
        legacy_token_clean_up_period: Duration::from_secs(3600),
    };
    let manager = in_process(server.service(User::new("system:kube-controller-manager", &[])));
    let own = server.clone();
    let clients: coracle_controllers::Clients =
        Arc::new(move |name| in_process(own.service(User::service_account("kube-system", name))));
    tokio::spawn(async move {
        let error = coracle_controllers::run(manager, clients, config).await;
        eprintln!("the controllers ended: {error:?}");
    })
    .abort_handle()
}
