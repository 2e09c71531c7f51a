//! Who reaches whom, and under which names.
#![allow(missing_docs, reason = "tests are no interface")]

mod cni;
mod load_balancers;
mod policies;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use coracle_e2e::*;
use serde_json::{Value, json};

/// A pod that serves on port 8080 under a label, until the namespace goes.
fn server(namespace: &Namespace<'_>, name: &str, app: &str) -> Value {
    let mut object = pod(name, &["serve", "--port", "8080"]);
    object["metadata"]["labels"] = json!({"app": app});
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    namespace.create("pods", &object)
}

fn service(namespace: &Namespace<'_>, name: &str, spec: Value) -> Value {
    namespace.create("services", &json!({"metadata": {"name": name}, "spec": spec}))
}

fn address(namespace: &Namespace<'_>, name: &str) -> String {
    namespace.pod_ready(name)["status"]["podIP"].as_str().unwrap().to_owned()
}

/// The body of a page, asked for by this process.
fn page(authority: &str, path: &str) -> Result<String, String> {
    let fetch = || -> std::io::Result<String> {
        let address = authority.parse().map_err(std::io::Error::other)?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default())
    };
    fetch().map_err(|error| error.to_string())
}

#[test]
fn pods_reach_each_other_without_translation() {
    let cluster = cluster!();
    let namespace = cluster.namespace("pod-to-pod");
    server(&namespace, "s", "s");
    let to = address(&namespace, "s");
    let run = namespace.run(&["sh", "-c", &format!("wget http://{to}:8080/client; hostname")]);
    assert_eq!(run.code, 0, "{run:?}");
    let seen = run.log.lines().next().unwrap().to_owned();
    assert_ne!(seen, to);
    let subnet = |address: &str| address.rsplit_once('.').map(|(subnet, _)| subnet.to_owned());
    assert_eq!(subnet(&seen), subnet(&to), "the client was seen as {seen}");
    let udp = namespace.run(&["udp", &format!("{to}:8080"), "hello"]);
    assert_eq!((udp.code, udp.log.as_str()), (0, "hello\n"));
}

#[test]
fn a_service_is_reached_by_address_and_by_every_form_of_its_name() {
    let cluster = cluster!();
    let namespace = cluster.namespace("by-name");
    server(&namespace, "s", "s");
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "echo", "port": 53, "targetPort": 8080, "protocol": "UDP"},
    ]);
    let made = service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": ports}));
    let cluster_ip = made["spec"]["clusterIP"].as_str().unwrap();
    namespace.pod_ready("s");
    for host in [cluster_ip, "web", "web.by-name", "web.by-name.svc", "web.by-name.svc.cluster.local"] {
        assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{host}/")]), "s\n", "{host}");
    }
    assert_eq!(namespace.run_until_ok(&["udp", "web:53", "hello", "udp"]), "hello udp\n");
    assert_eq!(namespace.run(&["nslookup", "web"]).log, format!("{cluster_ip}\n"));
    let srv = namespace.run(&["nslookup", "_http._tcp.web.by-name.svc.cluster.local", "SRV"]);
    assert_eq!(srv.log, "0 100 80 web.by-name.svc.cluster.local.\n");
    let reversed: Vec<&str> = cluster_ip.rsplit('.').collect();
    let ptr = namespace.run(&["nslookup", &format!("{}.in-addr.arpa", reversed.join(".")), "PTR"]);
    assert_eq!(ptr.log, "web.by-name.svc.cluster.local.\n");
    let missing = namespace.run(&["nslookup", "nothing.by-name.svc.cluster.local"]);
    assert_eq!(missing.code, 1);
    assert!(missing.log.contains("NXDOMAIN"), "{missing:?}");
    assert_eq!(namespace.run(&["nslookup", "dns-version.cluster.local", "TXT"]).log, "1.1.0\n");
}

