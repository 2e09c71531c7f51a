//! Daemons that are killed, nodes that are stopped, and nodes that are cut off from the others, one after the other, while clients
//! call all the time.
//!
//! By itself it kills daemons. `CORACLE_CUT_OFF=some` also stops nodes and cuts them off, one of them until the others have given it up,
//! and `all` does that with each; both take minutes, and a machine that is busy with other things makes calls fail that must not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coracle_e2e::*;
use serde_json::{Value, json};

use crate::links::HostLink;
use crate::load::{Client, none_failed, now, settled};
use crate::local::{NODES, agent, condition, first_process, kill, names, run_on};

/// What the one pod of the StatefulSet answers; nothing else on the host has it in its command.
const ONLY: &str = "the-only-one";
/// The number of the node that it prefers.
const HOME: usize = 2;

/// A container that serves, and goes on for a while when it is to end, so that those who call it hear of that first.
fn serving(body: &[&str]) -> Value {
    let mut container = container("main", &[&["serve", "--port", "8080"], body].concat());
    container["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 2}}});
    container
}

/// The spec of pods that leave a node a second after it was given up.
fn leaving(container: Value) -> Value {
    let tolerate = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    json!({"terminationGracePeriodSeconds": 5, "containers": [container],
        "tolerations": [tolerate("node.kubernetes.io/unreachable"), tolerate("node.kubernetes.io/not-ready")]})
}

/// A Deployment of one pod a node, not on those that are named.
fn deployment(namespace: &Namespace<'_>, name: &str, replicas: u8, not_on: &[&str]) {
    let mut spec = leaving(serving(&[]));
    let apart = json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": name}}}]);
    spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}});
    if !not_on.is_empty() {
        let terms =
            json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": not_on}]}]);
        spec["affinity"]["nodeAffinity"] =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    }
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": spec});
    let object = json!({"metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}});
    namespace.api.post(&namespace.path_in("apps/v1", "deployments"), &object).ok();
}

fn service(namespace: &Namespace<'_>, name: &str, app: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    namespace.create("services", &json!({"metadata": {"name": name}, "spec": spec}))
}

/// The nodes of the endpoints of a service that are ready.
fn endpoints(namespace: &Namespace<'_>, service: &str) -> Vec<String> {
    let path = format!("endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{service}");
    let slices = namespace.api.get(&namespace.path_in("discovery.k8s.io/v1", &path)).ok();
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let mut nodes: Vec<String> = ready.filter_map(|endpoint| Some(endpoint["nodeName"].as_str()?.to_owned())).collect();
    nodes.sort();
    nodes
}

/// Waits until a service has endpoints on these nodes and no others.
#[track_caller]
fn endpoints_are(namespace: &Namespace<'_>, service: &str, nodes: &[&String]) {
    let mut wanted: Vec<String> = nodes.iter().map(|node| (*node).clone()).collect();
    wanted.sort();
    eventually(&format!("the endpoints of {service} are on {wanted:?}"), || match endpoints(namespace, service) {
        found if found == wanted => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

/// The hardware addresses of the host's neighbours.
fn neighbours() -> BTreeMap<String, String> {
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.first()?).to_owned(), (*words.get(3)?).to_owned()))
    };
    table.lines().filter_map(entry).collect()
}

/// The node that answers for an address.
fn announcer<'a>(nodes: &'a [(String, String)], address: &str) -> Option<&'a str> {
    let known = neighbours();
    let hardware = known.get(address)?;
    nodes.iter().find(|(_, ip)| known.get(ip) == Some(hardware)).map(|(name, _)| name.as_str())
}

/// Balanced services, one for each node, which answers for it.
fn balanced(namespace: &Namespace<'_>, nodes: &[(String, String)]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for number in 0..60 {
        let name = format!("lb-{number}");
        service(namespace, &name, "web", json!({"type": "LoadBalancer"}));
        let address = eventually("an address is given", || {
            let service = namespace.found(&format!("services/{name}"))?;
            let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
            ip.ok_or_else(|| service["status"].to_string())
        });
        let node = eventually("a node answers for it", || {
            // So that the host has all of them as neighbours.
            let ports = nodes.iter().map(|(_, ip)| format!("{ip}:30080")).chain([format!("{address}:80")]);
            for port in ports {
                std::net::TcpStream::connect(&port).map_err(|error| format!("{port}: {error}"))?;
            }
            announcer(nodes, &address).ok_or_else(|| format!("{:?}", neighbours()))
        });
        found.entry(node.to_owned()).or_insert(address);
        if found.len() == nodes.len() {
            return found;
        }
    }
    panic!("only some nodes answer: {found:?}");
}

