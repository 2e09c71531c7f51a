//! Slices that somebody writes to come where only the node may.

use super::*;

/// A service, and a slice of it that somebody wrote, with an Ingress to it for the host of the same name.
fn written(namespace: &Namespace<'_>, name: &str, at: (&str, u16), pod: Option<&str>, scheme: &str) {
    let spec = json!({"ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    namespace.create("services", &json!({"metadata": {"name": name}, "spec": spec}));
    slice(namespace, name, at, pod);
    let annotations = json!({"nginx.ingress.kubernetes.io/backend-protocol": scheme});
    let rule = json!({"host": format!("{name}.astray.example"), "http": {"paths": [path("/", "Prefix", name)]}});
    ingress(namespace, name, annotations, json!({"rules": [rule]}));
}

fn slice(namespace: &Namespace<'_>, service: &str, (address, port): (&str, u16), pod: Option<&str>) {
    let mut endpoint = json!({"addresses": [address], "conditions": {"ready": true}});
    if let Some(pod) = pod {
        endpoint["targetRef"] = json!({"kind": "Pod", "name": pod, "namespace": namespace.name});
    }
    let slice = json!({
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"name": "http", "port": port}],
    });
    namespace.api.post(&namespace.path_in("discovery.k8s.io/v1", "endpointslices"), &slice).ok();
}

/// A pod in the node's network that says it has a port.
fn host_pod(namespace: &Namespace<'_>, name: &str, args: &[&str], port: u16) {
    let mut object = pod(name, args);
    object["spec"]["hostNetwork"] = json!(true);
    object["spec"]["restartPolicy"] = json!("Never");
    object["spec"]["containers"][0]["ports"] = json!([{"containerPort": port}]);
    namespace.create("pods", &object);
}

#[test]
fn no_slice_leads_to_the_node_itself() {
    const KUBELET: u16 = 10250;
    const CONTROLLERS: u16 = 10257;
    const ELSEWHERE: &str = "192.0.2.44";
    let cluster = cluster!();
    let namespace = cluster.namespace("astray");
    let node = cluster.node_address();

    // What leads to the kubelet under another address.
    let spec = json!({"type": "LoadBalancer", "externalIPs": [ELSEWHERE], "ports": [{"name": "http", "port": 80}]});
    namespace.create("services", &json!({"metadata": {"name": "kubelet"}, "spec": spec}));
    slice(&namespace, "kubelet", (&node, KUBELET), None);
    let balanced = eventually("the service has an address", || {
        let service = namespace.found("services/kubelet")?;
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
        ip.ok_or_else(|| service["status"].to_string())
    });
    host_pod(&namespace, "ended", &["exit", "0"], 9099);
    host_pod(&namespace, "lies", &["sleep", "3600"], CONTROLLERS);
    namespace.pod_until("ended", "has ended", |pod| pod["status"]["phase"] == "Succeeded");
    namespace.pod_ready("lies");
    written(&namespace, "direct", (&node, KUBELET), None, "HTTPS");
    written(&namespace, "balanced", (&balanced, 80), None, "HTTPS");
    written(&namespace, "external", (ELSEWHERE, 80), None, "HTTPS");
    written(&namespace, "ended", (&node, 9099), Some("ended"), "HTTP");
    written(&namespace, "lies", (&node, CONTROLLERS), Some("lies"), "HTTPS");

    // What is known of a slice that was written later is known of those before.
    server(&namespace, "well");
    namespace.pod_ready("well");
    let own = namespace.pod("well")["status"]["podIP"].as_str().unwrap().to_owned();
    written(&namespace, "last", (&own, 8080), None, "HTTP");
    let at = address(&namespace, "last");
    assert_eq!(
        eventually("a slice that somebody wrote leads to a pod", || body(&at, "last.astray.example", "/")),
        "well"
    );
    let status = |name: &str| http(&at, &format!("{name}.astray.example"), "/", "").map(|answer| answer.status);
    for (name, wanted) in [("direct", 503), ("balanced", 502), ("external", 502), ("ended", 503), ("lies", 503)] {
        assert_eq!(status(name), Ok(wanted), "{name}");
    }
}
