//! Classes that are taken where none is named, and what they allow.

use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn an_ingress_without_a_class_has_the_default_one() {
    let api = Api::new().await;
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let ingress = |name: &str, annotations: Value| {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"defaultBackend": backend}})
    };
    let made = api.post(ingresses, &ingress("a", json!({}))).await.ok();
    assert_eq!(made["spec"].get("ingressClassName"), None);
    for (name, default) in [("one", "true"), ("two", "true"), ("zero", "false")] {
        let annotations = json!({"ingressclass.kubernetes.io/is-default-class": default});
        let class =
            json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "example.com/c"}});
        api.post("/apis/networking.k8s.io/v1/ingressclasses", &class).await.ok();
    }
    let made = api.post(ingresses, &ingress("b", json!({}))).await.ok();
    assert!(matches!(made["spec"]["ingressClassName"].as_str(), Some("one" | "two")), "{made}");
    let made = api.post(ingresses, &ingress("c", json!({"kubernetes.io/ingress.class": "old"}))).await.ok();
    assert_eq!(made["spec"].get("ingressClassName"), None);
}

#[tokio::test]
async fn claims_grow_if_they_are_bound_and_their_class_allows_it() {
    let api = Api::new().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    for (name, grows) in [("fixed", false), ("elastic", true)] {
        let class = json!({"metadata": {"name": name}, "provisioner": "example.com/p", "allowVolumeExpansion": grows});
        api.post("/apis/storage.k8s.io/v1/storageclasses", &class).await.ok();
        let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": name, "resources": {"requests": {"storage": "1Gi"}}});
        api.post(claims, &json!({"metadata": {"name": name}, "spec": spec})).await.ok();
    }
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let grow = async |name: &str| api.patch("merge-patch", &format!("{claims}/{name}"), &larger).await;
    // One that is not bound does not even get so far.
    assert!(!grow("elastic").await.status.is_success());
    for name in ["fixed", "elastic"] {
        let bound = json!({"spec": {"volumeName": "v"}});
        api.patch("merge-patch", &format!("{claims}/{name}"), &bound).await.ok();
        let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        api.patch("merge-patch", &format!("{claims}/{name}/status"), &status).await.ok();
    }
    grow("fixed").await.refused(
        403,
        "persistentvolumeclaims \"fixed\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    );
    grow("elastic").await.ok();
}

#[tokio::test]
async fn a_new_cluster_begins_with_a_class_that_stays_away_once_it_is_removed() {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "example.com/p"});
    let begin = |config: &mut crate::Config| config.initial = vec![class.clone()];
    let api = Api::with(begin).await;
    let path = "/apis/storage.k8s.io/v1/storageclasses/standard";
    assert_eq!(api.get(path).await.ok()["provisioner"], "example.com/p");
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let made = api.post(claims, &json!({"metadata": {"name": "c"}, "spec": spec})).await.ok();
    assert_eq!(made["spec"]["storageClassName"], "standard");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    api.delete(path).await.ok();
    let (store, dir) = (api.store.clone(), tempfile::tempdir().expect("a directory"));
    drop(api);
    let again = Api::set_up(std::net::Ipv4Addr::new(192, 0, 2, 1), dir, store, begin).await;
    assert_eq!(again.get(path).await.status, 404);
}
