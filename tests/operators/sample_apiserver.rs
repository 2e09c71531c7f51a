//! Upstream's sample-apiserver behind the aggregator, on the host beside the node, with an etcd of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use coracle_e2e::*;
use coracle_testing::etcd;
use serde_json::{Value, json};

use crate::program::{Language, Running, build};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.wardle.example.com";
const GROUP: &str = "wardle.example.com/v1alpha1";

const FLUNDER: &str = r#"
apiVersion: wardle.example.com/v1alpha1
kind: Flunder
metadata: {name: one, labels: {of: test}}
spec: {reference: other}
"#;

const FISCHER: &str = r#"
apiVersion: wardle.example.com/v1alpha1
kind: Fischer
metadata: {name: f}
disallowedFlunders: [bad]
"#;

#[test]
fn the_sample_apiserver_is_used_through_ours() {
    let cluster = cluster!();
    let Some(program) = build("sample-apiserver", Language::Go("k8s.io/sample-apiserver")) else { return };
    let Some(etcd) = etcd::Cluster::start(1, &[]) else { return };
    let namespace = cluster.namespace("wardle");
    let kubectl = kubectl!(cluster, namespace);
    let port = TcpListener::bind("0.0.0.0:0").expect("a port").local_addr().expect("an address").port();
    let mut server = start(cluster, &program, &etcd.urls().join(","), port);
    register(cluster, &namespace, port);

    it_is_discovered(cluster.api(), &kubectl);
    its_objects_are_used_as_others(&namespace, &kubectl);
    it_knows_who_asks(&kubectl);
    server.kill();
    its_absence_is_told(cluster.api());
    cluster.api().delete(SERVICE, &json!({})).ok();
    eventually("its group goes", || match kubectl.ok("api-versions") {
        versions if versions.contains(GROUP) => Err(versions),
        _ => Ok(()),
    });
}

fn start(cluster: &Cluster, program: &Path, etcd: &str, port: u16) -> Running {
    let kubeconfig = cluster.kubeconfig.display();
    let mut command = Command::new(program);
    command.args([format!("--etcd-servers={etcd}"), format!("--secure-port={port}")]);
    for option in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{option}={kubeconfig}"));
    }
    command.arg("--cert-dir").arg(cluster.directory().join("wardle"));
    Running::start(command, cluster.directory().join("sample-apiserver.log"))
}

/// A service without a selector leads to the host.
fn register(cluster: &Cluster, namespace: &Namespace<'_>, port: u16) {
    let node = cluster.node_address();
    let host = node.rsplit_once('.').map(|(network, _)| format!("{network}.1")).expect("an address");
    let service =
        json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"name": "api", "port": 443, "targetPort": port}]}});
    namespace.create("services", &service);
    let slice = json!({"metadata": {"name": "wardle", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "ports": [{"name": "api", "port": port}], "endpoints": [{"addresses": [host]}]});
    namespace.api.post(&namespace.path_in("discovery.k8s.io/v1", "endpointslices"), &slice).ok();
    let service = json!({"metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "insecureSkipTLSVerify": true, "service": {"namespace": namespace.name, "name": "wardle", "port": 443}}});
    namespace.api.post(SERVICES, &service).ok();
    eventually("it is available", || available(namespace.api, "True"));
}

fn available(api: &Api, wanted: &str) -> Result<(), String> {
    let service = api.get(SERVICE).ok();
    let mut conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    match conditions.any(|condition| condition["type"] == "Available" && condition["status"] == wanted) {
        true => Ok(()),
        false => Err(service["status"].to_string()),
    }
}

fn it_is_discovered(api: &Api, kubectl: &Kubectl) {
    eventually("kubectl finds it", || {
        let found = kubectl.run(&["api-resources", "--api-group=wardle.example.com", "-o", "name"]);
        match found.out.contains("flunders.wardle.example.com") && found.out.contains("fischers") {
            true => Ok(()),
            false => Err(found.out + &found.err),
        }
    });
    assert!(kubectl.ok("api-versions").contains(GROUP));
    eventually("it is in the document of version 2", || {
        let names = api.get("/openapi/v2").ok()["definitions"].as_object().cloned().unwrap_or_default();
        match names.keys().any(|name| name.contains("wardle")) && names.contains_key("io.k8s.api.core.v1.Pod") {
            true => Ok(()),
            false => Err(format!("{} definitions", names.len())),
        }
    });
    let paths = api.get("/openapi/v3").ok()["paths"].clone();
    assert!(paths["apis/wardle.example.com/v1alpha1"].is_object() && paths["api/v1"].is_object(), "{paths}");
    assert!(kubectl.ok("explain flunder.spec").contains("reference"));
}

fn its_objects_are_used_as_others(namespace: &Namespace<'_>, kubectl: &Kubectl) {
    let mut watch = namespace.api.watch(&(namespace.path_in(GROUP, "flunders") + "?watch=1"));
    assert_eq!(kubectl.apply(FLUNDER), "flunder.wardle.example.com/one created\n");
    assert_eq!(kubectl.apply(FLUNDER), "flunder.wardle.example.com/one unchanged\n");
    let event: Value = watch.next(PATIENCE).expect("an event");
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("one")));
    assert!(kubectl.ok("get flunders --show-labels").contains("of=test"));
    assert!(kubectl.ok("get flunders -A -l of=test -o name").contains("flunder.wardle.example.com/one"));
    kubectl.ok("label flunder one more=yes");
    assert_eq!(watch.next(PATIENCE).expect("an event")["type"], "MODIFIED");
    let ran = kubectl
        .with_input(&FLUNDER.replace("other", "third"), &["apply", "--server-side", "--force-conflicts", "-f", "-"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(kubectl.ok("get flunder one -o yaml").contains("reference: third"));
    // What the server that has them refuses is refused in its words.
    kubectl.apply(FISCHER);
    eventually("its own admission decides", || {
        let refused = kubectl.with_input(&FLUNDER.replace("one", "bad"), &["create", "--dry-run=server", "-f", "-"]);
        match refused.err.contains("this name may not be used, please change the resource name") {
            true => Ok(()),
            false => Err(refused.out + &refused.err),
        }
    });
    kubectl.ok("delete flunder one --timeout=60s");
    kubectl.ok("delete fischer f --timeout=60s");
}

fn it_knows_who_asks(kubectl: &Kubectl) {
    let refused = kubectl.run(&["get", "flunders", "--as=eve"]);
    assert!(
        refused.err.contains("flunders.wardle.example.com is forbidden: User \"eve\" cannot list"),
        "{}",
        refused.err
    );
    kubectl.ok("create role flunders --verb=list --resource=flunders.wardle.example.com");
    kubectl.ok("create rolebinding flunders --role=flunders --user=eve");
    eventually("eve may", || {
        let ran = kubectl.run(&["get", "flunders", "--as=eve"]);
        if ran.code == 0 { Ok(()) } else { Err(ran.err) }
    });
}

fn its_absence_is_told(api: &Api) {
    eventually("its absence is noticed", || available(api, "False"));
    assert_eq!(api.get(&format!("/apis/{GROUP}/flunders")).status, 503);
    assert_eq!(api.get("/api/v1/pods").status, 200);
    never("others are held up", Duration::from_millis(200), || (api.get("/apis").status != 200).then_some(()));
}
