//! Upstream's kubelet with containerd, as a node of ours. `CORACLE_KUBELET` names the kubelet.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use coracle_e2e::*;
use serde_json::json;

use super::{has_tools, program, write};
use crate::machine::{Daemon, Machine};

/// Where Debian has the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Kubelet and containerd on a machine, in a PID namespace of their own, with which all that they started ends.
struct Upstream {
    first: Child,
    cgroup: String,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        // What runs in a cgroup ends with the namespace, but not at once.
        let emptied = || cgroups(&self.cgroup).iter().rev().filter(|dir| fs::remove_dir(dir).is_err()).count() == 0;
        for _ in 0..100 {
            if emptied() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Those of the name in all hierarchies, and what is below them; outer ones first.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = hierarchies().into_iter().map(|root| root.join(name)).collect();
    while let Some(dir) = left.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        left.extend(
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
        );
        found.push(dir);
    }
    found.sort();
    found
}

fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2].starts_with("cgroup")).map(|fields| PathBuf::from(fields[1])).collect()
}

/// The kubelet, if everything is there that this takes.
fn kubelet() -> Option<OsString> {
    let program = program("CORACLE_KUBELET")?;
    let tools = [
        ("containerd", "--version"),
        ("ctr", "--version"),
        ("runc", "--version"),
        ("unshare", "--version"),
        ("ip", "-V"),
    ];
    if !has_tools(&tools) {
        return None;
    }
    if !Path::new(PLUGINS).join("bridge").exists() {
        skip(Lacks::Tool("the package containernetworking-plugins is not there"));
        return None;
    }
    Some(program)
}

/// The second number of its version.
fn minor(kubelet: &OsString) -> u32 {
    let told = Command::new(kubelet).arg("--version").output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    told.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

fn start(machine: &Machine, kubelet: &OsString, server: &Cluster, token: &str, address: &str) -> Upstream {
    let remote = server.remote();
    let dir = server.directory().join("upstream");
    let show = |path: &Path| path.to_str().unwrap().to_owned();
    let authority = show(&write(dir.join("ca.crt"), std::str::from_utf8(&remote.ca_pem).unwrap()));
    let bootstrap = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": remote.server, "certificate-authority": authority}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let bootstrap = show(&write(dir.join("bootstrap"), &bootstrap.to_string()));
    let cgroup = format!("coracle/up-{}", std::process::id());
    for root in hierarchies() {
        let _ = fs::create_dir_all(root.join(&cgroup));
    }
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": authority}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{cgroup}"),
        "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
        "failSwapOn": false, "rotateCertificates": true, "serverTLSBootstrap": true, "resolvConf": "",
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100, "healthzPort": 0, "oomScoreAdj": 0,
    });
    if minor(kubelet) >= 31 {
        // From 1.35 on it refuses hosts with cgroups of version 1 otherwise; earlier ones do not know the field.
        config["failCgroupV1"] = json!(false);
    }
    let config = show(&write(dir.join("kubelet.json"), &config.to_string()));
    let server_address = remote.server.trim_start_matches("https://").trim_end_matches(":6443");
    let (socket, networks) = (show(&dir.join("containerd.sock")), show(&dir.join("cni")));
    fs::create_dir_all(&networks).unwrap();
    let containerd = format!(
        "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\noom_score = 0\n[grpc]\naddress = \"{socket}\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"docker.io/library/test:1\"\nrestrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"{PLUGINS}\"\nconf_dir = \"{networks}\"\n",
        dir.display()
    );
    let containerd = show(&write(dir.join("containerd.toml"), &containerd));
    let archive = show(&dir.join("image.tar"));
    write_archive(&built("coracle-test-image"), &["test:1"], Path::new(&archive)).unwrap();
    // The route is what a network for upstream's nodes would add: the way to the other node's pods.
    let script = format!(
        "ip route add 10.244.0.0/24 via {server_address}\n\
         containerd --config {containerd} > {0}/containerd.log 2>&1 &\n\
         until ctr -a {socket} -n k8s.io images import {archive}; do sleep 0.1; done\n\
         exec \"$KUBELET\" --config {config} --bootstrap-kubeconfig {bootstrap} --kubeconfig {0}/kubeconfig --root-dir {0}/kubelet \
         --cert-dir {0}/pki --container-runtime-endpoint unix://{socket} --node-ip {address} \
         --hostname-override two --volume-plugin-dir {0}/plugins > {0}/kubelet.log 2>&1",
        dir.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]).env("KUBELET", kubelet);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Upstream { first: machine.enter(&mut command).spawn().unwrap(), cgroup }
}

