//! Hollow nodes of a local cluster.

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const NODES: &str = "/api/v1/nodes";
const COUNT: usize = 20;

/// Hollow nodes that are Ready.
fn ready(cluster: &Cluster) -> Result<Vec<String>, String> {
    let request = http::Request::get(format!("{NODES}?labelSelector=coracle.io/hollow%3Dtrue"));
    let answer = cluster.api().try_send(request.body(Vec::new()).unwrap()).filter(|answer| answer.status == 200);
    let list = answer.ok_or("no answer")?.body;
    let nodes = list["items"].as_array().into_iter().flatten();
    let is_ready = |node: &&Value| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    Ok(nodes.filter(is_ready).filter_map(|node| Some(node["metadata"]["name"].as_str()?.to_owned())).collect())
}

#[track_caller]
fn wait_ready(cluster: &Cluster, count: usize) {
    eventually(&format!("{count} hollow nodes are Ready"), || match ready(cluster)?.len() {
        found if found == count => Ok(()),
        other => Err(format!("{other} of {count}")),
    });
}

fn name(cluster: &Cluster, number: usize) -> String {
    format!("{}-hollow-{number}", cluster.name)
}

/// What a pod needs to be on a hollow node, and nowhere else.
fn on_hollow_nodes(more: Value) -> Value {
    let mut spec = json!({"nodeSelector": {"coracle.io/hollow": "true"},
        "tolerations": [{"key": "coracle.io/hollow", "operator": "Exists"}],
        "containers": [{"name": "main", "image": "example.com/never:pulled"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn deployment(replicas: usize) -> Value {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": on_hollow_nodes(json!({}))});
    json!({"metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}})
}

/// Waits until all replicas of the newest template are available and no others are left.
#[track_caller]
fn rolled_out(cluster: &Cluster, namespace: &Namespace<'_>, replicas: usize) {
    eventually("the deployment is as it should be", || {
        let path = namespace.path_in("apps/v1", "deployments/web");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let object = cluster.api().try_send(request).filter(|answer| answer.status == 200).ok_or("no answer")?.body;
        let status = &object["status"];
        let all = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
        let is_done = status["observedGeneration"] == object["metadata"]["generation"]
            && all.iter().all(|count| status[count] == replicas);
        if is_done { Ok(()) } else { Err(status.to_string()) }
    });
}

fn pods(namespace: &Namespace<'_>, selector: &str) -> Vec<Value> {
    let list = namespace.api.get(&namespace.path(&format!("pods?{selector}"))).ok();
    list["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn hollow_nodes_take_pods_as_others_do_and_are_there_again_whatever_ends() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("hollow");
    cluster.ok("up", &["--hollow", &COUNT.to_string(), "--hollow-capacity", "cpu=4,example.com/dongle=1"]);
    // They are there when the command says so.
    assert_eq!(ready(&cluster).unwrap().len(), COUNT);
    let namespace = cluster.namespace("hollow");
    let replicas = 100;
    cluster.api().post(&namespace.path_in("apps/v1", "deployments"), &deployment(replicas)).ok();
    rolled_out(&cluster, &namespace, replicas);
    let all = pods(&namespace, "labelSelector=app%3Dweb");
    let mut addresses: Vec<&str> = all.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
    assert!(addresses.iter().all(|address| address.starts_with("240.")), "{addresses:?}");
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), replicas);
    // Of what does not run there is nothing to see, and it is said why.
    let pod = all[0]["metadata"]["name"].as_str().unwrap();
    let node = all[0]["spec"]["nodeName"].as_str().unwrap();
    let answer = cluster.api().get(&namespace.path(&format!("pods/{pod}/log")));
    assert!(answer.status == 400 && answer.text.contains(&format!("node {node} is hollow")), "{}", answer.text);

    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example.com/other:1"}]}}}});
    cluster.api().patch(&namespace.path_in("apps/v1", "deployments/web"), STRATEGIC, &image).ok();
    rolled_out(&cluster, &namespace, replicas);

    let template = json!({"metadata": {"annotations": {"coracle.io/hollow-run": "1s"}},
        "spec": on_hollow_nodes(json!({"restartPolicy": "Never"}))});
    let job = json!({"metadata": {"name": "job"}, "spec": {"completions": 6, "parallelism": 3, "template": template}});
    cluster.api().post(&namespace.path_in("batch/v1", "jobs"), &job).ok();
    eventually("the job is complete", || {
        let job = cluster.api().get(&namespace.path_in("batch/v1", "jobs/job")).ok();
        if job["status"]["succeeded"] == 6 { Ok(()) } else { Err(job["status"].to_string()) }
    });

    // What does not tolerate the taint stays away.
    let plain = json!({"metadata": {"name": "plain"}, "spec": {"nodeSelector": {"coracle.io/hollow": "true"},
        "containers": [{"name": "main", "image": "test:1"}]}});
    namespace.create("pods", &plain);
    namespace.event("plain", "FailedScheduling", "untolerated taint");

    // A node that is deleted registers anew.
    let deleted = name(&cluster, 3);
    let uid = cluster.api().get(&format!("{NODES}/{deleted}")).ok()["metadata"]["uid"].clone();
    cluster.api().delete(&format!("{NODES}/{deleted}"), &json!({})).ok();
    eventually("the node is there again", || {
        let node = cluster.api().get(&format!("{NODES}/{deleted}"));
        if node.status == 200 && node.body["metadata"]["uid"] != uid { Ok(()) } else { Err(node.text) }
    });
    wait_ready(&cluster, COUNT);

    if let Some(program) = kubectls().into_iter().next() {
        let drained = name(&cluster, 2);
        let kubectl = Kubectl::new(&cluster, &program, &namespace.name);
        kubectl.ok(&format!("drain {drained} --ignore-daemonsets"));
        rolled_out(&cluster, &namespace, replicas);
        let left = pods(&namespace, &format!("labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3D{drained}"));
        assert!(left.is_empty(), "{left:?}");
        kubectl.ok(&format!("uncordon {drained}"));
    }

    // Killed: pods go on as they were.
    let before = pods(&namespace, "labelSelector=app%3Dweb");
    let killed = cluster.daemon().expect("there is a server");
    kill_process(Pid::from_raw(killed).unwrap(), Signal::KILL).unwrap();
    eventually("there is another server", || match cluster.daemon() {
        Some(pid) if pid != killed => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait_ready(&cluster, COUNT);
    cluster
        .api()
        .patch(&namespace.path_in("apps/v1", "deployments/web"), MERGE, &json!({"spec": {"replicas": 110}}))
        .ok();
    rolled_out(&cluster, &namespace, 110);
    for old in &before {
        let name = old["metadata"]["name"].as_str().unwrap();
        let now = namespace.pod(name);
        assert_eq!(now["status"]["containerStatuses"], old["status"]["containerStatuses"]);
        assert_eq!(now["status"]["podIP"], old["status"]["podIP"]);
    }

    // Stopped and started: as many as there were last.
    cluster.ok("up", &["--hollow", "25"]);
    wait_ready(&cluster, 25);
    cluster.ok("stop", &[]);
    cluster.ok("start", &[]);
    wait_ready(&cluster, 25);
    rolled_out(&cluster, &namespace, 110);
    let node = cluster.api().get(&format!("{NODES}/{}", name(&cluster, 25))).ok();
    assert_eq!(
        (&node["status"]["capacity"]["cpu"], &node["status"]["capacity"]["example.com/dongle"]),
        (&json!("4"), &json!("1"))
    );

    // Fewer: the pods of those that are gone are replaced.
    cluster.ok("up", &["--hollow", "5", "--hollow-taint", "false"]);
    wait_ready(&cluster, 5);
    eventually("no pod is on a node that is gone", || {
        let left = pods(&namespace, "labelSelector=app%3Dweb");
        let is_left = |pod: &&Value| {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            !(1..=5).any(|number| node == name(&cluster, number))
        };
        match left.iter().filter(is_left).count() {
            0 => Ok(()),
            count => Err(format!("{count} pods")),
        }
    });
    namespace.pod_ready("plain");
    cluster.ok("up", &["--hollow", "0"]);
    wait_ready(&cluster, 0);
    let refused = cluster.run("up", &["--hollow-capacity", "cpu=1"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--hollow says how many"));
}

#[test]
fn real_nodes_have_no_way_to_hollow_ones_and_go_on_as_ever() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("hollow-beside");
    cluster.ok("up", &["--nodes", "2", "--hollow", "3"]);
    cluster.load_image(&["test:1"]);
    wait_ready(&cluster, 3);
    let namespace = cluster.namespace("beside");
    let mut hollow = json!({"metadata": {"name": "hollow", "labels": {"app": "web"}}});
    hollow["spec"] = on_hollow_nodes(json!({}));
    namespace.create("pods", &hollow);
    let hollow = namespace.pod_ready("hollow");
    let second = format!("{}-2", cluster.name);
    for node in [&cluster.name, &second] {
        let mut object = pod(&format!("on-{node}"), &["serve", "--port", "8080", "--body", "here"]);
        object["spec"]["nodeName"] = json!(node);
        object["metadata"]["labels"] = json!({"real": "yes"});
        namespace.create("pods", &object);
    }
    let served = namespace.pod_ready(&format!("on-{second}"))["status"]["podIP"].as_str().unwrap().to_owned();
    let ran = namespace.run(&["wget", &format!("http://{served}:8080/")]);
    assert_eq!(ran.log, "here\n", "{ran:?}");
    // Packets to what is hollow do not leave the node.
    let nobody = hollow["status"]["podIP"].as_str().unwrap();
    let ran = namespace.run(&["wget", &format!("http://{nobody}:8080/")]);
    assert_ne!(ran.code, 0, "{ran:?}");
    let daemons = processes_of(&cluster).into_iter();
    let daemons = daemons.filter(|(_, line)| line.contains(" server --in-node") || line.contains(" agent --in-node"));
    let pids: Vec<i32> = daemons.map(|(pid, _)| pid).collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        let routes = std::fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap();
        // The addresses are written backwards.
        let hollow: Vec<&str> =
            routes.lines().filter(|line| line.split('\t').nth(1).is_some_and(|to| to.ends_with("F0"))).collect();
        assert!(matches!(hollow.as_slice(), [only] if only.starts_with("*\t")), "{routes}");
        let links = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
        assert!(!links.contains("vxlan"), "{links}");
    }
}
