//! Hosts on two networks, whose pods reach each other through VXLAN.

use coracle_e2e::*;
use serde_json::json;

use crate::machine::{Daemon, Machine};

#[test]
fn pods_of_hosts_on_two_networks_reach_each_other() {
    if !can_run() {
        return;
    }
    let (router, one, two) = (Machine::router(&[1, 2]), Machine::new(), Machine::new());
    let (address, other) = (router.connect(&one, 1, 2).to_string(), router.connect(&two, 2, 2).to_string());
    let server = Daemon::start(&one, "vxone", "server", &["--node-name", "one", "--node-ip", &address]);
    eventually("the server answers", || {
        let mut command = server.cluster.command("token ls");
        let output = one.enter(&mut command).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(server.log()) }
    });
    let token = server.ok("token create", &[]);
    let url = format!("https://{address}:6443");
    let arguments = ["--server", &url, "--token", token.trim(), "--node-name", "two", "--node-ip", &other];
    let agent = Daemon::start(&two, "vxtwo", "agent", &arguments);
    one.in_network(|| {
        let cluster = &server.cluster;
        eventually("the node is Ready", || {
            let status = cluster.api().get("/api/v1/nodes/two");
            let is_ready = status.text.contains("kubelet is posting ready status");
            if is_ready { Ok(()) } else { Err(format!("{}\n{}", status.text, agent.log())) }
        });
    });
    let archive = server.cluster.directory().join("image.tar");
    write_archive(&built("coracle-test-image"), &["test:1"], &archive).unwrap();
    for daemon in [&server, &agent] {
        daemon.ok("image load", &[&archive.to_string_lossy()]);
    }
    one.in_network(|| {
        let namespace = server.cluster.namespace("vx");
        let large = "x".repeat(100_000);
        for node in ["one", "two"] {
            for (name, body) in [(node.to_owned(), node), (format!("large-{node}"), large.as_str())] {
                let mut object = pod(&name, &["serve", "--port", "8080", "--body", body]);
                object["metadata"]["labels"] = json!({"app": node});
                object["spec"]["nodeName"] = json!(node);
                namespace.create("pods", &object);
            }
        }
        let ports = json!([{"port": 80, "targetPort": 8080}]);
        let spec = json!({"selector": {"app": "two"}, "ports": ports});
        namespace.create("services", &json!({"metadata": {"name": "web"}, "spec": spec}));
        for (from, to) in [("one", "two"), ("two", "one")] {
            let address = |name: &str| namespace.pod_ready(name)["status"]["podIP"].as_str().unwrap().to_owned();
            let (small, large) = (address(to), address(&format!("large-{to}")));
            let line = format!(
                "wget http://{small}:8080/; wget http://{small}:8080/client; wget http://{large}:8080/; udp {small}:8080 hello; \
                 wget http://web.vx.svc.cluster.local/client"
            );
            let mut object = pod("", &["sh", "-c", &line]);
            object["metadata"] = json!({"generateName": "run-"});
            object["spec"]["nodeName"] = json!(from);
            let run = eventually(&format!("pods of {from} reach those of {to}"), || {
                let run = namespace.run_pod(&object);
                if run.code == 0 { Ok(run) } else { Err(format!("{run:?}\n{}", agent.log())) }
            });
            let lines: Vec<&str> = run.log.lines().collect();
            assert_eq!((lines[0], lines[2].len(), lines[3]), (to, 100_000, "hello"), "{from}: {}", run.log);
            let own = namespace.pod(from)["status"]["podIP"].as_str().unwrap().to_owned();
            let range = own.rsplit_once('.').unwrap().0.to_owned();
            assert!(lines[1].starts_with(&range), "{from} is seen as {}", lines[1]);
        }
    });
}