/// Counts the processes of the StatefulSet's pod until it is told to stop; the highest number is kept.
fn watch_the_only_one(stop: &AtomicBool, most: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let pids =
            std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let serves = |pid: &String| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == ONLY.as_bytes())
        };
        most.fetch_max(pids.filter(serves).count(), Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Makes objects until it is told to stop; answers the names of those of which it was told that they are there.
fn write(api: &Api, path: &str, stop: &AtomicBool) -> Vec<String> {
    let mut made = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w-{number}");
        let object = json!({"metadata": {"name": name}}).to_string().into_bytes();
        let request = http::Request::post(path).header("content-type", "application/json").body(object).unwrap();
        if api.try_send(request).is_some_and(|answer| answer.status == 201) {
            made.push(name);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    made
}

/// The cluster with what runs on it.
struct Trial<'a> {
    cluster: &'a Cluster,
    namespace: &'a Namespace<'a>,
    /// Names of nodes.
    nodes: [String; 3],
    /// In pods, one for each node.
    pods: Vec<Client<'a>>,
    host: Client<'a>,
}

impl Trial<'_> {
    /// The clients that are not on a node.
    fn others(&self, but: usize) -> Vec<&Client<'_>> {
        let pods = self.pods.iter().enumerate().filter(|(number, _)| *number != but).map(|(_, client)| client);
        pods.chain([&self.host]).collect()
    }

    fn all(&self) -> Vec<&Client<'_>> {
        self.others(usize::MAX)
    }

    fn node_is(&self, number: usize, status: &str) {
        let name = &self.nodes[number];
        eventually(&format!("{name} is Ready: {status}"), || {
            let object = self.cluster.api().get(&format!("{NODES}/{name}")).ok();
            let is_free = object["spec"]["taints"].is_null();
            let found = condition(&object, "Ready");
            if found == status && is_free == (status == "True") {
                Ok(())
            } else {
                Err(format!("{found} {}", object["spec"]))
            }
        });
    }

    /// Waits until everything is as in the beginning.
    fn whole(&self, what: &str, since: u64) {
        (0..3).for_each(|number| self.node_is(number, "True"));
        endpoints_are(self.namespace, "web", &self.nodes.iter().collect::<Vec<_>>());
        endpoints_are(self.namespace, "others", &[&self.nodes[1], &self.nodes[2]]);
        eventually("the StatefulSet has its pod", || match endpoints(self.namespace, "only") {
            found if found.len() == 1 => Ok(()),
            found => Err(format!("{found:?}")),
        });
        let (last, failed) = settled(what, since, &self.all(), |_| true);
        println!("{what}: {failed:?} failed, the last {} ms after it, whole after {}", last - since, now() - since);
    }

    fn killed(&self, number: usize) {
        let (name, since) = (&self.nodes[number], now());
        let daemon = || if number == 0 { self.cluster.daemon() } else { agent(self.cluster, name) };
        let before = daemon().expect("there is a daemon");
        kill(before);
        eventually("the daemon is back", || match daemon() {
            Some(pid) if pid != before => Ok(()),
            other => Err(format!("{other:?}")),
        });
        eventually("the server answers", || {
            let answer = self.cluster.api().try_send(http::Request::get("/readyz").body(Vec::new()).unwrap());
            answer.filter(|answer| answer.status == 200).map(drop).ok_or("no answer")
        });
        assert_eq!(run_on(self.namespace, name, &["echo", "back"]).log, "back\n");
        // Names and ways in are the daemon's own, and are there again with it.
        let kernels = |target: &str| !target.starts_with("name-") && target != "ingress";
        let calls = none_failed(&format!("{name} killed"), since, &self.all(), kernels);
        let (last, failed) = settled("names and ways in", since, &self.all(), |_| true);
        println!(
            "{name} killed: none of {calls} calls failed; by name or Ingress {failed:?}, the last after {} ms",
            last - since
        );
    }

    fn stopped(&self, number: usize) {
        let (name, since) = (&self.nodes[number], now());
        self.cluster.ok("node stop", &[name]);
        let rest: Vec<&String> = self.nodes.iter().filter(|node| *node != name).collect();
        endpoints_are(self.namespace, "web", &rest);
        let own = [format!("node-{name}"), format!("lb-{name}")];
        let calls = none_failed(&format!("{name} stopped"), since, &self.others(number), |target| {
            !own.iter().any(|own| own == target)
        });
        let (last, failed) = settled("the address moves", since, &[&self.host], |target| target == own[1]);
        println!(
            "{name} stopped: none of {calls} calls failed; of its balanced address {failed:?}, the last after {} ms",
            last - since
        );
        let since = now();
        self.cluster.ok("node start", &[name]);
        self.whole(&format!("{name} started"), since);
    }
}

