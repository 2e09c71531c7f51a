//! Services of type LoadBalancer.

use serde_json::json;

use super::*;

#[test]
fn a_load_balancer_has_an_address_at_once_that_the_host_reaches() {
    let cluster = cluster!();
    let namespace = cluster.namespace("balanced");
    server(&namespace, "s", "s");
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "s"}, "ports": [{"port": 80, "targetPort": 8080}]});
    service(&namespace, "web", spec);
    namespace.pod_ready("s");
    let given = eventually("an address is given", || {
        let service = namespace.found("services/web")?;
        let ingress = service["status"]["loadBalancer"]["ingress"][0].clone();
        let ip = ingress["ip"].as_str().map(str::to_owned).ok_or(ingress.to_string())?;
        assert_eq!((&ingress["ipMode"], &service["metadata"]["finalizers"][0]), (&json!("VIP"), &json!(CLEANUP)));
        Ok::<_, String>(ip)
    });
    let body = eventually("the host reaches it", || page(&format!("{given}:80"), "/"));
    assert_eq!(body, "s");
    assert_eq!(namespace.run_until_ok(&["wget", &format!("http://{given}/")]), "s\n", "and so does a pod");
    assert!(page(&format!("{given}:6443"), "/").is_err(), "nothing else of the node is reached by it");

    let local = json!({"spec": {"externalTrafficPolicy": "Local"}});
    namespace.api.patch(&namespace.path("services/web"), MERGE, &local).ok();
    let node = cluster.node_address();
    eventually("the client's address is kept", || match page(&format!("{given}:80"), "/client")? {
        seen if seen.rsplit_once('.').unwrap().0 == node.rsplit_once('.').unwrap().0 && seen != node => Ok(()),
        seen => Err(seen),
    });
    let service = namespace.found("services/web").unwrap();
    let health = service["spec"]["healthCheckNodePort"].as_u64().unwrap();
    let told = eventually("the node tells that it has an endpoint", || page(&format!("{node}:{health}"), "/healthz"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&told).unwrap()["localEndpoints"], 1);

    let fenced = json!({"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}});
    namespace.api.patch(&namespace.path("services/web"), MERGE, &fenced).ok();
    eventually("the host is fenced out", || page(&format!("{given}:80"), "/").err().ok_or("it is not"));

    namespace
        .api
        .patch(
            &namespace.path("services/web"),
            MERGE,
            &json!({"spec": {"type": "ClusterIP",
        "externalTrafficPolicy": null, "loadBalancerSourceRanges": null}}),
        )
        .ok();
    eventually("the address goes with the type", || {
        let service = namespace.found("services/web")?;
        match (&service["status"]["loadBalancer"]["ingress"], &service["metadata"]["finalizers"]) {
            (ingress, finalizers) if ingress.is_null() && finalizers.is_null() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    namespace.event("web", "EnsuredLoadBalancer", "Ensured load balancer");
}

const CLEANUP: &str = "service.kubernetes.io/load-balancer-cleanup";