#[test]
fn a_service_spreads_over_its_ready_pods_and_follows_them() {
    let cluster = cluster!();
    let namespace = cluster.namespace("spread");
    for name in ["a", "b", "c"] {
        server(&namespace, name, "s");
    }
    service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]}));
    ["a", "b", "c"].iter().for_each(|name| drop(namespace.pod_ready(name)));
    let names = |count: usize| -> Vec<String> {
        let line = vec!["wget http://web/"; count].join(";");
        let run = namespace.run(&["sh", "-c", &line]);
        let mut seen: Vec<String> = run.log.lines().map(str::to_owned).collect();
        seen.sort();
        seen.dedup();
        seen
    };
    eventually("all three are reached", || {
        let seen = names(40);
        if seen == ["a", "b", "c"] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    namespace.api.delete(&namespace.path("pods/b"), &json!({"gracePeriodSeconds": 0})).ok();
    eventually("the two others are reached", || {
        let seen = names(40);
        if seen == ["a", "c"] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn a_client_keeps_its_pod_when_a_service_has_affinity() {
    let cluster = cluster!();
    let namespace = cluster.namespace("affinity");
    ["a", "b", "c"].iter().for_each(|name| drop(server(&namespace, name, "s")));
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": ports, "sessionAffinity": "ClientIP"}));
    ["a", "b", "c"].iter().for_each(|name| drop(namespace.pod_ready(name)));
    let seen = || {
        let run = namespace.run(&["sh", "-c", &vec!["wget http://web/"; 40].join(";")]);
        run.log.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>().len()
    };
    let becomes = |count: usize| {
        eventually(&format!("a client reaches {count}"), || match seen() {
            found if found == count => Ok(()),
            found => Err(format!("{found} pods")),
        });
    };
    becomes(1);
    namespace.api.patch(&namespace.path("services/web"), MERGE, &json!({"spec": {"sessionAffinity": "None"}})).ok();
    becomes(3);
    namespace.api.patch(&namespace.path("services/web"), MERGE, &json!({"spec": {"sessionAffinity": "ClientIP"}})).ok();
    becomes(1);
}

/// Clients in Go send `null` for a time that they do not set.
#[test]
fn a_condition_without_a_time_hides_no_service() {
    let cluster = cluster!();
    let namespace = cluster.namespace("without-time");
    server(&namespace, "s", "s");
    let spec = json!({"selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let mut odd = service(&namespace, "odd", spec.clone());
    let condition =
        json!({"type": "Odd", "status": "True", "reason": "Test", "message": "m", "lastTransitionTime": null});
    odd["status"]["conditions"] = json!([condition]);
    let kept = namespace.api.put(&namespace.path("services/odd/status"), &odd).ok();
    assert_eq!(kept["status"]["conditions"][0]["type"], "Odd");
    service(&namespace, "web", spec);
    for name in ["web", "odd"] {
        assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{name}/")]), "s\n");
    }
}

#[test]
fn endpoints_that_someone_wrote_are_served() {
    let cluster = cluster!();
    let namespace = cluster.namespace("by-hand");
    server(&namespace, "a", "s");
    server(&namespace, "b", "s");
    let endpoints = |name: &str| {
        let ports = json!([{"port": 8080}]);
        let subsets = json!([{"addresses": [{"ip": address(&namespace, name)}], "ports": ports}]);
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}, "subsets": subsets})
    };
    service(&namespace, "web", json!({"ports": [{"port": 80}]}));
    namespace.create("endpoints", &endpoints("a"));
    assert_eq!(namespace.run_until_ok(&["wget", "http://web/"]), "a\n");
    namespace.api.put(&namespace.path("endpoints/web"), &endpoints("b")).ok();
    eventually("the other is reached", || {
        let seen = namespace.run(&["wget", "http://web/"]).log;
        if seen == "b\n" { Ok(()) } else { Err(seen) }
    });
    namespace.api.delete(&namespace.path("endpoints/web"), &json!({})).ok();
    let slices = namespace.path_in("discovery.k8s.io/v1", "endpointslices");
    eventually("the slices go", || {
        let left = namespace.api.get(&slices).ok()["items"].as_array().map_or(0, Vec::len);
        if left == 0 { Ok(()) } else { Err(format!("{left} slices")) }
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let cluster = cluster!();
    let namespace = cluster.namespace("hairpin");
    server(&namespace, "s", "s");
    let made =
        service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]}));
    let cluster_ip = made["spec"]["clusterIP"].as_str().unwrap();
    namespace.pod_ready("s");
    let kubectl = kubectl!(cluster, namespace);
    eventually("it reaches itself", || {
        let ran = kubectl.run(&["exec", "s", "--", "wget", &format!("http://{cluster_ip}/")]);
        if ran.out == "s\n" { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let cluster = cluster!();
    let namespace = cluster.namespace("nobody");
    let made = service(&namespace, "web", json!({"selector": {"app": "nobody"}, "ports": [{"port": 80}]}));
    let cluster_ip = made["spec"]["clusterIP"].as_str().unwrap();
    eventually("the connection is refused", || {
        let run = namespace.run(&["wget", &format!("http://{cluster_ip}/")]);
        if run.code == 1 && run.log.contains("refused") { Ok(()) } else { Err(format!("{run:?}")) }
    });
}

#[test]
fn a_node_port_is_reached_from_the_host() {
    let cluster = cluster!();
    let namespace = cluster.namespace("node-port");
    server(&namespace, "s", "s");
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    let made = service(&namespace, "web", json!({"type": "NodePort", "selector": {"app": "s"}, "ports": ports}));
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    namespace.pod_ready("s");
    let authority = format!("{}:{port}", cluster.node_address());
    let body = eventually("the page is served", || page(&authority, "/"));
    assert_eq!(body, "s");
    namespace.api.delete(&namespace.path("services/web"), &json!({})).ok();
    eventually("the port is closed", || match page(&authority, "/") {
        Ok(body) => Err(body),
        Err(_) => Ok(()),
    });
}

#[test]
fn a_local_traffic_policy_keeps_the_clients_address() {
    let cluster = cluster!();
    let namespace = cluster.namespace("local-policy");
    server(&namespace, "s", "s");
    let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "selector": {"app": "s"},
        "ports": [{"port": 80, "targetPort": 8080}]});
    let made = service(&namespace, "web", spec);
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    namespace.pod_ready("s");
    let node = cluster.node_address();
    let seen = eventually("the page is served", || page(&format!("{node}:{port}"), "/client"));
    assert_eq!(seen.rsplit_once('.').unwrap().0, node.rsplit_once('.').unwrap().0, "seen as {seen}");
    assert_ne!(seen, node);
}

#[test]
fn a_headless_service_is_its_pods() {
    let cluster = cluster!();
    let namespace = cluster.namespace("headless");
    let spec = json!({"clusterIP": "None", "selector": {"app": "s"}, "ports": [{"name": "http", "port": 8080}]});
    service(&namespace, "db", spec);
    for name in ["db-0", "db-1"] {
        let mut object = pod(name, &["serve", "--port", "8080"]);
        object["metadata"]["labels"] = json!({"app": "s"});
        object["spec"]["hostname"] = json!(name);
        object["spec"]["subdomain"] = json!("db");
        namespace.create("pods", &object);
    }
    let mut all = [address(&namespace, "db-0"), address(&namespace, "db-1")];
    let first = format!("{}\n", all[0]);
    all.sort();
    eventually("both have addresses", || {
        let run = namespace.run(&["nslookup", "db"]);
        if run.log.lines().eq(all.iter()) { Ok(()) } else { Err(format!("{run:?}")) }
    });
    assert_eq!(namespace.run_until_ok(&["nslookup", "db-0.db"]), first);
    assert_eq!(namespace.run_until_ok(&["wget", "http://db-1.db:8080/"]), "db-1\n");
    let srv = namespace.run_until_ok(&["nslookup", "_http._tcp.db.headless.svc.cluster.local", "SRV"]);
    let expected = "0 50 8080 db-0.db.headless.svc.cluster.local.\n0 50 8080 db-1.db.headless.svc.cluster.local.\n";
    assert_eq!(srv, expected);
}

#[test]
fn an_external_name_and_a_pods_name() {
    let cluster = cluster!();
    let namespace = cluster.namespace("other-names");
    server(&namespace, "s", "s");
    service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]}));
    let external = "web.other-names.svc.cluster.local";
    service(&namespace, "alias", json!({"type": "ExternalName", "externalName": external}));
    let ip = address(&namespace, "s");
    assert_eq!(namespace.run_until_ok(&["wget", "http://alias/"]), "s\n");
    assert_eq!(namespace.run_until_ok(&["nslookup", "alias", "CNAME"]), format!("{external}.\n"));
    let name = format!("{}.other-names.pod.cluster.local", ip.replace('.', "-"));
    assert_eq!(namespace.run_until_ok(&["nslookup", &name]), format!("{ip}\n"));
}

