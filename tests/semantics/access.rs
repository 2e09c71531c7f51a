//! Roles as kubectl makes them and asks about them, and the parts of the system with the roles they have.

use coracle_e2e::*;
use serde_json::json;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[test]
fn kubectl_gives_roles_and_asks_what_they_allow() {
    let cluster = cluster!();
    let namespace = cluster.namespace("access");
    for (number, program) in kubectls().iter().enumerate() {
        let kubectl = Kubectl::new(cluster, program, &namespace.name);
        let jane = format!("jane-{number}");
        let can =
            |what: &str| kubectl.run(&format!("auth can-i {what} --as {jane}").split(' ').collect::<Vec<_>>()).out;
        assert_eq!(can("list pods").trim(), "no");
        kubectl.ok(&format!("create role reader-{number} --verb=list,get --resource=pods,deployments.apps"));
        kubectl.ok(&format!("create rolebinding reader-{number} --role=reader-{number} --user={jane}"));
        assert_eq!(can("list pods").trim(), "yes");
        assert_eq!(can("list pods --all-namespaces").trim(), "no");
        assert_eq!(can("get /version").trim(), "yes");
        let list = can("--list");
        for line in ["selfsubjectaccessreviews.authorization.k8s.io", "pods ", "deployments.apps", "[/version]"] {
            assert!(list.contains(line), "{line}: {list}");
        }
        let pods = kubectl.run(&["get", "pods", "--as", &jane]);
        assert_eq!(pods.code, 0, "{}", pods.err);
        let refused = kubectl.run(&["get", "secrets", "--as", &jane]);
        let why = format!("User \"{jane}\" cannot list resource \"secrets\" in API group \"\" in the namespace");
        assert!(refused.code == 1 && refused.err.contains(&why), "{}", refused.err);
    }
}

#[test]
fn kubectl_reconciles_roles() {
    let cluster = cluster!();
    let namespace = cluster.namespace("reconcile");
    for program in kubectls() {
        let kubectl = Kubectl::new(cluster, &program, &namespace.name);
        let place = format!(r#"{{"name": "r", "namespace": "{}"}}"#, namespace.name);
        let manifests = |verbs: &str, user: &str| {
            format!(
                r#"{{"apiVersion": "v1", "kind": "List", "items": [
                  {{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {place},
                    "rules": [{{"apiGroups": [""], "resources": ["pods"], "verbs": {verbs}}}]}},
                  {{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {place},
                    "roleRef": {{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}},
                    "subjects": [{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "{user}"}}]}}]}}"#
            )
        };
        let reconcile = |manifests: &str| {
            let ran = kubectl.with_input(manifests, &["auth", "reconcile", "-f", "-"]);
            assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
            ran.out
        };
        reconcile(&manifests(r#"["get"]"#, "a"));
        let said = reconcile(&manifests(r#"["list"]"#, "b"));
        assert!(said.contains("role.rbac.authorization.k8s.io/r reconciled"), "{said}");
        let role = namespace.api.get(&namespace.path_in("rbac.authorization.k8s.io/v1", "roles/r")).ok();
        assert_eq!(role["rules"].as_array().map(Vec::len), Some(2), "{role}");
        let binding = namespace.api.get(&namespace.path_in("rbac.authorization.k8s.io/v1", "rolebindings/r")).ok();
        assert_eq!(binding["subjects"].as_array().map(Vec::len), Some(2), "{binding}");
        kubectl.ok("delete role,rolebinding r");
    }
}

#[test]
fn a_role_of_ones_own_is_part_of_view_edit_and_admin() {
    let cluster = cluster!();
    let api = cluster.api();
    let rule = json!({"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]});
    let has = |role: &str| {
        let role = api.get(&format!("{RBAC}/clusterroles/{role}")).ok();
        role["rules"].as_array().is_some_and(|rules| rules.contains(&rule))
    };
    let labels = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let object = json!({"metadata": {"name": "widgets", "labels": labels}, "rules": [rule]});
    api.post(&format!("{RBAC}/clusterroles"), &object).ok();
    eventually("all have the rule", || {
        let missing: Vec<&str> = ["view", "edit", "admin"].into_iter().filter(|role| !has(role)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} have not")) }
    });
    api.delete(&format!("{RBAC}/clusterroles/widgets"), &json!({})).ok();
    eventually("none has the rule", || {
        let left: Vec<&str> = ["view", "edit", "admin"].into_iter().filter(|role| has(role)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} have")) }
    });
}
