//! Nodes whose pods plugins connect: those of Debian's package containernetworking-plugins.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use coracle_e2e::*;
use coracle_testing::{Lacks, skip};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::machine::{Daemon, Machine};

const PLUGINS: &str = "/usr/lib/cni";

/// Whether there are plugins.
fn has_plugins() -> bool {
    let has = Path::new(PLUGINS).join("ptp").exists();
    if !has {
        skip(Lacks::Tool("there are no CNI plugins in /usr/lib/cni (containernetworking-plugins)"));
    }
    has
}

/// A folder with a configuration in a directory.
fn folder(directory: &Path, ipam: Value) -> PathBuf {
    let folder = directory.join("net.d");
    fs::create_dir(&folder).unwrap();
    let takes = ipam["ranges"].is_null();
    let plugin = json!({"type": "ptp", "ipMasq": true, "ipam": ipam, "capabilities": {"ipRanges": takes}});
    let list = json!({"cniVersion": "1.0.0", "name": "e2e", "plugins": [plugin]});
    fs::write(folder.join("10-e2e.conflist"), list.to_string()).unwrap();
    folder
}

/// The addresses that host-local has given, by its files.
fn given(dir: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.parse::<IpAddr>().is_ok()).collect()
}

#[test]
fn each_nodes_plugins_give_addresses_of_its_range() {
    if !can_run() || !has_plugins() {
        return;
    }
    let cluster = Cluster::new("cni-nodes");
    let routes = json!([{"dst": "0.0.0.0/0"}]);
    let folder = folder(cluster.directory(), json!({"type": "host-local", "routes": routes}));
    let options = ["--nodes", "2", "--cni-conf-dir", &folder.to_string_lossy(), "--cni-bin-dir", PLUGINS];
    cluster.ok("up", &options);
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("ranges");
    let nodes = [cluster.name.clone(), format!("{}-2", cluster.name)];
    let address = |node: &str| -> IpAddr {
        let pod = namespace.pod_until(node, "has an address", |pod| {
            pod["status"]["containerStatuses"][0]["ready"] == true && pod["status"]["podIP"].is_string()
        });
        pod["status"]["podIP"].as_str().unwrap().parse().unwrap()
    };
    for node in &nodes {
        let mut object = pod(node, &["sleep", "1000"]);
        object["spec"]["nodeName"] = json!(node);
        object["spec"]["restartPolicy"] = json!("Always");
        namespace.create("pods", &object);
        let address = address(node);
        let object = cluster.api().get(&format!("/api/v1/nodes/{node}")).ok();
        let range: IpNet = object["spec"]["podCIDR"].as_str().unwrap().parse().unwrap();
        assert!(range.contains(&address), "{node}: {range} {address}");
    }
    // Pods come back after the nodes were stopped, and those of before are taken back though their namespaces are gone.
    cluster.ok("stop", &[]);
    cluster.ok("start", &[]);
    for (node, data) in nodes.iter().zip([cluster.data.clone(), cluster.data.join("nodes").join(&nodes[1])]) {
        eventually("a pod has the one address that is given", || {
            let given = given(&data.join("cni/networks/e2e"));
            let own = [address(node).to_string()].into();
            if given == own { Ok(()) } else { Err(format!("{given:?} {own:?}")) }
        });
    }
}

#[test]
fn a_host_that_is_no_node_any_more_has_nothing_left_of_what_plugins_did() {
    if !can_run() || !has_plugins() {
        return;
    }
    let (router, machine) = (Machine::router(&[1]), Machine::new());
    let address = router.connect(&machine, 1, 2).to_string();
    let state = tempfile::tempdir().unwrap();
    let ranges = json!([[{"subnet": "10.244.0.0/24"}]]);
    let ipam = json!({"type": "host-local", "dataDir": state.path().join("ipam"), "ranges": ranges});
    let folder = folder(state.path(), ipam);
    let given = || given(&state.path().join("ipam/e2e"));
    let folder = folder.to_string_lossy().into_owned();
    let options = ["--node-name", "one", "--node-ip", &address, "--cni-conf-dir", &folder, "--cni-bin-dir", PLUGINS];
    let mut server = Daemon::start(&machine, "cni-host", "server", &options);
    let ready = |server: &Daemon<'_>| {
        eventually("the node is Ready", || {
            if !server.cluster.data.join("control.sock").exists() || !server.cluster.kubeconfig.exists() {
                return Err(server.log());
            }
            let request = http::Request::get("/api/v1/nodes/one").header("accept", "application/json");
            let answer = machine.in_network(|| server.cluster.api().try_send(request.body(Vec::new()).unwrap()));
            let text = answer.map(|answer| answer.text).unwrap_or_default();
            if text.contains("kubelet is posting ready status") {
                Ok(())
            } else {
                Err(format!("{text}\n{}", server.log()))
            }
        });
    };
    ready(&server);
    server.cluster.load_image(&["test:1"]);
    let with_pod = |server: &Daemon<'_>, name: &str, create: bool| {
        machine.in_network(|| {
            let namespace = if create {
                server.cluster.namespace("here")
            } else {
                Namespace { name: "here".into(), api: server.cluster.api() }
            };
            if create {
                namespace.create("pods", &pod(name, &["sleep", "1000"]));
            }
            let pod = namespace.pod_ready(name);
            std::mem::forget(namespace);
            pod["status"]["podIP"].as_str().unwrap().to_owned()
        })
    };
    let own = with_pod(&server, "a", true);
    assert_eq!(given(), [own.clone()].into());
    // The next one finds them.
    server.again("server", &options);
    ready(&server);
    assert_eq!(with_pod(&server, "a", false), own);
    assert_eq!(given(), [own].into());
    server.kill();
    server.ok("down", &[]);
    assert!(given().is_empty(), "{:?}", given());
    assert!(!server.cluster.data.exists());
}