#[test]
fn the_api_is_the_service_kubernetes() {
    let cluster = cluster!();
    let namespace = cluster.namespace("api-service");
    let address = namespace.run_until_ok(&["nslookup", "kubernetes.default"]);
    assert_eq!(address, "10.96.0.1\n");
    let run = namespace.run(&["sh", "-c", "env KUBERNETES_SERVICE_HOST; env KUBERNETES_SERVICE_PORT"]);
    assert_eq!(run.log, "10.96.0.1\n443\n");
    // It speaks TLS only, and says so to whom speaks HTTP; what counts is that it is reached.
    let spoken = namespace.run(&["wget", "http://10.96.0.1:443/version"]);
    assert!(!spoken.log.contains("refused") && !spoken.log.contains("timed out"), "{spoken:?}");
}

#[test]
fn pods_in_the_nodes_network_have_its_address_and_reach_services() {
    let cluster = cluster!();
    let namespace = cluster.namespace("host-network");
    server(&namespace, "s", "s");
    let made =
        service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]}));
    let cluster_ip = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    namespace.pod_ready("s");
    let mut object = pod("h", &["wget", &format!("http://{cluster_ip}/")]);
    object["spec"]["hostNetwork"] = json!(true);
    object["spec"]["restartPolicy"] = json!("OnFailure");
    namespace.create("pods", &object);
    let ended = namespace.pod_until("h", "succeeds", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(ended["status"]["podIP"], cluster.node_address().as_str());
    assert_eq!(namespace.log("h").lines().last(), Some("s"));
}

