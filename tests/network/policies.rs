//! Who is kept from whom.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::*;

/// A policy, and its path.
fn policy(namespace: &Namespace<'_>, name: &str, spec: Value) -> String {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec});
    let path = namespace.path_in("networking.k8s.io/v1", "networkpolicies");
    let answer = namespace.api.post(&path, &object);
    answer.ok();
    format!("{path}/{name}")
}

fn labelled(name: &str, command: &[&str]) -> Value {
    let mut object = pod("", command);
    object["metadata"] = json!({"generateName": "run-", "labels": {"app": name}});
    object
}

fn reaches(namespace: &Namespace<'_>, app: &str, url: &str) -> bool {
    namespace.run_pod(&labelled(app, &["wget", url])).code == 0
}

#[track_caller]
fn until_reached(namespace: &Namespace<'_>, app: &str, url: &str, wanted: bool) {
    eventually(&format!("{app} reaches {url}: {wanted}"), || match reaches(namespace, app, url) {
        reached if reached == wanted => Ok(()),
        reached => Err(reached),
    });
}

#[test]
fn a_policy_lets_in_whom_it_names_and_nobody_else_while_it_is_there() {
    let cluster = cluster!();
    let namespace = cluster.namespace("policy");
    let other = cluster.namespace("policy-other");
    server(&namespace, "s", "s");
    let spec = json!({"selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]});
    service(&namespace, "web", spec);
    namespace.pod_ready("s");
    let url = "http://web.policy/";
    until_reached(&namespace, "any", url, true);
    let deny = policy(&namespace, "deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    until_reached(&namespace, "any", url, false);
    let from = json!([{"podSelector": {"matchLabels": {"app": "friend"}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policy-other"}}}]);
    let rule = json!({"from": from, "ports": [{"port": 8080}]});
    let allow = policy(&namespace, "allow", json!({"podSelector": {"matchLabels": {"app": "s"}}, "ingress": [rule]}));
    until_reached(&namespace, "friend", url, true);
    assert!(reaches(&other, "any", url), "a pod of the other namespace");
    assert!(!reaches(&namespace, "any", url), "a pod that is not named");
    let ready = namespace.pod("s")["status"]["containerStatuses"][0]["ready"].clone();
    assert_eq!(ready, true, "the node's probes are never kept out");
    for path in [deny, allow] {
        namespace.api.delete(&path, &json!({})).ok();
    }
    until_reached(&namespace, "any", url, true);
}

#[test]
fn a_pod_follows_its_policies_from_its_first_packet_on() {
    let cluster = cluster!();
    let namespace = cluster.namespace("policy-first");
    server(&namespace, "s", "s");
    let to = address(&namespace, "s");
    let url = format!("http://{to}:8080/");
    policy(&namespace, "none", json!({"podSelector": {"matchLabels": {"app": "kept"}}, "policyTypes": ["Egress"]}));
    until_reached(&namespace, "kept", &url, false);
    for _ in 0..10 {
        assert!(!reaches(&namespace, "kept", &url));
    }
    assert!(reaches(&namespace, "free", &url));
    let dns = namespace.run_pod(&labelled("kept", &["nslookup", "kubernetes.default"]));
    assert_eq!((dns.code, dns.log.as_str()), (0, "10.96.0.1\n"), "what the node itself offers is always allowed");
}

#[test]
fn policies_hold_while_the_daemon_is_away_and_when_it_is_back() {
    let Some(cluster) = own_cluster("policy") else { return };
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("policy-kill");
    define(cluster.api(), &coracle_testing::policies::definitions());
    server(&namespace, "s", "s");
    let to = address(&namespace, "s");
    server(&namespace, "t", "t");
    let other = address(&namespace, "t");
    policy(&namespace, "deny", json!({"podSelector": {"matchLabels": {"app": "s"}}, "policyTypes": ["Ingress"]}));
    let subject = json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "t"}}}});
    let deny = json!([{"action": "Deny", "from": [{"namespaces": {}}]}]);
    let object = json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy",
        "metadata": {"name": "deny"}, "spec": {"priority": 7, "subject": subject, "ingress": deny}});
    cluster.api().post("/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies", &object).ok();
    for to in [&to, &other] {
        until_reached(&namespace, "any", &format!("http://{to}:8080/"), false);
    }
    let line = format!("wget http://{to}:8080/client;wget http://{other}:8080/client");
    let mut object = pod("knocks", &["sh", "-c", &vec![line; 200].join(";")]);
    object["spec"]["containers"][0]["command"][0] = "sh".into();
    namespace.create("pods", &object);
    namespace.pod_until("knocks", "runs", |pod| pod["status"]["phase"] == "Running");
    for _ in 0..3 {
        let killed = eventually("there is a daemon to kill", || cluster.daemon().ok_or("there is none"));
        let _ = Pid::from_raw(killed).map(|pid| kill_process(pid, Signal::KILL));
        eventually("there is another", || match cluster.daemon() {
            Some(pid) if pid != killed => Ok(()),
            other => Err(format!("{other:?}")),
        });
        eventually("it answers", || namespace.found("pods/knocks"));
        std::thread::sleep(Duration::from_secs(1));
    }
    let log = namespace.log("knocks");
    let came_through = |line: &str| line.parse::<std::net::Ipv4Addr>().is_ok();
    assert!(!log.lines().any(came_through), "{log}");
    for to in [&to, &other] {
        until_reached(&namespace, "any", &format!("http://{to}:8080/"), false);
    }
    let definition = "customresourcedefinitions/adminnetworkpolicies.policy.networking.k8s.io";
    cluster.api().delete(&format!("/apis/apiextensions.k8s.io/v1/{definition}"), &json!({})).ok();
    until_reached(&namespace, "any", &format!("http://{other}:8080/"), true);
    assert!(!reaches(&namespace, "any", &format!("http://{to}:8080/")), "policies of namespaces are there");
}

/// A cluster that other tests have no part in.
fn own_cluster(subject: &str) -> Option<Cluster> {
    if !can_run() {
        return None;
    }
    let cluster = Cluster::new(subject);
    cluster.up();
    Some(cluster)
}
