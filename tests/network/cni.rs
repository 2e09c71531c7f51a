//! Pods that plugins connect: those of Debian's package containernetworking-plugins.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coracle_testing::{Lacks, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::*;

const PLUGINS: &str = "/usr/lib/cni";
const NOT_READY: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
    message:Network plugin returns error: cni plugin not initialized";

/// A cluster whose node has a folder for configurations, which is not there yet.
struct Scene {
    cluster: Cluster,
    folder: PathBuf,
}

impl Scene {
    fn new(subject: &str) -> Option<Scene> {
        if !can_run() {
            return None;
        }
        if !Path::new(PLUGINS).join("bridge").exists() {
            skip(Lacks::Tool("there are no CNI plugins in /usr/lib/cni (containernetworking-plugins)"));
            return None;
        }
        let cluster = Cluster::new(subject);
        let folder = cluster.directory().join("net.d");
        let plugins = format!("{PLUGINS},{}", cluster.directory().join("plugins").display());
        let options = ["--wait", "0s", "--cni-conf-dir", &folder.to_string_lossy(), "--cni-bin-dir", &plugins];
        cluster.ok("up", &options);
        cluster.load_image(&["test:1"]);
        Some(Scene { cluster, folder })
    }

    /// Puts a configuration into the folder, all of it at once.
    fn configure(&self, name: &str, network: &Value) {
        fs::create_dir_all(&self.folder).unwrap();
        let new = self.folder.join("new");
        fs::write(&new, network.to_string()).unwrap();
        fs::rename(new, self.folder.join(name)).unwrap();
    }

    fn until_node_is(&self, status: &str, message: &str) {
        eventually(&format!("the node's Ready is {status}"), || {
            let node = self.cluster.api().get(&format!("/api/v1/nodes/{}", self.cluster.name)).ok();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().find(|one| one["type"] == "Ready").unwrap_or_default();
            let fits =
                ready["status"] == status && ready["message"].as_str().is_some_and(|said| said.contains(message));
            if fits { Ok(()) } else { Err(ready.to_string()) }
        });
    }

    /// The addresses that host-local has given to pods of a network.
    fn given(&self, network: &str) -> BTreeSet<String> {
        let files = fs::read_dir(self.cluster.data.join("cni/networks").join(network)).into_iter().flatten().flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
    }

    fn kill_daemon(&self) {
        let killed = eventually("there is a daemon to kill", || self.cluster.daemon().ok_or("there is none"));
        let _ = Pid::from_raw(killed).map(|pid| kill_process(pid, Signal::KILL));
        eventually("the daemon is started again", || match self.cluster.daemon() {
            Some(pid) if pid != killed => Ok(()),
            _ => Err("it is not"),
        });
        eventually("the server answers", || {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            let answer = self.cluster.api().try_send(request).ok_or("it does not".to_owned())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        });
    }
}

