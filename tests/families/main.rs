//! Clusters whose pods, services and nodes have addresses of IPv6, alone and beside IPv4.
#![allow(missing_docs, reason = "tests are no interface")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A cluster of two nodes, with the test image.
fn cluster(family: &str) -> Option<Cluster> {
    if !can_run() {
        return None;
    }
    let cluster = Cluster::new(family);
    cluster.ok("up", &["--ip-family", family, "--nodes", "2", "--wait", "60s"]);
    cluster.load_image(&["test:1"]);
    Some(cluster)
}

/// Addresses in a list of an object, by a path of keys.
fn addresses(object: &Value, path: &str) -> Vec<IpAddr> {
    let list = object.pointer(path).and_then(Value::as_array).into_iter().flatten();
    list.map(|entry| entry["ip"].as_str().or(entry.as_str()).unwrap().parse().unwrap()).collect()
}

fn families(addresses: &[IpAddr]) -> Vec<&'static str> {
    addresses.iter().map(|address| if address.is_ipv4() { "IPv4" } else { "IPv6" }).collect()
}

/// A pod that serves its name at port 8080, on a node.
fn server(namespace: &Namespace<'_>, name: &str, node: &str) -> Value {
    let mut object = pod(name, &["serve", "--port", "8080", "--body", name]);
    object["metadata"]["labels"] = json!({"app": "server"});
    object["spec"]["nodeName"] = json!(node);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1});
    namespace.create("pods", &object);
    namespace.pod_ready(name)
}

/// The body of a page, asked for by this process, which is on the host.
fn page(at: SocketAddr) -> Result<String, String> {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default())
    };
    fetch().map_err(|error| format!("{at}: {error}"))
}

