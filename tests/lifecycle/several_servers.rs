//! Several `coracle server` on one etcd serve one cluster: one is killed, and the others go on with all that it did.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Child, Command, Stdio};

use coracle_e2e::*;
use coracle_testing::etcd;
use serde_json::{Value, json};

const SERVERS: u16 = 3;
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server without a node, and how it is reached.
pub(super) struct Server {
    pub cluster: Cluster,
    process: Child,
    node: String,
    address: String,
    pub api: Api,
}

impl Server {
    /// Starts one. The first makes the authority, which the others are given.
    pub fn start(number: u16, members: &etcd::Cluster, first: Option<&Server>) -> Server {
        let cluster = Cluster::new(&format!("s{number}"));
        if let Some(first) = first {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(cluster.data.join("pki")).unwrap();
            for entry in fs::read_dir(first.cluster.data.join("pki")).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), cluster.data.join("pki").join(entry.file_name())).unwrap();
            }
        }
        let (node, address, port) = (format!("n{number}"), format!("192.0.2.{}", 10 + number), 16_450 + number);
        let log = fs::File::create(cluster.directory().join("log")).unwrap();
        let mut command = Command::new(built("coracle"));
        command.args(["server", "--disable-agent", "--name", &cluster.name, "--data-dir"]).arg(&cluster.data);
        command.args(["--node-name", &node, "--node-ip", &address, "--port", &port.to_string()]);
        command.arg(format!("--etcd-servers={}", members.urls().join(",")));
        command.env("KUBECONFIG", &cluster.kubeconfig).stdin(Stdio::null());
        let process = command.stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap();
        let told = || fs::read_to_string(cluster.directory().join("log")).unwrap_or_default();
        eventually("the server tells how it is reached", || match cluster.kubeconfig.exists() {
            true => Ok(()),
            false => Err(told()),
        });
        // The address it gives others is nobody's.
        let mut remote = cluster.remote();
        remote.server = format!("https://127.0.0.1:{port}");
        let api = Api::new(&remote);
        eventually("the server is ready", || match try_get(&api, "/readyz") {
            Some(answer) if answer.status == 200 => Ok(()),
            answer => Err(format!("{:?}\n{}", answer.map(|answer| answer.text), told())),
        });
        Server { cluster, process, node, address, api }
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn try_get(api: &Api, path: &str) -> Option<Answer> {
    api.try_send(http::Request::get(path).body(Vec::new()).expect("the request is well-formed"))
}

/// The node name of the server that leads in something.
fn leader(api: &Api, lease: &str) -> String {
    let held = try_get(api, &format!("{LEASES}/{lease}")).map(|answer| answer.body).unwrap_or_default();
    let holder = held["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    holder.split_once('_').map_or(String::new(), |(node, _)| node.to_owned())
}

/// Waits until the service `kubernetes` leads to these servers, and no others.
fn led_to<'a>(api: &Api, servers: impl Iterator<Item = &'a Server>) {
    let mut expected: Vec<&str> = servers.map(|server| &*server.address).collect();
    expected.sort_unstable();
    eventually("the service kubernetes leads to the servers", || {
        let endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes").body;
        let addresses = endpoints["subsets"][0]["addresses"].as_array().cloned().unwrap_or_default();
        let addresses: Vec<&str> = addresses.iter().filter_map(|address| address["ip"].as_str()).collect();
        if addresses == expected { Ok(()) } else { Err(format!("{addresses:?} instead of {expected:?}")) }
    });
}

fn pod_spec() -> Value {
    json!({"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "i"}]})
}

/// Waits until a deployment has so many pods, and each a node.
fn placed(api: &Api, count: usize) {
    eventually("pods are made and placed", || {
        let pods = api.get(&format!("{PODS}?labelSelector=app%3Dweb")).body;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let placed = pods.iter().filter(|pod| pod["spec"]["nodeName"] == "made-up").count();
        if placed == count { Ok(()) } else { Err(format!("{placed} of {} pods", pods.len())) }
    });
}

#[test]
fn servers_on_one_etcd_serve_one_cluster_and_when_the_leading_one_is_killed_the_others_go_on() {
    if !can_run() {
        return;
    }
    let Some(members) = etcd::Cluster::start(1, &[]) else { return };
    let mut servers = vec![Server::start(1, &members, None)];
    for number in 2..=SERVERS {
        servers.push(Server::start(number, &members, servers.first()));
    }
    led_to(&servers[2].api, servers.iter());

    // A node without a kubelet: where pods are placed is all that is looked at.
    let room = json!({"cpu": "8", "memory": "8Gi", "pods": "110"});
    let node = json!({"metadata": {"name": "made-up"}, "status": {"capacity": room, "allocatable": room}});
    servers[0].api.post("/api/v1/nodes", &node).ok();
    eventually("the default service account comes", || {
        match servers[1].api.get("/api/v1/namespaces/default/serviceaccounts/default").status {
            200 => Ok(()),
            status => Err(status),
        }
    });
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let deployment = json!({"metadata": {"name": "web"}, "spec": spec});
    servers[0].api.post("/apis/apps/v1/namespaces/default/deployments", &deployment).ok();
    placed(&servers[1].api, 2);

    let leading = leader(&servers[0].api, "kube-controller-manager");
    let at = servers.iter().position(|server| server.node == leading).expect("one of the servers leads");
    let mut killed = servers.remove(at);
    killed.kill();
    // What one of the others is told, all know at once.
    let scaled = servers[0].api.patch(
        "/apis/apps/v1/namespaces/default/deployments/web",
        MERGE,
        &json!({"spec": {"replicas": 5}}),
    );
    assert_eq!(servers[1].api.get("/apis/apps/v1/namespaces/default/deployments/web").body, scaled.ok());
    placed(&servers[1].api, 5);
    for lease in ["kube-controller-manager", "kube-scheduler"] {
        let now = leader(&servers[0].api, lease);
        assert!(servers.iter().any(|server| server.node == now), "{lease} is held by {now}");
    }
    led_to(&servers[0].api, servers.iter());
}
