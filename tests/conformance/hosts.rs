//! The file /etc/hosts, which the kubelet writes.

use coracle_e2e::*;
use serde_json::json;

/// The first line of what the kubelet writes.
const MANAGED: &str = "# Kubernetes-managed hosts file.";

#[test]
fn should_write_entries_to_etc_hosts() {
    let cluster = cluster!();
    let namespace = cluster.namespace("host-aliases");
    let mut object = pod("p", &["cat", "/etc/hosts"]);
    object["spec"]["hostAliases"] = json!([{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]);
    let ran = namespace.run_pod(&object);
    assert!(ran.log.contains("123.45.67.89\tfoo\tbar"), "{}", ran.log);
}

#[test]
fn should_test_kubelet_managed_etc_hosts_file() {
    let cluster = cluster!();
    let namespace = cluster.namespace("managed-hosts");
    let show = ["cat", "/etc/hosts"];
    let mut object = pod("p", &show);
    object["spec"]["containers"].as_array_mut().unwrap().push(container("own", &show));
    object["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "hosts", "mountPath": "/etc/hosts"}]);
    object["spec"]["volumes"] = json!([{"name": "hosts", "hostPath": {"path": "/etc/hosts", "type": "File"}}]);
    namespace.create("pods", &object);
    namespace.pod_until("p", "ends", |pod| pod["status"]["phase"] == "Succeeded");
    let log = |container: &str| {
        let path = namespace.path(&format!("pods/p/log?container={container}"));
        namespace.api.get_as(&path, "*/*").text
    };
    assert!(log("main").starts_with(MANAGED), "{}", log("main"));
    assert!(!log("own").contains(MANAGED), "{}", log("own"));
    let mut object = pod("on-the-host", &show);
    object["spec"]["hostNetwork"] = true.into();
    let ran = namespace.run_pod(&object);
    // Upstream's kubelet manages it there as well, with the node's entries.
    assert!(ran.log.contains("localhost") && !ran.log.starts_with(&format!("{MANAGED}\n")), "{}", ran.log);
}
