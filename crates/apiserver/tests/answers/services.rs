//! Addresses and ports of services.

use std::sync::Arc;

use coracle_store::{Op, Txn};
use serde_json::{Value, json};

use crate::Api;
use crate::held::{self, Held};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80}]);
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn what_the_cluster_has_no_addresses_for_is_refused() {
    let api = Api::new().await;
    api.post(SERVICES, &service("a", json!({"ipFamilies": ["IPv6"]}))).await.refused(
        422,
        "Service \"a\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    api.post(SERVICES, &service("a", json!({"ipFamilyPolicy": "RequireDualStack"}))).await.refused(
        422,
        "Service \"a\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
    );
    let made = api.post(SERVICES, &service("a", json!({"ipFamilyPolicy": "PreferDualStack"}))).await.ok();
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(made["spec"]["ipFamilyPolicy"], "PreferDualStack");
}

#[tokio::test]
async fn what_a_type_does_not_have_is_refused_and_not_dropped() {
    let api = Api::new().await;
    let spec = json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.3.3"});
    api.post(SERVICES, &service("a", spec))
        .await
        .refused(422, "Service \"a\" is invalid: spec.clusterIPs: Forbidden: may not be set for ExternalName services");
    let mut with_port = service("a", json!({}));
    with_port["spec"]["ports"][0]["nodePort"] = 30_999.into();
    let answer = api.post(SERVICES, &with_port).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
}

#[tokio::test]
async fn every_address_has_an_object_that_comes_and_goes_with_its_service() {
    let api = Api::new().await;
    let first = api.get(&format!("{ADDRESSES}/10.96.0.1")).await.ok();
    assert_eq!(
        first["spec"]["parentRef"],
        json!({"group": "", "resource": "services", "namespace": "default", "name": "kubernetes"})
    );
    api.post(SERVICES, &service("a", json!({"clusterIP": "10.96.7.7"}))).await.ok();
    let path = format!("{ADDRESSES}/10.96.7.7");
    assert_eq!(api.get(&path).await.ok()["spec"]["parentRef"]["name"], "a");
    let patch = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
    let named = api.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    assert_eq!(named["spec"].get("clusterIP"), None, "{named}");
    assert_eq!(api.get(&path).await.status, 404);
    let patch = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let again = api.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    let path = format!("{ADDRESSES}/{}", again["spec"]["clusterIP"].as_str().unwrap());
    api.get(&path).await.ok();
    api.delete(&format!("{SERVICES}/a")).await.ok();
    assert_eq!(api.get(&path).await.status, 404);
}

#[tokio::test]
async fn an_address_that_an_object_reserves_is_not_given() {
    let api = Api::new().await;
    let parent = json!({"resource": "gateways", "group": "g.example.com", "name": "x"});
    api.post(ADDRESSES, &json!({"metadata": {"name": "10.96.5.5"}, "spec": {"parentRef": parent}})).await.ok();
    let answer = api.post(SERVICES, &service("a", json!({"clusterIP": "10.96.5.5"}))).await;
    assert!(answer.text.contains("provided IP is already allocated"), "{}", answer.text);
}

#[tokio::test]
async fn local_traffic_of_a_load_balancer_has_a_port_for_its_health() {
    let api = Api::new().await;
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = api.post(SERVICES, &service("a", spec)).await.ok();
    let port = made["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&port) && made["spec"]["ports"][0]["nodePort"] != port);
    let patch = json!({"spec": {"type": "ClusterIP"}});
    let plain = api.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    for key in ["healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts"] {
        assert_eq!(plain["spec"].get(key), None, "{key}");
    }
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
}

/// Begins to make a service whose write is held.
async fn begin(api: &Arc<Api>, held: &Held, service: Value) -> tokio::task::JoinHandle<crate::Answer> {
    held.hold();
    let api = api.clone();
    let task = tokio::spawn(async move { api.post(SERVICES, &service).await });
    held.holds().await;
    task
}

#[tokio::test]
async fn what_a_client_that_left_was_given_is_given_to_nobody_else() {
    let wanted = [json!({"clusterIP": "10.96.7.7"}), json!({"type": "NodePort"})];
    for spec in wanted {
        let (api, held) = held::api().await;
        let with_port = |name: &str| {
            let mut service = service(name, spec.clone());
            if spec["type"] == "NodePort" {
                service["spec"]["ports"][0]["nodePort"] = 30_080.into();
            }
            service
        };
        let task = begin(&api, &held, with_port("a")).await;
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        api.post(SERVICES, &with_port("b")).await.ok();
        held.release().await;
        assert_eq!(api.get(&format!("{SERVICES}/a")).await.status, 404, "{spec}");
        api.get(&format!("{SERVICES}/b")).await.ok();
    }
}

#[tokio::test]
async fn an_address_that_an_object_reserves_meanwhile_is_not_given() {
    let (api, held) = held::api().await;
    let task = begin(&api, &held, service("a", json!({"clusterIP": "10.96.5.5"}))).await;
    let parent = json!({"resource": "gateways", "group": "g.example.com", "name": "x"});
    let object = json!({"metadata": {"name": "10.96.5.5"}, "spec": {"parentRef": parent}});
    let reserved = api.post(ADDRESSES, &object).await.ok();
    held.release().await;
    let answer = task.await.expect("an answer");
    assert!(answer.text.contains("provided IP is already allocated"), "{}", answer.text);
    assert_eq!(api.get(&format!("{ADDRESSES}/10.96.5.5")).await.ok(), reserved);
}

#[tokio::test]
async fn a_service_whose_ports_another_server_may_have_given_is_given_others() {
    let (api, held) = held::api().await;
    let task = begin(&api, &held, service("a", json!({"type": "NodePort"}))).await;
    let op = Op::Put { key: "/registry/coracle/nodeports".into(), value: bytes::Bytes::new(), ttl: None };
    api.store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.expect("it is written");
    held.release().await;
    let made = task.await.expect("an answer").ok();
    assert!(made["spec"]["ports"][0]["nodePort"].is_u64() && made["spec"]["clusterIP"].is_string(), "{made}");
}