/// A bridge with addresses of one range, and what more there is in the chain.
fn bridge(name: &str, more: &[Value]) -> Value {
    let routes = json!([{"dst": "0.0.0.0/0"}]);
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.244.77.0/24"}]], "routes": routes});
    let first = json!({"type": "bridge", "bridge": "cni-e2e", "isGateway": true, "ipMasq": true,
        "hairpinMode": true, "ipam": ipam});
    let plugins = [&[first], more].concat();
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

fn portmap() -> Value {
    json!({"type": "portmap", "capabilities": {"portMappings": true}})
}

/// A pod that serves, and that any node takes.
fn tolerant(name: &str) -> Value {
    let mut object = pod(name, &["serve", "--port", "8080"]);
    object["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    object
}

#[test]
fn a_chain_of_plugins_connects_pods_and_takes_back_what_it_did() {
    let Some(scene) = Scene::new("cni") else { return };
    let cluster = &scene.cluster;
    scene.until_node_is("False", NOT_READY);
    let namespace = cluster.namespace("cni");
    namespace.create("pods", &tolerant("s"));
    let mut of_host = tolerant("host");
    of_host["spec"]["hostNetwork"] = json!(true);
    namespace.create("pods", &of_host);
    namespace.pod_ready("host");
    namespace.event("s", "NetworkNotReady", &format!("network is not ready: {NOT_READY}"));
    assert!(namespace.pod("s")["status"]["podIP"].is_null());

    let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    scene.configure("10-e2e.conflist", &bridge("e2e", &[portmap(), bandwidth]));
    scene.until_node_is("True", "kubelet is posting ready status");
    let to = address(&namespace, "s");
    assert!(to.starts_with("10.244.77."), "{to}");
    assert_eq!(scene.given("e2e"), [to.clone()].into());

    // Pods reach each other, a service of another and one of their own, by its name.
    let run = namespace.run(&["sh", "-c", &format!("wget http://{to}:8080/client; hostname")]);
    assert!(run.code == 0 && run.log.starts_with("10.244.77."), "{run:?}");
    let ports = json!([{"port": 80, "targetPort": 8080, "nodePort": 31877}]);
    service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": ports, "type": "NodePort"}));
    assert_eq!(namespace.run_until_ok(&["wget", "http://web.cni.svc.cluster.local/"]), "s\n");
    let kubectl = kubectls().first().map(|program| Kubectl::new(cluster, program, "cni"));
    let own = || {
        let Some(kubectl) = &kubectl else { return };
        eventually("a pod reaches itself by its service", || {
            let ran = kubectl.run(&["exec", "s", "--", "wget", "http://web/"]);
            if ran.out == "s\n" { Ok(()) } else { Err(format!("{ran:?}")) }
        });
    };
    own();
    let node = cluster.node_address();
    assert_eq!(eventually("the node port is served", || page(&format!("{node}:31877"), "/")), "s");
    let mut mapped = tolerant("mapped");
    mapped["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 18077}]);
    mapped["metadata"]["annotations"] =
        json!({"kubernetes.io/ingress-bandwidth": "800M", "kubernetes.io/egress-bandwidth": "900M"});
    namespace.create("pods", &mapped);
    let taken = address(&namespace, "mapped");
    assert_eq!(eventually("the host port is served", || page(&format!("{node}:18077"), "/")), "mapped");

    // The plugin makes a link for each pod whose traffic it limits.
    let limiting = || {
        let daemon = cluster.daemon().unwrap_or_default();
        let links = fs::read_to_string(format!("/proc/{daemon}/net/dev")).unwrap_or_default();
        links.lines().filter(|line| line.trim_start().starts_with("bwp")).count()
    };
    assert_eq!(limiting(), 1);
    let mut odd = tolerant("odd");
    odd["metadata"]["annotations"] = json!({"kubernetes.io/egress-bandwidth": "10"});
    namespace.create("pods", &odd);
    namespace.event("odd", "FailedCreatePodSandBox", "resource is unreasonably small (< 1kbit)");

    // The next daemon knows all of them.
    scene.kill_daemon();
    own();
    assert_eq!((address(&namespace, "s"), address(&namespace, "mapped")), (to.clone(), taken.clone()));
    assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{to}:8080/")]), "s\n");

    // Another chain, without a plugin for host ports.
    scene.configure("05-other.conflist", &bridge("other", &[]));
    let pod_of_other = || {
        let run = namespace.run_pod(&mapped_run());
        scene.given("other").is_empty().then_some(()).ok_or(format!("{run:?}"))
    };
    eventually("nothing is left of the other chain's pods", pod_of_other);
    let events = namespace.api.get(&namespace.path("events?fieldSelector=reason=HostPortNotSupported")).ok();
    let told = events["items"][0]["message"].as_str().unwrap_or_default();
    assert!(told.contains("portMappings"), "{events:#}");

    // Nothing is left of pods that go, whatever is in the folder.
    fs::remove_dir_all(&scene.folder).unwrap();
    scene.until_node_is("False", NOT_READY);
    for name in ["s", "mapped"] {
        namespace.api.delete(&namespace.path(&format!("pods/{name}")), &json!({})).ok();
    }
    eventually("their addresses come back", || match scene.given("e2e") {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    assert!(page(&format!("{node}:18077"), "/").is_err());
    assert_eq!(limiting(), 0);
    let state =
        || fs::read_dir(cluster.data.join("run/cni")).unwrap().flatten().map(|file| file.path()).collect::<Vec<_>>();
    eventually("no attachment is left", || if state().is_empty() { Ok(()) } else { Err(format!("{:?}", state())) });
}

/// A pod with a host port that ends at once.
fn mapped_run() -> Value {
    let mut object = pod("", &["hostname"]);
    object["metadata"] = json!({"generateName": "run-"});
    object["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 18078}]);
    object
}

#[test]
fn a_plugin_that_calls_others_gives_a_pod_a_second_link() {
    let Some(scene) = Scene::new("cni-meta") else { return };
    let at = |name: &str| scene.cluster.directory().join(name);
    let ptp = json!({"cniVersion": "1.0.0", "name": "second", "type": "ptp",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.78.0/24"}]]}});
    let mut first = bridge("first", &[])["plugins"][0].clone();
    first["cniVersion"] = json!("1.0.0");
    first["name"] = json!("first");
    for (name, request) in [("first.json", &first), ("second.json", &ptp)] {
        fs::write(at(name), request.to_string()).unwrap();
    }
    let script = "#!/bin/sh\ncat > /dev/null\n\
        CNI_IFNAME=net1 PLUGINS/ptp < DIR/second.json > DIR/answer || { cat DIR/answer; exit 1; }\n\
        exec PLUGINS/bridge < DIR/first.json\n";
    let script = script.replace("PLUGINS", PLUGINS).replace("DIR", &at("").to_string_lossy());
    // Beside those that it calls, which call more.
    let write = "mkdir \"$0\" && cat > \"$0/meta\" && chmod 755 \"$0/meta\"";
    let mut writer = Command::new("sh").args(["-c", write]).arg(at("plugins")).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());

    scene.configure("10-meta.conf", &json!({"cniVersion": "1.0.0", "name": "meta", "type": "meta"}));
    scene.until_node_is("True", "kubelet is posting ready status");
    let namespace = scene.cluster.namespace("meta");
    let run = namespace.run(&["sh", "-c", "hostname; cat /proc/net/dev"]);
    let links: BTreeSet<&str> = run.log.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert!(links.contains("eth0") && links.contains("net1"), "{run:?}");
    namespace.create("pods", &tolerant("s"));
    let to = address(&namespace, "s");
    assert!(to.starts_with("10.244.77."), "{to}");
    assert_eq!((scene.given("first"), scene.given("second").len()), ([to].into(), 1));
    namespace.api.delete(&namespace.path("pods/s"), &json!({})).ok();
    eventually("addresses of both links come back", || {
        match scene.given("first").union(&scene.given("second")).count() {
            0 => Ok(()),
            left => Err(left.to_string()),
        }
    });
}