impl Trial<'_> {
    /// Has the pod of the StatefulSet be on the node that it prefers.
    fn bring_only_home(&self) {
        eventually("the StatefulSet's pod is on its node", || match endpoints(self.namespace, "only").as_slice() {
            [node] if *node == self.nodes[HOME] => Ok(()),
            found => {
                let pod = self.namespace.pod("only-0");
                if !found.is_empty() && pod["metadata"]["deletionTimestamp"].is_null() {
                    self.namespace.api.delete(&self.namespace.path("pods/only-0"), &json!({})).ok();
                }
                Err(format!("{found:?}"))
            }
        });
    }

    /// Cuts a node off until the others have given it up.
    fn given_up(&self, number: usize, link: HostLink) {
        if number == HOME {
            self.bring_only_home();
        }
        let (name, since) = (&self.nodes[number], now());
        link.down();
        self.node_is(number, "Unknown");
        let rest: Vec<&String> = self.nodes.iter().filter(|node| *node != name).collect();
        endpoints_are(self.namespace, "web", &rest);
        eventually("its pods are told to end", || {
            let pods = self.cluster.api().get(&self.namespace.path("pods?labelSelector=app%3Dweb")).ok();
            let pods = pods["items"].as_array().cloned().unwrap_or_default();
            let on: Vec<&Value> = pods.iter().filter(|pod| pod["spec"]["nodeName"] == name.as_str()).collect();
            let is_told = on.iter().all(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
            if is_told { Ok(()) } else { Err(format!("{on:#?}")) }
        });
        let away = format!("node-{name}");
        let (last, failed) = settled("the others go on", since, &self.others(number), |target| target != away);
        let balanced = &self.host;
        settled("the address moves", since, &[balanced], |target| target == format!("lb-{name}"));
        println!("{name} cut off: {failed:?} through the others failed, the last after {} ms", last - since);
        let back = now();
        link.up();
        self.whole(&format!("{name} back"), back);
        // What is on the node itself went on.
        none_of(&self.pods[number], since, back, &["local", "name-local"]);
    }

    /// Cuts the node with the server off for a while, so that nobody is told of anything.
    fn without_server(&self, link: HostLink, seconds: u64) {
        let since = now();
        link.down();
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        let back = now();
        link.up();
        self.whole(&format!("the server back after {seconds} s"), back);
        for client in &self.pods[1..] {
            none_of(client, since, back, &["others", "local", "name-others"]);
        }
    }
}

/// Checks that of these calls none failed in a time.
#[track_caller]
fn none_of(client: &Client<'_>, from: u64, to: u64, targets: &[&str]) {
    let calls = client.calls(from, to);
    for target in targets {
        let calls: Vec<_> = calls.iter().filter(|call| call.target == *target).collect();
        let failed: Vec<_> = calls.iter().filter(|call| call.failure.is_some()).collect();
        assert!(!calls.is_empty() && failed.is_empty(), "{target}: {} of {}: {failed:#?}", failed.len(), calls.len());
    }
}