/// The end of its log.
fn log(server: &Cluster) -> String {
    let text = fs::read_to_string(server.directory().join("upstream/kubelet.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

#[test]
fn upstreams_kubelet_with_containerd_joins_and_runs_pods() {
    if !can_run() {
        return;
    }
    let Some(kubelet) = kubelet() else { return };
    let (router, one, two) = (Machine::router(&[1]), Machine::new(), Machine::new());
    let (address, other) = (router.connect(&one, 1, 2).to_string(), router.connect(&two, 1, 3).to_string());
    let server = Daemon::start(&one, "upkub", "server", &["--node-name", "one", "--node-ip", &address]);
    eventually("the server answers", || {
        let mut command = server.cluster.command("token ls");
        let output = one.enter(&mut command).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(server.log()) }
    });
    let token = server.ok("token create", &[]);
    let _upstream = start(&two, &kubelet, &server.cluster, token.trim(), &other);
    one.in_network(|| {
        let cluster = &server.cluster;
        let node = || cluster.api().get("/api/v1/nodes/two").text;
        eventually("the node has a range", || {
            let node: serde_json::Value = serde_json::from_str(&node()).unwrap_or_default();
            let Some(range) = node["spec"]["podCIDR"].as_str() else { return Err(format!("{node}\n{}", log(cluster))) };
            let chain = json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [{
                "type": "bridge", "bridge": "pods", "isGateway": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": range}]], "routes": [{"dst": "0.0.0.0/0"}],
                         "dataDir": cluster.directory().join("upstream/addresses")},
            }]});
            write(cluster.directory().join("upstream/cni/10-pods.conflist"), &chain.to_string());
            Ok(())
        });
        eventually("the node is Ready", || {
            let node = node();
            if node.contains("kubelet is posting ready status") {
                Ok(())
            } else {
                Err(format!("{node}\n{}", log(cluster)))
            }
        });
        server.ok("image load", &[cluster.directory().join("upstream/image.tar").to_str().unwrap()]);
        let namespace = cluster.namespace("upkub");
        for (name, node) in [("there", "two"), ("here", "one")] {
            let mut object = pod(name, &["serve", "--port", "8081", "--body", name]);
            object["spec"]["nodeName"] = json!(node);
            object["metadata"]["labels"] = json!({"app": name});
            namespace.create("pods", &object);
        }
        let there = eventually("the pod runs", || {
            let pod = namespace.pod("there");
            if pod["status"]["phase"] == "Running" {
                Ok(pod)
            } else {
                Err(format!("{}\n{}", pod["status"], log(cluster)))
            }
        });
        let (there, here) = (there["status"]["podIP"].clone(), namespace.pod_ready("here")["status"]["podIP"].clone());
        let (there, here) = (there.as_str().unwrap(), here.as_str().unwrap());
        let mut from_one = pod("from-one", &["sh", "-c", &format!("wget http://{there}:8081/")]);
        from_one["spec"]["nodeName"] = json!("one");
        assert_eq!(namespace.run_pod(&from_one).log.trim(), "there");
        let mut from_two = pod("from-two", &["sh", "-c", &format!("wget http://{here}:8081/")]);
        from_two["spec"]["nodeName"] = json!("two");
        let run = namespace.run_pod(&from_two);
        // Its log came through our server from upstream's kubelet.
        assert_eq!((run.code, run.log.trim()), (0, "here"), "{}", log(cluster));
        for path in ["/api/v1/nodes/two/proxy/healthz", "/api/v1/nodes/two/proxy/stats/summary"] {
            let answer = cluster.api().get(path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
        let path = namespace.path("pods/there");
        cluster.api().delete(&path, &json!({"gracePeriodSeconds": 1})).ok();
        eventually("the pod is gone", || {
            let found = cluster.api().get(&path);
            if found.status == 404 { Ok(()) } else { Err(format!("{}\n{}", found.text, log(cluster))) }
        });
    });
}
