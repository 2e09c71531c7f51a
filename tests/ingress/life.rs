//! What there is because somebody asked for a way in, and what is left when nobody does.

use std::fs;

use super::*;

const CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
const SERVICE: &str = "/api/v1/namespaces/kube-system/services/coracle-ingress";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";

/// Whether something listens at the port of the ways in, as the daemon's network sees it.
fn listens(cluster: &Cluster) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", cluster.daemon().unwrap())).unwrap();
    // 10380, in the state of listening.
    sockets
        .lines()
        .any(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(":288C")) && line.contains(" 0A "))
}

#[test]
fn ways_in_are_there_while_somebody_asks_for_them() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("ways-in");
    let before = Host::now();
    cluster.up();
    cluster.load_image(&["test:1"]);
    let class = cluster.api().get(&format!("{CLASSES}/coracle")).ok();
    assert_eq!(class["spec"]["controller"], "coracle.io/ingress");
    assert!(!listens(&cluster), "nothing listens where there is no Ingress");
    assert_eq!(cluster.api().get(SERVICE).status, 404);

    let namespace = cluster.namespace("one");
    server(&namespace, "a");
    let others = json!({"metadata": {"name": "theirs"}, "spec": {"controller": "example.com/other"}});
    cluster.api().post(CLASSES, &others).ok();
    let rule = |host: &str| json!([{"host": host, "http": {"paths": [path("/", "Prefix", "a")]}}]);
    ingress(&namespace, "theirs", json!({}), json!({"ingressClassName": "theirs", "rules": rule("theirs.example")}));
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    namespace.api.patch(&namespace.path_in(GROUP, "ingresses/theirs/status"), MERGE, &status).ok();
    ingress(&namespace, "ours", json!({}), json!({"rules": rule("ours.example")}));
    let at = address(&namespace, "ours");
    assert_eq!(eventually("it is served", || body(&at, "ours.example", "/")), "a");
    assert_eq!(http(&at, "theirs.example", "/", "").unwrap().status, 404);
    assert!(listens(&cluster));
    let service = cluster.api().get(SERVICE).ok();
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
    assert!(service["spec"]["ports"][0]["nodePort"].is_null(), "no port of the node is open: {service}");

    // The daemon ends at once, and the next one serves the same.
    let daemon = cluster.daemon().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(daemon).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    eventually("another one serves", || match cluster.daemon() {
        Some(next) if next != daemon => body(&at, "ours.example", "/"),
        _ => Err("it is not there yet".into()),
    });

    cluster.api().delete(&format!("{CLASSES}/coracle"), &json!({})).ok();
    let status = |name: &str| {
        let ingress = namespace.api.get(&namespace.path_in(GROUP, &format!("ingresses/{name}"))).ok();
        ingress["status"]["loadBalancer"]["ingress"].clone()
    };
    eventually("without the class nothing is ours", || match status("ours") {
        ingress if ingress.is_null() => Ok(()),
        ingress => Err(ingress.to_string()),
    });
    assert_eq!(status("theirs"), json!([{"ip": "192.0.2.7"}]), "what is others' was not touched");
    eventually("the address is free", || match cluster.api().get(SERVICE).status {
        404 => Ok(()),
        other => Err(other.to_string()),
    });
    eventually("nobody listens", || if listens(&cluster) { Err("somebody does") } else { Ok(()) });
    let slices = cluster.api().get(SLICES).ok();
    let named = |slice: &Value| slice["metadata"]["name"].as_str().unwrap().starts_with("coracle-ingress");
    assert!(!slices["items"].as_array().unwrap().iter().any(named), "{slices}");
    assert!(http(&at, "ours.example", "/", "").is_err());
    let class = json!({"metadata": {"name": "mine"}, "spec": {"controller": "coracle.io/ingress"}});
    cluster.api().post(CLASSES, &class).ok();
    let mine = json!({"spec": {"ingressClassName": "mine"}});
    namespace.api.patch(&namespace.path_in(GROUP, "ingresses/ours"), MERGE, &mine).ok();
    let at = eventually("a class of another name is as good", || match status("ours")[0]["ip"].as_str() {
        Some(ip) => Ok(ip.to_owned()),
        None => Err("no address"),
    });
    assert_eq!(eventually("it is served", || body(&at, "ours.example", "/")), "a");

    let made = Host::now().without(&before);
    drop(namespace);
    cluster.ok("down", &[]);
    eventually("everything is as before", || {
        let left = Host::now().and(&made);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(processes_of(&cluster), []);
}