#[test]
fn services_go_on_through_the_others_when_nodes_are_killed_stopped_and_cut_off() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("cut-off");
    let before = Host::now();
    cluster.ok("up", &["--nodes", "3"]);
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("cut-off");
    let nodes = names(&cluster);
    let address = |node: &String| {
        let object = cluster.api().get(&format!("{NODES}/{node}")).ok();
        (node.clone(), object["status"]["addresses"][0]["address"].as_str().unwrap().to_owned())
    };
    let addresses: Vec<(String, String)> = nodes.iter().map(address).collect();

    deployment(&namespace, "web", 3, &[]);
    deployment(&namespace, "others", 2, &[&nodes[0]]);
    let mut spec = leaving(serving(&["--body", ONLY]));
    let here =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [nodes[HOME]]}]});
    spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 100, "preference": here}]}});
    let template = json!({"metadata": {"labels": {"app": "only"}}, "spec": spec});
    let set = json!({"metadata": {"name": "only"}, "spec": {"replicas": 1, "serviceName": "only",
        "selector": {"matchLabels": {"app": "only"}}, "template": template}});
    cluster.api().post(&namespace.path_in("apps/v1", "statefulsets"), &set).ok();
    service(&namespace, "only", "only", json!({"clusterIP": "None"}));
    let ip = |service: &Value| format!("http://{}/", service["spec"]["clusterIP"].as_str().unwrap());
    let local = json!({"internalTrafficPolicy": "Local"});
    let ports = json!([{"port": 80, "targetPort": 8080, "nodePort": 30080}]);
    let mut in_pods = vec![
        ("web".to_owned(), ip(&service(&namespace, "web", "web", json!({"type": "NodePort", "ports": ports})))),
        ("others".to_owned(), ip(&service(&namespace, "others", "others", json!({})))),
        ("local".to_owned(), ip(&service(&namespace, "local", "web", local))),
    ];
    let named = ["others", "local"]
        .map(|service| (format!("name-{service}"), format!("http://{service}.cut-off.svc.cluster.local/")));
    in_pods.extend(named);
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let rule = json!({"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let ingresses = namespace.path_in("networking.k8s.io/v1", "ingresses");
    cluster.api().post(&ingresses, &json!({"metadata": {"name": "web"}, "spec": {"rules": [rule]}})).ok();
    let ingress = eventually("the ingress has an address", || {
        let ingress = cluster.api().get(&format!("{ingresses}/web")).ok();
        let ip = ingress["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
        ip.ok_or_else(|| ingress["status"].to_string())
    });
    endpoints_are(&namespace, "web", &nodes.iter().collect::<Vec<_>>());
    let mut on_host = vec![("ingress".to_owned(), format!("http://{ingress}/"))];
    on_host.extend(addresses.iter().map(|(name, ip)| (format!("node-{name}"), format!("http://{ip}:30080/"))));
    on_host.extend(
        balanced(&namespace, &addresses).into_iter().map(|(name, ip)| (format!("lb-{name}"), format!("http://{ip}/"))),
    );
    let pods = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| Client::in_pod(&namespace, &format!("calls-{number}"), node, &in_pods));
    let trial = Trial {
        cluster: &cluster,
        namespace: &namespace,
        nodes: nodes.clone(),
        pods: pods.collect(),
        host: Client::on_host(&cluster, &on_host),
    };
    let (stop, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let configs = namespace.path("configmaps");
    let acknowledged = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(cluster.api(), &configs, &stop));
        scope.spawn(|| watch_the_only_one(&stop, &most));
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            trial.whole("the beginning", now());
            try_all(&trial);
        }));
        stop.store(true, Ordering::Relaxed);
        let acknowledged = writer.join().unwrap();
        tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        acknowledged
    });
    assert_eq!(most.into_inner(), 1, "there was never more than one pod of the StatefulSet");
    let kept = cluster.api().get(&configs).ok();
    let kept: Vec<&str> =
        kept["items"].as_array().unwrap().iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !kept.contains(&name.as_str())).collect();
    assert!(lost.is_empty() && acknowledged.len() > 20, "{} were written, lost: {lost:?}", acknowledged.len());
    println!("{} writes were acknowledged", acknowledged.len());
    drop(trial);

    let made = Host::now().without(&before);
    cluster.ok("down", &[]);
    eventually("everything is as before", || {
        let left = Host::now().and(&made);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(processes_of(&cluster), []);
    assert_eq!(cgroups_of(&cluster), Vec::<String>::new());
    assert!(!cluster.data.exists());
}

fn try_all(trial: &Trial<'_>) {
    let link = |number: usize| {
        let process = match number {
            0 => trial.cluster.daemon().expect("there is a server"),
            number => first_process(trial.cluster, number as u8 + 1).expect("there is a node"),
        };
        HostLink::of(process)
    };
    (0..3).for_each(|number| trial.killed(number));
    let more = std::env::var("CORACLE_CUT_OFF").unwrap_or_default();
    if !["some", "all"].contains(&&*more) {
        return;
    }
    (1..3).for_each(|number| trial.stopped(number));
    trial.without_server(link(0), 10);
    trial.given_up(HOME, link(HOME));
    if more == "all" {
        trial.given_up(1, link(1));
        // Longer than any node may be silent.
        trial.without_server(link(0), 65);
    }
}