#[test]
fn a_host_port_is_reached_at_the_node() {
    let cluster = cluster!();
    let namespace = cluster.namespace("host-port");
    let mut object = pod("s", &["serve", "--port", "8080"]);
    object["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 18080}]);
    namespace.create("pods", &object);
    namespace.pod_ready("s");
    let body = eventually("the page is served", || page(&format!("{}:18080", cluster.node_address()), "/"));
    assert_eq!(body, "s");
}

#[test]
fn a_pods_annotations_limit_its_traffic() {
    let cluster = cluster!();
    let namespace = cluster.namespace("bandwidth");
    let limited = |name: &str, ingress: &str, egress: &str| {
        let mut object = pod(name, &["serve", "--port", "8080"]);
        object["metadata"]["annotations"] =
            json!({"kubernetes.io/ingress-bandwidth": ingress, "kubernetes.io/egress-bandwidth": egress});
        namespace.create("pods", &object);
    };
    limited("s", "10M", "1G");
    let to = address(&namespace, "s");
    assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{to}:8080/")]), "s\n");
    limited("odd", "10M", "999");
    namespace.event("odd", "FailedCreatePodSandBox", "kubernetes.io/egress-bandwidth: resource is unreasonably small");
}

#[test]
fn the_api_server_passes_requests_on_to_pods_services_and_nodes() {
    let cluster = cluster!();
    let namespace = cluster.namespace("proxied");
    server(&namespace, "s", "s");
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    service(&namespace, "web", json!({"selector": {"app": "s"}, "ports": ports}));
    service(&namespace, "empty", json!({"selector": {"app": "nothing"}, "ports": ports}));
    namespace.pod_ready("s");
    let get = |path: &str| namespace.api.get(&namespace.path(path));
    for path in ["pods/s:8080/proxy/", "pods/http:s:8080/proxy/"] {
        assert_eq!((get(path).status, get(path).text.trim()), (200, "s"), "{path}");
    }
    eventually("the service has an endpoint", || match get("services/web:http/proxy/").status {
        200 => Ok(()),
        other => Err(other),
    });
    for path in ["services/web:http/proxy/", "services/web:80/proxy/", "services/http:web:http/proxy/"] {
        assert_eq!((get(path).status, get(path).text.trim()), (200, "s"), "{path}");
    }
    assert_eq!(get("services/web:http/proxy").status, 301);
    // What is behind the proxy is the pod's to understand, and as long as it likes.
    let answer = get("pods/s:8080/proxy/%2e%2e/%2e%2e/etc");
    assert!(answer.status == 404 && answer.text.contains("is not served"), "{}", answer.text);
    let long = http::Request::post(namespace.path("pods/s:8080/proxy/")).body(vec![b'x'; 5 << 20]);
    let answer = namespace.api.send(long.expect("the request is well-formed"));
    assert_eq!((answer.status, answer.text.trim()), (200, "s"));
    let unavailable = |path: &str, why: &str| get(path).is_failure(503, "ServiceUnavailable", why);
    unavailable("services/empty:http/proxy/", "no endpoints available for service \"empty\"");
    unavailable("services/web:81/proxy/", "no service port 81 found for service \"web\"");
    get("pods/ftp:s:80/proxy/").is_failure(400, "BadRequest", "invalid pod request \"ftp:s:80\"");
    get("pods/none/proxy/").is_failure(404, "NotFound", "pods \"none\" not found");
    let refused = get("pods/s:9/proxy/");
    assert_eq!(refused.status, 503);
    assert!(refused.text.contains("error trying to reach service"), "{}", refused.text);
    let nodes = namespace.api.get("/api/v1/nodes").ok();
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
    assert_eq!(namespace.api.get(&format!("/api/v1/nodes/{node}/proxy/healthz")).text, "ok");
}
