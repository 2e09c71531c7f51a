//! Server-side apply as kubectl does it, and who owns what the parts of the cluster write.

use coracle_e2e::*;
use serde_json::{Value, json};

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let word = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let shown = |entry: &Value| format!("{} {}", word(entry, "manager"), word(entry, "operation"));
    entries.into_iter().flatten().map(shown).collect()
}

fn deployment(name: &str, replicas: u32, image: &str) -> String {
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}).to_string()
}

#[test]
fn kubectl_applies_on_the_servers_side() {
    let cluster = cluster!();
    let namespace = cluster.namespace("apply");
    for (number, program) in kubectls().iter().enumerate() {
        let kubectl = Kubectl::new(cluster, program, &namespace.name);
        let name = format!("d{number}");
        let apply = |arguments: &str, manifest: &str| {
            let arguments = format!("apply --server-side -f - {arguments}");
            kubectl.with_input(manifest, &arguments.split_whitespace().collect::<Vec<_>>())
        };
        let said = apply("", &deployment(&name, 0, "test:1"));
        assert_eq!(said.out.trim(), format!("deployment.apps/{name} serverside-applied"), "{}", said.err);
        assert_eq!(apply("", &deployment(&name, 0, "test:1")).code, 0);
        let path = namespace.path_in("apps/v1", &format!("deployments/{name}"));
        assert!(managers(&namespace.api.get(&path).ok()).contains(&"kubectl Apply".to_owned()));

        kubectl.ok(&format!("label deployment {name} tier=web"));
        kubectl.ok(&format!("set image deployment/{name} c=test:2"));
        let refused = apply("", &deployment(&name, 0, "test:1"));
        assert_eq!(refused.code, 1, "{}", refused.out);
        let conflict = "Apply failed with 1 conflict: conflict with \"kubectl-set\" using apps/v1: .spec.template.spec.containers[name=\"c\"].image";
        assert!(refused.err.contains(conflict), "{}", refused.err);
        assert_eq!(apply("--force-conflicts --dry-run=server", &deployment(&name, 0, "test:1")).code, 0);
        let image = |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        assert_eq!(image(&namespace.api.get(&path).ok()), "test:2");
        let forced = apply("--force-conflicts", &deployment(&name, 0, "test:1"));
        assert_eq!(forced.code, 0, "{}", forced.err);
        let object = namespace.api.get(&path).ok();
        assert_eq!((image(&object), &object["metadata"]["labels"]["tier"]), (json!("test:1"), &json!("web")));

        kubectl.ok(&format!("scale deployment {name} --replicas=1"));
        let refused = apply("--field-manager=other", &deployment(&name, 0, "test:1"));
        assert!(refused.err.contains(".spec.replicas"), "{}", refused.err);
        let difference = kubectl
            .with_input(&deployment(&name, 0, "test:3"), &["diff", "--server-side", "--force-conflicts", "-f", "-"]);
        assert!(difference.code == 1 && difference.out.contains("test:3"), "{}{}", difference.out, difference.err);
        let shown = |flag: &str| kubectl.ok(&format!("get deployment {name} -o yaml {flag}")).contains("managedFields");
        assert!(shown("--show-managed-fields") && !shown(""));
        kubectl.ok(&format!("delete deployment {name}"));
    }
}

#[test]
fn what_was_applied_from_the_clients_side_goes_over_to_the_servers() {
    let cluster = cluster!();
    let namespace = cluster.namespace("migrate");
    for (number, program) in kubectls().iter().enumerate() {
        let kubectl = Kubectl::new(cluster, program, &namespace.name);
        let map = |data: Value| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{number}")}, "data": data})
                .to_string()
        };
        let said = kubectl.with_input(&map(json!({"a": "1", "b": "1"})), &["apply", "-f", "-"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let said = kubectl.with_input(&map(json!({"a": "2"})), &["apply", "--server-side", "-f", "-"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let object = namespace.found(&format!("configmaps/m{number}")).expect("it is there");
        assert_eq!(object["data"], json!({"a": "2"}), "{object}");
        let owners = managers(&object);
        assert!(owners.contains(&"kubectl Apply".into()), "{owners:?}");
        assert!(!owners.contains(&"kubectl-client-side-apply Update".into()), "{owners:?}");
        // And back: the annotation that the client compares with follows.
        let said = kubectl.with_input(&map(json!({"c": "3"})), &["apply", "-f", "-"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(namespace.found(&format!("configmaps/m{number}")).expect("it is there")["data"], json!({"c": "3"}));
    }
}

#[test]
fn every_part_of_the_cluster_owns_what_it_writes() {
    let cluster = cluster!();
    let namespace = cluster.namespace("owners");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    eventually("the kubelet owns the status", || {
        let pod = namespace.found("pods/p")?;
        let owners = managers(&pod);
        if owners.contains(&"kubelet Update".to_owned()) { Ok(()) } else { Err(format!("{owners:?}")) }
    });
    let account = namespace.found("serviceaccounts/default").expect("it is there");
    assert_eq!(account["metadata"].get("managedFields"), None, "nothing of it is owned");
    let root = namespace.found("configmaps/kube-root-ca.crt").expect("it is there");
    assert_eq!(managers(&root), ["kube-controller-manager Update"]);
    let service = cluster.api().get("/api/v1/namespaces/default/services/kubernetes").ok();
    assert_eq!(managers(&service), ["kube-apiserver Update"]);
}
