//! A local cluster of three nodes.

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub const NODES: &str = "/api/v1/nodes";

pub fn names(cluster: &Cluster) -> [String; 3] {
    [cluster.name.clone(), format!("{}-2", cluster.name), format!("{}-3", cluster.name)]
}

pub fn condition(node: &Value, kind: &str) -> String {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

/// A pod that serves its name, on a node.
fn server(namespace: &Namespace<'_>, name: &str, node: &str, body: &str) {
    let mut object = pod(name, &["serve", "--port", "8080", "--body", body]);
    object["metadata"]["labels"] = json!({"app": "server"});
    object["spec"]["nodeName"] = json!(node);
    namespace.create("pods", &object);
}

/// Runs a command on a node.
pub fn run_on(namespace: &Namespace<'_>, node: &str, command: &[&str]) -> Run {
    let mut object = pod("", command);
    object["metadata"] = json!({"generateName": "run-"});
    object["spec"]["nodeName"] = json!(node);
    namespace.run_pod(&object)
}

/// Runs a command on a node until it succeeds.
fn ok_on(namespace: &Namespace<'_>, node: &str, command: &[&str]) -> String {
    eventually(&format!("{command:?} succeeds on {node}"), || {
        let run = run_on(namespace, node, command);
        if run.code == 0 { Ok(run.log) } else { Err(format!("{}: {}", run.code, run.log)) }
    })
}

/// The daemon of a further node.
pub fn agent(cluster: &Cluster, node: &str) -> Option<i32> {
    let agents = processes_of(cluster).into_iter();
    let is_agent = |line: &str| line.contains(" agent ") && line.contains(&format!("/nodes/{node} "));
    agents.filter(|(_, line)| is_agent(line)).map(|(pid, _)| pid).next()
}

/// The first process of a further node.
pub fn first_process(cluster: &Cluster, number: u8) -> Option<i32> {
    let is_first = |line: &str| line.contains("node-init --inside") && line.contains(&format!("--number {number} "));
    processes_of(cluster).into_iter().find(|(_, line)| is_first(line)).map(|(pid, _)| pid)
}

pub fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn pods_services_names_and_streams_work_on_and_between_all_nodes() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("three");
    let before = Host::now();
    cluster.ok("up", &["--nodes", "3"]);
    cluster.load_image(&["test:1", "test:2"]);
    let nodes = names(&cluster);
    for node in &nodes {
        let object = cluster.api().get(&format!("{NODES}/{node}")).ok();
        assert_eq!(condition(&object, "Ready"), "True", "{object:#}");
        assert!(object["spec"]["podCIDR"].is_string(), "{object:#}");
    }
    let namespace = cluster.namespace("across");
    // Larger than any packet, to whomever it goes.
    let large = "x".repeat(100_000);
    for (number, node) in nodes.iter().enumerate() {
        server(&namespace, &format!("s{number}"), node, node);
        server(&namespace, &format!("large{number}"), node, &large);
    }
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},
        {"name": "echo", "port": 80, "targetPort": 8080, "protocol": "UDP"}]);
    let spec = json!({"type": "NodePort", "selector": {"app": "server"}, "ports": ports});
    namespace.create("services", &json!({"metadata": {"name": "web"}, "spec": spec}));
    let address = |name: &str| namespace.pod_ready(name)["status"]["podIP"].as_str().unwrap().to_owned();
    let addresses: Vec<String> = (0..3).map(|number| address(&format!("s{number}"))).collect();
    let large_addresses: Vec<String> = (0..3).map(|number| address(&format!("large{number}"))).collect();
    let node_addresses: Vec<String> = nodes
        .iter()
        .map(|node| {
            let object = cluster.api().get(&format!("{NODES}/{node}")).ok();
            object["status"]["addresses"][0]["address"].as_str().unwrap().to_owned()
        })
        .collect();
    for from in &nodes {
        for (to, node) in addresses.iter().zip(&nodes) {
            assert_eq!(
                run_on(&namespace, from, &["wget", &format!("http://{to}:8080/")]).log,
                format!("{node}\n"),
                "{from}"
            );
            let seen = run_on(&namespace, from, &["sh", "-c", &format!("wget http://{to}:8080/client")]).log;
            assert!(seen.starts_with("10.244."), "{from} to {node} was seen as {seen}");
            assert_eq!(
                run_on(&namespace, from, &["udp", &format!("{to}:8080"), "hello"]).log,
                "hello\n",
                "{from} to {node}"
            );
        }
        for to in &large_addresses {
            let got = run_on(&namespace, from, &["wget", &format!("http://{to}:8080/")]).log;
            assert_eq!(got.trim_end().len(), large.len(), "{from} to {to}");
        }
        ok_on(&namespace, from, &["wget", "http://web.across.svc.cluster.local/client"]);
        assert_eq!(run_on(&namespace, from, &["udp", "web:80", "hello"]).log, "hello\n", "{from}");
        assert_eq!(run_on(&namespace, from, &["nslookup", "kubernetes.default"]).log, "10.96.0.1\n", "{from}");
        for to in &node_addresses {
            assert_eq!(
                run_on(&namespace, from, &["wget", &format!("http://{to}:30080/client")]).code,
                0,
                "{from} to {to}"
            );
        }
    }
    for number in 0..3 {
        let name = format!("s{number}");
        assert!(namespace.log(&name).starts_with("serving on port 8080\n"));
        if let Some(program) = kubectls().into_iter().next() {
            let kubectl = Kubectl::new(&cluster, &program, &namespace.name);
            assert_eq!(kubectl.ok(&format!("exec {name} -- hostname")), format!("{name}\n"));
        }
    }

    // A daemon set is on all of them, and a node that comes later has it too.
    let template = json!({"metadata": {"labels": {"app": "set"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container("main", &["sleep", "1000"])]}});
    let set = json!({"metadata": {"name": "set"}, "spec": {"selector": {"matchLabels": {"app": "set"}}, "template": template}});
    cluster.api().post(&namespace.path_in("apps/v1", "daemonsets"), &set).ok();
    let ready = |count: u64| {
        eventually("the daemon set is on all nodes", || {
            let set = cluster.api().get(&namespace.path_in("apps/v1", "daemonsets/set")).ok();
            if set["status"]["numberReady"] == count { Ok(()) } else { Err(set["status"].to_string()) }
        });
    };
    ready(3);
    cluster.ok("node add", &["--kubelet-arg", "node-labels=topology.kubernetes.io/zone=z"]);
    let added = format!("{}-4", cluster.name);
    let object = cluster.api().get(&format!("{NODES}/{added}")).ok();
    assert_eq!(object["metadata"]["labels"]["topology.kubernetes.io/zone"], "z");
    // It has the images that the first one had.
    ready(4);
    assert_eq!(
        ok_on(&namespace, &added, &["wget", &format!("http://{}:8080/", addresses[1])]),
        format!("{}\n", nodes[1])
    );
    cluster.ok("node rm", &[&added]);
    assert_eq!(cluster.api().get(&format!("{NODES}/{added}")).status, 404);
    assert!(!cluster.data.join("nodes").join(&added).exists());
    assert!(processes_of(&cluster).iter().all(|(_, line)| !line.contains(&added)));
    assert!(cgroups_of(&cluster).iter().all(|group| !group.contains(&format!("{}.4", cluster.name))));

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

