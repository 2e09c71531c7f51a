//! `coracle server`: a cluster on the host itself.

use std::fs;
use std::process::{Child, Command, Stdio};

use coracle_e2e::*;
use coracle_testing::etcd;
use parking_lot::Mutex;

pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host has room for one server at a time.
pub static HOST: Mutex<()> = Mutex::new(());

fn start(cluster: &Cluster, more: &[String]) -> Server {
    let mut command = Command::new(built("coracle"));
    command.args(["server", "--name", &cluster.name, "--port", "16443", "--data-dir"]);
    command.arg(&cluster.data).args(more).env("KUBECONFIG", &cluster.kubeconfig).stdin(Stdio::null());
    let log = fs::OpenOptions::new().create(true).append(true).open(cluster.directory().join("log")).unwrap();
    command.stderr(log.try_clone().unwrap()).stdout(log);
    Server(command.spawn().unwrap())
}

fn ready(cluster: &Cluster) {
    eventually("the node is ready", || {
        let text = cluster.run("status", &["-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&text.stdout).unwrap_or_default();
        let log = fs::read_to_string(cluster.directory().join("log")).unwrap_or_default();
        if status["state"] == "Running" { Ok(()) } else { Err(format!("{status}\n{log}")) }
    });
}

/// Whether this host has an address that pods could reach.
pub fn has_an_address() -> bool {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let found = routes.lines().skip(1).any(|line| line.split_whitespace().nth(1) == Some("00000000"));
    if !found {
        skip(Lacks::Machine("this host has no default route"));
    }
    found
}

#[test]
fn a_server_on_the_host_is_used_stopped_and_removed_as_a_local_cluster_is() {
    if !can_run() || !has_an_address() {
        return;
    }
    let _one_at_a_time = HOST.lock();
    let cluster = Cluster::new("host");
    let before = Host::now();
    let options = ["--pod-cidr=10.244.7.0/24".to_owned()];
    let server = start(&cluster, &options);
    ready(&cluster);
    assert!(cluster.data.join("admin.kubeconfig").exists());
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    namespace.create("pods", &pod("runs", &["sleep", "1000"]));
    let runs = namespace.pod_ready("runs");
    let (uid, address) = (runs["metadata"]["uid"].clone(), runs["status"]["podIP"].as_str().unwrap_or_default());
    assert!(address.starts_with("10.244.7."), "{address}");
    let node = cluster.api().get(&format!("/api/v1/nodes/{}", runs["spec"]["nodeName"].as_str().unwrap())).ok();
    assert_eq!(node["spec"]["podCIDRs"], serde_json::json!(["10.244.7.0/24"]));
    let listed = Command::new(built("coracle")).arg("ls").output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&cluster.name));

    let again = Command::new(built("coracle"))
        .args(["server", "--name", &cluster.name, "--data-dir"])
        .arg(&cluster.data)
        .env("KUBECONFIG", &cluster.kubeconfig)
        .output()
        .unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("runs already"));

    // Containers outlive the server, and the next one finds them.
    drop(server);
    let server = start(&cluster, &options);
    ready(&cluster);
    assert_eq!(namespace.pod_ready("runs")["metadata"]["uid"], uid);
    drop(server);
    std::mem::forget(namespace);

    let made = Host::now().without(&before);
    assert!(!made.links.is_empty() && !made.tables.is_empty(), "{made:?}");
    cluster.ok("down", &[]);
    eventually("everything is as before", || {
        let left = Host::now().and(&made);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(processes_of(&cluster), []);
    assert_eq!(cgroups_of(&cluster), Vec::<String>::new());
    assert!(!cluster.data.exists());
    let config = cluster.read_kubeconfig();
    assert_eq!(config["clusters"], serde_json::json!([]));
}

#[test]
fn a_server_on_an_etcd_keeps_nothing_of_the_api_itself() {
    if !can_run() || !has_an_address() {
        return;
    }
    let Some(mut members) = etcd::Cluster::start(3, &[]) else { return };
    let _one_at_a_time = HOST.lock();
    let cluster = Cluster::new("etcd");
    let options = [format!("--etcd-servers={}", members.urls().join(","))];
    let server = start(&cluster, &options);
    ready(&cluster);
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    namespace.create("pods", &pod("first", &["sleep", "1000"]));
    let uid = namespace.pod_ready("first")["metadata"]["uid"].clone();
    assert!(!cluster.data.join("store").exists());
    for name in ["kube-scheduler", "kube-controller-manager"] {
        let lease =
            cluster.api().get(&format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}")).ok();
        assert_ne!(lease["spec"]["holderIdentity"].as_str().unwrap_or_default(), "", "{lease}");
    }

    // The member that is asked, and watched, goes.
    members.kill(0);
    namespace.create("pods", &pod("second", &["sleep", "1000"]));
    namespace.pod_ready("second");

    // The next process finds everything in etcd.
    drop(server);
    members.restart(0);
    let server = start(&cluster, &options);
    ready(&cluster);
    assert_eq!(namespace.pod_ready("first")["metadata"]["uid"], uid);
    namespace.create("pods", &pod("third", &["sleep", "1000"]));
    namespace.pod_ready("third");
    std::mem::forget(namespace);
    drop(server);
}
