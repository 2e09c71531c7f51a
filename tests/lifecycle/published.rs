//! Ports of the host that lead to nodes: `up --publish`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A port of the loopback address that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The host of the Ingress.
const INGRESS: &str = "a.example";

/// Asks what listens at a port of the host for a path.
fn get(port: u16, host: &str, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        // Half of the connection is closed; the answer comes nevertheless. The ways in, as nginx, take that for a client that left.
        if host != INGRESS {
            stream.shutdown(Shutdown::Write)?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.trim().to_owned()) } else { Err(head.to_owned()) }
}

/// Sends a datagram to a port of the host; answers what comes back.
fn datagram(port: u16, text: &str) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(("127.0.0.1", port))?;
        socket.send(text.as_bytes())?;
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    exchange().map_err(|error| error.to_string())
}

/// Where the host listens for a port of a node, as `coracle status` tells it.
fn published(cluster: &Cluster, node: &str, port: u16, protocol: &str) -> Option<SocketAddr> {
    let status: Value = serde_json::from_str(&cluster.ok("status", &["-o", "json"])).expect("the status is JSON");
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    let node = nodes.into_iter().find(|found| found["name"] == node)?;
    let ports = node["published"].as_array().cloned().unwrap_or_default();
    let found = ports.into_iter().find(|found| found["nodePort"] == port && found["protocol"] == protocol)?;
    found["host"].as_str()?.parse().ok()
}

/// A pod that serves its name over TCP, and sends datagrams back.
fn server(namespace: &Namespace<'_>, name: &str, change: impl FnOnce(&mut Value)) {
    let mut object = pod(name, &["serve", "--port", "8080", "--body", name]);
    object["spec"]["restartPolicy"] = json!("Always");
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    change(&mut object);
    namespace.create("pods", &object);
}

#[test]
fn ports_of_the_host_lead_to_ingresses_host_ports_and_services_and_outlive_the_daemon() {
    if !can_run() {
        return;
    }
    // Others look whether the host is as before, and wait for a minute only.
    let _alone = crate::on_the_host::HOST.lock();
    let cluster = Cluster::new("loc-ports");
    let (web, direct) = (free_port(), free_port());
    let publish = [
        format!("{web}:80"),
        format!("127.0.0.1:{direct}:30000"),
        "7000/udp".into(),
        "::7001/udp".into(),
        format!("30001@{}-2", cluster.name),
        format!("80@{}-2", cluster.name),
    ];
    let mut arguments = vec!["--nodes", "2"];
    publish.iter().for_each(|ports| arguments.extend(["--publish", ports]));
    // A colon too many, and nothing was made.
    let output = cluster.run("up", &arguments);
    assert!(!output.status.success() && !cluster.data.exists(), "{output:?}");
    arguments[9] = ":7001/udp";
    let told = cluster.ok("up", &arguments);
    assert!(told.contains(&format!("Published 127.0.0.1:{web} -> 80/tcp of {}.", cluster.name)), "{told}");
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("published");

    // Nobody is there yet: connections are refused, not left open.
    assert!(get(web, INGRESS, "/").is_err());
    assert!(get(direct, "x", "/").is_err());

    server(&namespace, "on-node", |pod| {
        pod["spec"]["nodeName"] = json!(cluster.name);
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 30000},
            {"containerPort": 8080, "hostPort": 7000, "protocol": "UDP"}]);
    });
    server(&namespace, "behind", |_| ());
    let service = |name: &str, spec: Value| {
        namespace.create("services", &json!({"metadata": {"name": name}, "spec": spec}));
    };
    let selector = json!({"app": "behind"});
    service("web", json!({"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}));
    let ports = json!([{"port": 30001, "targetPort": 8080, "nodePort": 30001}]);
    service("node-port", json!({"type": "NodePort", "selector": selector, "ports": ports}));
    let ports = json!([{"port": 7001, "targetPort": 8080, "protocol": "UDP"}]);
    service("balanced", json!({"type": "LoadBalancer", "selector": selector, "ports": ports}));
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let ingress =
        json!({"metadata": {"name": "web"}, "spec": {"rules": [{"host": INGRESS, "http": {"paths": paths}}]}});
    cluster.api().post(&namespace.path_in("networking.k8s.io/v1", "ingresses"), &ingress).ok();
    namespace.pod_ready("on-node");
    namespace.pod_ready("behind");

    let second = format!("{}-2", cluster.name);
    let port = |node: &str, port: u16, protocol: &str| {
        let found = published(&cluster, node, port, protocol).expect("the port is told");
        assert!(found.ip().is_loopback(), "{found}");
        found.port()
    };
    let all_work = || {
        assert_eq!(eventually("the ingress answers", || get(web, INGRESS, "/")), "behind");
        assert_eq!(eventually("the host port answers", || get(direct, "x", "/")), "on-node");
        let on_second = port(&second, 30001, "tcp");
        assert_eq!(eventually("the node port of the second node answers", || get(on_second, "x", "/")), "behind");
        let on_second = port(&second, 80, "tcp");
        assert_eq!(eventually("the ingress answers by the second node", || get(on_second, INGRESS, "/")), "behind");
        for number in [7000, 7001] {
            let port = port(&cluster.name, number, "udp");
            assert_eq!(eventually("the datagram comes back", || datagram(port, "hello")), "hello", "{number}");
        }
    };
    all_work();

    // The daemon is killed: the sockets stay, and who comes meanwhile waits.
    let daemon = cluster.daemon().expect("there is a daemon");
    kill_process(Pid::from_raw(daemon).unwrap(), Signal::KILL).unwrap();
    let waiting = TcpStream::connect(("127.0.0.1", direct)).expect("the socket is open while nobody takes connections");
    drop(waiting);
    all_work();

    // The cluster runs: its ports are as they are.
    let refused = cluster.run("up", &["--publish", "80"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("coracle stop"), "{text}");
    cluster.ok("up", &[]);

    cluster.ok("stop", &["--grace", "1s"]);
    let taken = TcpListener::bind(("127.0.0.1", web)).expect("a stopped cluster has no port");
    let refused = cluster.run("start", &[]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains(&format!("127.0.0.1:{web}/tcp")), "{text}");
    assert_eq!(processes_of(&cluster), []);
    drop(taken);
    cluster.ok("start", &[]);
    all_work();

    cluster.ok("stop", &["--grace", "1s"]);
    cluster.ok("up", &["--publish", "none"]);
    assert_eq!(published(&cluster, &cluster.name, 80, "tcp"), None);
    assert!(TcpStream::connect(("127.0.0.1", web)).is_err());
    cluster.ok("down", &[]);
}

#[test]
fn a_port_that_is_taken_is_an_error_that_changes_nothing_and_down_frees_those_of_a_cluster() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("loc-taken");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let refused = cluster.run("up", &["-p", &format!("{port}:80")]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains(&format!("127.0.0.1:{port}/tcp")) && text.contains("in use"),
        "{text}"
    );
    assert!(!cluster.data.exists() && processes_of(&cluster).is_empty());
    drop(other);

    cluster.ok("up", &["-p", &format!("{port}:80")]);
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
    // Containers have none of the descriptors.
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    let run = namespace.run(&["ls", "/proc/self/fd"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.log.lines().count() <= 4, "{run:?}");
    cluster.ok("down", &[]);
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
}
