//! Services of type LoadBalancer get addresses of the pool, which has two here.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

fn balanced(name: &str, more: Value) -> Value {
    let mut spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn address(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.first()?.ip.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_given_kept_over_a_restart_and_given_back() {
    let mut cluster = Cluster::new().await;
    for name in ["a", "b"] {
        cluster.create::<Service>(balanced(name, json!({}))).await;
    }
    let given =
        |service: &Service| address(service).is_some() && service.finalizers().iter().any(|one| one == FINALIZER);
    let a = cluster.wait::<Service>("a", "a has an address", given).await;
    let b = cluster.wait::<Service>("b", "b has an address", given).await;
    assert_ne!(address(&a), address(&b));
    cluster.restart_controllers();
    cluster.create::<Service>(balanced("c", json!({}))).await;
    cluster.create::<Service>(balanced("other", json!({"loadBalancerClass": "example.com/other"}))).await;
    cluster.api::<Service>().delete("a", &DeleteParams::default()).await.unwrap();
    let c = cluster.wait::<Service>("c", "c has the address of a", given).await;
    assert_eq!(address(&c), address(&a));
    let now = cluster.api::<Service>().get("b").await.unwrap();
    assert_eq!(address(&now), address(&b));
    cluster.patch::<Service>("b", json!({"spec": {"type": "ClusterIP"}})).await;
    cluster
        .wait::<Service>("b", "b has none", |service| address(service).is_none() && service.finalizers().is_empty())
        .await;
    let other = cluster.api::<Service>().get("other").await.unwrap();
    assert!(address(&other).is_none() && other.finalizers().is_empty(), "another class is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_service_loses_by_a_change_goes_to_one_that_waits() {
    let cluster = Cluster::new().await;
    let given = |service: &Service| address(service).is_some();
    for name in ["a", "b"] {
        cluster.create::<Service>(balanced(name, json!({}))).await;
        cluster.wait::<Service>(name, "it has an address", given).await;
    }
    let before = cluster.api::<Service>().get("a").await.unwrap();
    cluster.create::<Service>(balanced("c", json!({}))).await;
    cluster.wait::<Service>("c", "c waits", |service| !given(service)).await;
    cluster.patch::<Service>("a", json!({"spec": {"loadBalancerIP": "192.0.2.99"}})).await;
    let c = cluster.wait::<Service>("c", "c has the address of a", given).await;
    assert_eq!(address(&c), address(&before));
    cluster.wait::<Service>("a", "a has none", |service| !given(service)).await;
}
