//! The ways in: Ingresses, from the host to the pods.
#![allow(missing_docs, reason = "tests are no interface")]

mod astray;
mod client;
mod gateways;
mod life;

use client::{http, https};
use coracle_e2e::*;
use serde_json::{Value, json};

const GROUP: &str = "networking.k8s.io/v1";

/// A pod that serves its name, and a service of it.
fn server(namespace: &Namespace<'_>, name: &str) {
    let mut object = pod(name, &["serve", "--port", "8080", "--body", name]);
    object["metadata"]["labels"] = json!({"app": name});
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    namespace.create("pods", &object);
    let spec = json!({"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    namespace.create("services", &json!({"metadata": {"name": name}, "spec": spec}));
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"name": "http"}}});
    json!({"path": path, "pathType": kind, "backend": backend})
}

fn ingress(namespace: &Namespace<'_>, name: &str, annotations: Value, spec: Value) -> Value {
    let object = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
    namespace.api.post(&namespace.path_in(GROUP, "ingresses"), &object).ok()
}

/// The address at which an Ingress is reached.
fn address(namespace: &Namespace<'_>, name: &str) -> String {
    eventually("the ingress has an address", || {
        let ingress = namespace.api.get(&namespace.path_in(GROUP, &format!("ingresses/{name}"))).ok();
        let ip = ingress["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
        ip.ok_or_else(|| ingress["status"].to_string())
    })
}

fn body(address: &str, host: &str, path: &str) -> Result<String, String> {
    match http(address, host, path, "")? {
        answer if answer.status == 200 => Ok(answer.body),
        answer => Err(format!("{answer:?}")),
    }
}

#[test]
fn an_ingress_leads_by_host_and_path_and_keeps_the_clients_address() {
    let cluster = cluster!();
    let namespace = cluster.namespace("by-path");
    ["a", "b"].iter().for_each(|name| server(&namespace, name));
    let paths = json!([path("/", "Prefix", "a"), path("/header", "Exact", "b")]);
    let made = ingress(
        &namespace,
        "web",
        json!({}),
        json!({"rules": [
            {"host": "by-path.example", "http": {"paths": paths}},
            {"host": "*.by-path.example", "http": {"paths": [path("/", "Prefix", "b")]}},
        ]}),
    );
    assert_eq!(made["spec"]["ingressClassName"], "coracle", "the default class is written into it");
    let at = address(&namespace, "web");
    let seen = eventually("a serves", || body(&at, "by-path.example", "/"));
    assert_eq!(seen, "a");
    assert_eq!(eventually("b serves", || body(&at, "x.by-path.example", "/")), "b");
    let node = cluster.node_address();
    let seen = body(&at, "by-path.example", "/header?name=x-forwarded-for").unwrap();
    assert_eq!(seen.rsplit_once('.').unwrap().0, node.rsplit_once('.').unwrap().0, "seen as {seen}");
    assert_ne!(seen, node, "the client's address is kept");
    let lied = http(&at, "by-path.example", "/header?name=x-forwarded-for", "X-Forwarded-For: 192.0.2.9\r\n").unwrap();
    assert_eq!(lied.body, seen);
    assert_eq!(http(&at, "x.y.by-path.example", "/", "").unwrap().status, 404);
    assert_eq!(http(&at, "other.example", "/", "").unwrap().status, 404);
    let pod = namespace.run(&["wget", &format!("http://{at}/")]);
    assert!(pod.log.contains("answered 404"), "a pod reaches it as well, where its address is no host: {pod:?}");

    let direct = http(&node, "by-path.example", "/", "");
    assert!(direct.is_err(), "the node itself serves nothing at port 80");
    let straight = std::net::TcpStream::connect(format!("{node}:10380")).and_then(|mut stream| {
        use std::io::{Read, Write};
        stream.write_all(b"GET / HTTP/1.1\r\nHost: by-path.example\r\n\r\n")?;
        stream.read(&mut [0; 1])
    });
    assert!(!matches!(straight, Ok(1..)), "nobody gets in who came by no service: {straight:?}");
}

#[test]
fn pods_come_and_go_and_routes_change_without_a_failed_request() {
    let cluster = cluster!();
    let namespace = cluster.namespace("reloaded");
    ["a", "b"].iter().for_each(|name| server(&namespace, name));
    let spec = |service: &str| json!({"rules": [{"host": "reloaded.example", "http": {"paths": [path("/", "Prefix", service)]}}]});
    ingress(&namespace, "web", json!({}), spec("a"));
    let at = address(&namespace, "web");
    namespace.pod_ready("b");
    eventually("a serves", || body(&at, "reloaded.example", "/"));
    let object = namespace.path_in(GROUP, "ingresses/web");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..200 {
        if round % 20 == 10 {
            let service = if round % 40 == 10 { "b" } else { "a" };
            namespace.api.patch(&object, MERGE, &json!({"spec": spec(service)})).ok();
        }
        seen.insert(body(&at, "reloaded.example", "/").expect("no request fails"));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn annotations_rewrite_redirect_and_protect() {
    let cluster = cluster!();
    let namespace = cluster.namespace("annotated");
    server(&namespace, "a");
    let key = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    let rules = |host: &str, path: Value| json!({"rules": [{"host": host, "http": {"paths": [path]}}]});
    let rewritten = rules("rewritten.example", path("/v1(/|$)(.*)", "ImplementationSpecific", "a"));
    ingress(&namespace, "rewritten", json!({key("rewrite-target"): "/$2"}), rewritten);
    let elsewhere = json!({key("permanent-redirect"): "https://elsewhere.example/x"});
    ingress(&namespace, "elsewhere", elsewhere, rules("moved.example", path("/", "Prefix", "a")));
    let auth = json!({key("auth-type"): "basic", key("auth-secret"): "users"});
    ingress(&namespace, "closed", auth, rules("closed.example", path("/", "Prefix", "a")));
    // u:myPassword
    let users = json!({"metadata": {"name": "users"}, "stringData": {"auth": "u:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n"}});
    namespace.create("secrets", &users);
    let strange = json!({key("server-alias"): "x"});
    ingress(&namespace, "strange", strange, rules("strange.example", path("/", "Prefix", "a")));
    let at = address(&namespace, "strange");
    assert_eq!(eventually("it is rewritten", || body(&at, "rewritten.example", "/v1/")), "a");
    let missed = http(&at, "rewritten.example", "/v1/nothing/here", "").unwrap();
    assert_eq!((missed.status, missed.body.as_str()), (404, "/nothing/here is not served"));
    let moved = http(&at, "moved.example", "/", "").unwrap();
    assert_eq!((moved.status, moved.header("location")), (301, Some("https://elsewhere.example/x")));
    let ask = |authorization: &str| http(&at, "closed.example", "/", authorization).map(|answer| answer.status);
    assert_eq!(ask(""), Ok(401));
    assert_eq!(ask("Authorization: Basic dTp3cm9uZw==\r\n"), Ok(401));
    eventually("who is known comes in", || match ask("Authorization: Basic dTpteVBhc3N3b3Jk\r\n") {
        Ok(200) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    namespace.event("strange", "Rejected", "server-alias is not supported by the class coracle");
}

#[test]
fn tls_is_of_the_secret_that_is_named_and_follows_it() {
    let cluster = cluster!();
    let namespace = cluster.namespace("secured");
    let kubectl = kubectl!(cluster, namespace);
    server(&namespace, "a");
    let directory = cluster.directory().join("secured");
    std::fs::create_dir_all(&directory).unwrap();
    let made = |host: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
        let (chain, private) = (directory.join("tls.crt"), directory.join("tls.key"));
        std::fs::write(&chain, certificate.pem()).unwrap();
        std::fs::write(&private, key.serialize_pem()).unwrap();
        (certificate.der().to_vec(), format!("--cert={} --key={}", chain.display(), private.display()))
    };
    let (first, files) = made("secured.example");
    kubectl.ok(&format!("create secret tls web {files}"));
    let rule = |host: &str| json!({"host": host, "http": {"paths": [path("/", "Prefix", "a")]}});
    ingress(
        &namespace,
        "web",
        json!({}),
        json!({
            "tls": [{"hosts": ["secured.example"], "secretName": "web"}],
            "rules": [rule("secured.example"), rule("plain.example")],
        }),
    );
    let at = address(&namespace, "web");
    let shown = |host: &str| https(&at, host, "/");
    // Endpoints may come later than the certificate.
    let seen = eventually("the certificate is shown", || match shown("secured.example")? {
        answer if answer.certificate.as_ref() == Some(&first) && answer.status == 200 => Ok(answer),
        answer => Err(format!("{} {}", answer.status, answer.body)),
    });
    assert_eq!(seen.body, "a");
    let sent = http(&at, "secured.example", "/x?y=z", "").unwrap();
    assert_eq!((sent.status, sent.header("location")), (308, Some("https://secured.example/x?y=z")));
    assert_eq!(body(&at, "plain.example", "/").unwrap(), "a", "a host without TLS stays without");
    let other = shown("plain.example").unwrap();
    assert!(other.certificate.is_some_and(|shown| shown != first), "hosts without a certificate get another's");

    let (second, _) = made("secured.example");
    let data = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let fresh = json!({"stringData": {"tls.crt": data("tls.crt"), "tls.key": data("tls.key")}});
    namespace.api.patch(&namespace.path("secrets/web"), MERGE, &fresh).ok();
    eventually("the next certificate is shown", || match shown("secured.example")?.certificate {
        Some(shown) if shown == second => Ok(()),
        _ => Err("another one".to_owned()),
    });
}

#[test]
fn what_leads_nowhere_is_told_and_answered_503() {
    let cluster = cluster!();
    let namespace = cluster.namespace("nowhere");
    let named = json!({"metadata": {"name": "named"}, "spec": {"type": "ExternalName", "externalName": "localhost",
        "ports": [{"name": "http", "port": 80}]}});
    namespace.create("services", &named);
    let paths = json!([path("/named", "Prefix", "named"), path("/none", "Prefix", "none")]);
    ingress(&namespace, "web", json!({}), json!({"rules": [{"host": "nowhere.example", "http": {"paths": paths}}]}));
    let at = address(&namespace, "web");
    for asked in ["/named", "/none"] {
        eventually("it is 503", || match http(&at, "nowhere.example", asked, "")?.status {
            503 => Ok(()),
            other => Err(other.to_string()),
        });
    }
    namespace.event("web", "Rejected", "service nowhere/none is not there");
    namespace.event("web", "Rejected", "service nowhere/named is a name elsewhere");
    server(&namespace, "none");
    assert_eq!(
        eventually("it comes", || body(&at, "nowhere.example", "/none").or_else(|_| {
            let answer = http(&at, "nowhere.example", "/none", "")?;
            if answer.status == 404 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        })),
        "/none is not served"
    );
}