/// Everything that a family is to do, in a cluster whose first family is the first of these.
fn works(cluster: &Cluster, expected: &[&str]) {
    let nodes = cluster.api().get("/api/v1/nodes").ok();
    let nodes = nodes["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    let mut node_addresses = Vec::new();
    for node in nodes {
        let internal = node["status"]["addresses"].as_array().unwrap().iter().filter(|one| one["type"] == "InternalIP");
        let own: Vec<IpAddr> = internal.map(|one| one["address"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(families(&own), expected);
        let ranges = node["spec"]["podCIDRs"].as_array().unwrap();
        assert_eq!((ranges.len(), &ranges[0]), (expected.len(), &node["spec"]["podCIDR"]));
        node_addresses.extend(own);
    }
    let namespace = cluster.namespace("families");
    let names = [cluster.name.clone(), format!("{}-2", cluster.name)];
    let pods = ["near", "far"].map(|name| {
        let pod = server(&namespace, name, &names[usize::from(name == "far")]);
        let (own, hosts) = (addresses(&pod, "/status/podIPs"), addresses(&pod, "/status/hostIPs"));
        assert_eq!((families(&own), families(&hosts)), (expected.to_vec(), expected.to_vec()));
        own
    });
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let spec =
        json!({"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "server"}, "ports": ports});
    let service = namespace.create("services", &json!({"metadata": {"name": "web"}, "spec": spec}));
    let node_port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap() as u16;
    let cluster_ips = addresses(&service, "/spec/clusterIPs");
    assert_eq!(families(&cluster_ips), expected);
    let headless = json!({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "server"}, "ports": ports});
    namespace.create("services", &json!({"metadata": {"name": "all"}, "spec": headless}));
    eventually("there are slices of each family", || {
        let slices = cluster.api().get(&namespace.path_in("discovery.k8s.io/v1", "endpointslices")).ok();
        let slices = slices["items"].as_array().unwrap().clone();
        let of = |family: &str| {
            let own = |slice: &&Value| {
                slice["addressType"] == family && slice["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
            };
            slices
                .iter()
                .filter(own)
                .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
                .count()
        };
        let found: Vec<usize> = ["IPv4", "IPv6"].map(of).into();
        let wanted: Vec<usize> = ["IPv4", "IPv6"].map(|family| if expected.contains(&family) { 2 } else { 0 }).into();
        if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
    });

    for (n, (cluster_ip, family)) in cluster_ips.iter().zip(expected).enumerate() {
        let (near, far) = (SocketAddr::new(pods[0][n], 8080), SocketAddr::new(pods[1][n], 8080));
        assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{near}/")]), "near\n");
        assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{far}/")]), "far\n");
        let seen = namespace.run_until_ok(&["wget", &format!("http://{far}/client")]);
        let seen: IpAddr = seen.trim().parse().unwrap();
        assert!(!node_addresses.contains(&seen), "nobody's address is translated: {seen}");
        assert_eq!(namespace.run_until_ok(&["udp", &far.to_string(), "hello"]), "hello\n");
        let web = SocketAddr::new(*cluster_ip, 80);
        assert!(["near\n", "far\n"].contains(&&*namespace.run_until_ok(&["wget", &format!("http://{web}/")])));
        for node in node_addresses.iter().filter(|node| families(&[**node]) == [*family]) {
            eventually("a node port answers", || page(SocketAddr::new(*node, node_port)));
        }
        let record = if *family == "IPv4" { "A" } else { "AAAA" };
        assert_eq!(namespace.run_until_ok(&["nslookup", "web", record]), format!("{cluster_ip}\n"));
        let mut all: Vec<String> = [near, far].map(|at| at.ip().to_string()).into();
        all.sort();
        assert_eq!(namespace.run_until_ok(&["nslookup", "all", record]), format!("{}\n", all.join("\n")));
        let reversed = match cluster_ip {
            IpAddr::V4(address) => format!(
                "{}.in-addr.arpa",
                address.octets().map(|byte| byte.to_string()).into_iter().rev().collect::<Vec<_>>().join(".")
            ),
            IpAddr::V6(address) => {
                let digits = format!("{:032x}", u128::from(*address));
                format!("{}.ip6.arpa", digits.chars().rev().map(String::from).collect::<Vec<_>>().join("."))
            }
        };
        assert_eq!(namespace.run_until_ok(&["nslookup", &reversed, "PTR"]), "web.families.svc.cluster.local.\n");
    }
    let hosts = namespace.create("pods", &with_fields());
    namespace.pod_until(hosts["metadata"]["name"].as_str().unwrap(), "it ended", |pod| {
        pod["status"]["phase"] == "Succeeded"
    });
    let told = namespace.log("fields");
    let own = addresses(&namespace.pod("fields"), "/status/podIPs");
    let joined = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    assert!(told.contains(&format!("PODS={joined}\n")), "{told}");
    assert!(own.iter().all(|ip| told.contains(&format!("{ip}\tfields"))), "{told}");

    let kubectl = Kubectl::of_every_kind(cluster, "families").into_iter().next();
    if kubectl.is_none() {
        skip(Lacks::Tool("there is no kubectl on PATH for exec, logs and port-forward"));
    }
    if let Some(kubectl) = kubectl {
        assert_eq!(kubectl.ok("exec far -- echo hello"), "hello\n");
        assert!(kubectl.ok("logs far").contains("serving on port 8080"));
        let forwarded = forward(&kubectl);
        assert_eq!(forwarded.as_deref(), Ok("near"));
    }

    // The next daemon finds it all.
    let daemon = cluster.daemon().unwrap();
    kill_process(Pid::from_raw(daemon).unwrap(), Signal::KILL).unwrap();
    eventually("another daemon runs", || match cluster.daemon() {
        Some(pid) if pid != daemon => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.ok("up", &["--wait", "60s"]);
    for cluster_ip in &cluster_ips {
        let web = SocketAddr::new(*cluster_ip, 80);
        assert!(["near\n", "far\n"].contains(&&*namespace.run_until_ok(&["wget", &format!("http://{web}/")])));
    }
}

fn with_fields() -> Value {
    let mut object = pod("fields", &["sh", "-c", "env; cat /etc/hosts"]);
    object["spec"]["restartPolicy"] = "Never".into();
    object["spec"]["containers"][0]["env"] =
        json!([{"name": "PODS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}]);
    object
}

/// What a forwarded port of a pod answers.
fn forward(kubectl: &Kubectl) -> Result<String, String> {
    let mut command = kubectl.command(&["port-forward", "pod/near", ":8080", "--address=127.0.0.1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let mut line = String::new();
    // It writes more later, and must be able to.
    let mut out = child.stdout.take().map(BufReader::new);
    let read = out.as_mut().map(|out| out.read_line(&mut line));
    let at = line.split_whitespace().find_map(|word| word.parse::<SocketAddr>().ok());
    let answer = at.ok_or_else(|| format!("{read:?}: {line}")).and_then(page);
    let _ = child.kill();
    let _ = child.wait();
    answer
}

#[test]
fn a_cluster_of_both_families_has_both_everywhere() {
    let Some(cluster) = cluster("dual") else { return };
    works(&cluster, &["IPv4", "IPv6"]);
    let refused = cluster.run("up", &["--ip-family", "ipv6"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("other families of addresses"));
}

#[test]
fn a_cluster_of_ipv6_alone_does_all_that_one_of_ipv4_does() {
    let Some(cluster) = cluster("ipv6") else { return };
    assert!(cluster.remote().server.starts_with("https://[fd00:10:90:"), "{}", cluster.remote().server);
    works(&cluster, &["IPv6"]);
}