#[test]
fn a_node_that_ends_loses_its_pods_and_comes_back_and_daemons_that_are_killed_go_on() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("killed");
    cluster.ok("up", &["--nodes", "3"]);
    cluster.load_image(&["test:1"]);
    let nodes = names(&cluster);
    let namespace = cluster.namespace("killed");
    server(&namespace, "stays", &nodes[1], "stays");
    let stays = namespace.pod_ready("stays");

    // An agent that is killed is there again, and its containers have gone on.
    let killed = agent(&cluster, &nodes[1]).expect("there is an agent");
    kill(killed);
    eventually("the agent is back", || match agent(&cluster, &nodes[1]) {
        Some(pid) if pid != killed => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let address = stays["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(ok_on(&namespace, &nodes[2], &["wget", &format!("http://{address}:8080/")]), "stays\n");
    server(&namespace, "after", &nodes[1], "after");
    namespace.pod_ready("after");
    let now = namespace.pod("stays");
    assert_eq!(now["status"]["containerStatuses"][0]["restartCount"], 0, "{:#}", now["status"]);
    assert_eq!(now["status"]["podIP"], stays["status"]["podIP"]);

    // The server too, while the agents wait for it.
    kill(cluster.daemon().expect("there is a server"));
    eventually("the server is back", || {
        match cluster.api().try_send(http::Request::get("/readyz").body(Vec::new()).unwrap()) {
            Some(answer) if answer.status == 200 => Ok(()),
            _ => Err("no answer"),
        }
    });
    server(&namespace, "later", &nodes[2], "later");
    let later = namespace.pod_ready("later");
    let to = later["status"]["podIP"].as_str().unwrap();
    assert_eq!(ok_on(&namespace, &nodes[1], &["wget", &format!("http://{to}:8080/")]), "later\n");

    // A node that ends: its pods are replaced elsewhere after what they tolerate.
    let tolerate = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container("main", &["sleep", "1000"])],
        "tolerations": [tolerate("node.kubernetes.io/unreachable"), tolerate("node.kubernetes.io/not-ready")],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "spread"}}}]});
    let template = json!({"metadata": {"labels": {"app": "spread"}}, "spec": spec});
    let deployment = json!({"metadata": {"name": "spread"},
        "spec": {"replicas": 6, "selector": {"matchLabels": {"app": "spread"}}, "template": template}});
    cluster.api().post(&namespace.path_in("apps/v1", "deployments"), &deployment).ok();
    let on = || -> Vec<String> {
        let pods = cluster.api().get(&namespace.path("pods?labelSelector=app%3Dspread")).ok();
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let runs = |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
        pods.iter().filter(runs).filter_map(|pod| Some(pod["spec"]["nodeName"].as_str()?.to_owned())).collect()
    };
    eventually("six pods run on three nodes", || {
        let on = on();
        let each = nodes.iter().all(|node| on.contains(node));
        if on.len() == 6 && each { Ok(()) } else { Err(format!("{on:?}")) }
    });
    kill(first_process(&cluster, 3).expect("there is a third node"));
    let started = std::time::Instant::now();
    let object = loop {
        let object = cluster.api().get(&format!("{NODES}/{}", nodes[2])).ok();
        if condition(&object, "Ready") == "Unknown" || started.elapsed() > PATIENCE {
            break object;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    assert_eq!(condition(&object, "Ready"), "Unknown");
    eventually("its pods are replaced", || {
        let on = on();
        if on.len() == 6 && !on.contains(&nodes[2]) { Ok(()) } else { Err(format!("{on:?}")) }
    });
    cluster.ok("node start", &[&nodes[2]]);
    eventually("the node is Ready and takes pods again", || {
        let object = cluster.api().get(&format!("{NODES}/{}", nodes[2])).ok();
        let is_free = object["spec"]["taints"].is_null();
        if condition(&object, "Ready") == "True" && is_free { Ok(()) } else { Err(format!("{:#}", object["spec"])) }
    });
    assert_eq!(run_on(&namespace, &nodes[2], &["echo", "back"]).log, "back\n");

    // Stopped and started, all of them come back.
    cluster.ok("stop", &["--grace", "2s"]);
    assert_eq!(processes_of(&cluster), []);
    cluster.ok("start", &[]);
    for node in &nodes {
        assert_eq!(run_on(&namespace, node, &["echo", "again"]).log, "again\n");
    }
}
