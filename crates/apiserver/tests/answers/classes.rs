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
