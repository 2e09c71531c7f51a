//! What every cluster has, and what new objects are given.

use base64::Engine;
use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn the_rows_that_people_look_for_are_there() {
    let api = Api::new().await;
    let statuses = api.get_as("/api/v1/componentstatuses", "application/json;as=Table;v=v1;g=meta.k8s.io").await.ok();
    let cells: Vec<_> = statuses["rows"].as_array().unwrap().iter().map(|row| row["cells"].clone()).collect();
    assert_eq!(
        cells,
        [
            json!(["controller-manager", "Healthy", "ok", ""]),
            json!(["etcd-0", "Healthy", "ok", ""]),
            json!(["scheduler", "Healthy", "ok", ""]),
        ]
    );
    let core = api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.").await.ok();
    assert_eq!(core["status"]["conditions"][0]["message"], "Local APIServices are always available");
    let apps = api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await.ok();
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    let range = api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
}

#[tokio::test]
async fn what_a_user_should_know_goes_with_the_answer() {
    let api = Api::new().await;
    let endpoints = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    assert_eq!(api.get("/api/v1/endpoints").await.warnings(), [endpoints]);
    let refused = api.get("/api/v1/namespaces/default/endpoints/none").await;
    assert_eq!((refused.status.as_u16(), refused.warnings()), (404, vec![endpoints.to_owned()]));
    assert_eq!(api.get("/api/v1/componentstatuses").await.warnings(), ["v1 ComponentStatus is deprecated in v1.19+"]);
    let policy = json!({"metadata": {"name": "q"}, "spec": {"podSelector": {}}});
    let answer = api.post("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", &policy).await;
    assert!(answer.warnings().is_empty());
    let schema = json!({"metadata": {"name": "q"}, "spec": {"priorityLevelConfiguration": {"name": "exempt"}}});
    let answer = api.post("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", &schema).await;
    assert_eq!(answer.warnings(), ["FlowSchema is stored but not enforced by this version"]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "containers": [{"name": "c", "image": "i:1"}]}});
    let answer = api.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(answer.warnings().len(), 1, "{:?}", answer.warnings());
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert!(api.patch("merge-patch", "/api/v1/namespaces/default/configmaps/none", &label).await.warnings().is_empty());
}

#[tokio::test]
async fn what_is_old_of_an_object_is_told() {
    let api = Api::new().await;
    let volume = json!({"metadata": {"name": "v", "annotations": {"volume.beta.kubernetes.io/storage-class": "x",
            "volume.beta.kubernetes.io/mount-options": "ro"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"},
            "persistentVolumeReclaimPolicy": "Recycle", "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]}]}}}});
    assert_eq!(
        api.post("/api/v1/persistentvolumes", &volume).await.warnings(),
        [
            r#"metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead"#,
            r#"metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use \"mountOptions\" attribute instead"#,
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            r#"spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead"#,
        ]
    );
    let driver = json!({"metadata": {"name": "example.com"}, "spec": {}});
    assert!(api.post("/apis/storage.k8s.io/v1/csidrivers", &driver).await.warnings().is_empty());
    let class = json!({"metadata": {"name": "example.com"}, "spec": {}});
    assert_eq!(
        api.post("/apis/resource.k8s.io/v1/deviceclasses", &class).await.warnings(),
        ["DeviceClass is stored but has no controller in this version: nothing acts on it"]
    );
    let claim = json!({"metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1500m"}}}});
    let answer = api.post("/api/v1/namespaces/default/persistentvolumeclaims", &claim).await;
    assert_eq!(
        answer.warnings()[0],
        r#"spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer"#
    );
    let ingress = json!({"metadata": {"name": "i", "annotations": {"kubernetes.io/ingress.class": "x"}},
        "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 1}}}}});
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    assert_eq!(
        api.post(ingresses, &ingress).await.warnings(),
        [r#"annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"#]
    );
    // Only whoever makes one is told.
    assert!(api.put(&format!("{ingresses}/i"), &ingress).await.warnings().is_empty());
}

#[tokio::test]
async fn a_runtime_class_that_is_not_there_is_not_replaced_by_another() {
    let api = Api::new().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"runtimeClassName": "nope",
        "containers": [{"name": "c", "image": "i:1"}]}});
    api.post("/api/v1/namespaces/default/pods", &pod)
        .await
        .refused(403, "pods \"p\" is forbidden: pod rejected: RuntimeClass \"nope\" not found");
}

#[tokio::test]
async fn a_request_for_a_certificate_says_who_made_it() {
    let api = Api::new().await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).and_then(|request| request.pem());
    let request = base64::engine::general_purpose::STANDARD.encode(request.expect("a request"));
    let spec = json!({"request": request, "signerName": "a.b/c", "usages": ["client auth"], "username": "someone"});
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let made = api.post(requests, &json!({"metadata": {"name": "a"}, "spec": spec})).await.ok();
    assert_eq!(made["spec"]["username"], "admin");
    assert!(made["spec"]["groups"].as_array().unwrap().contains(&json!("system:masters")));
}

#[tokio::test]
async fn a_review_names_the_audiences_that_are_asked_for_and_the_tokens() {
    let api = Api::new().await;
    let request = json!({"spec": {"audiences": ["a", "b"], "expirationSeconds": 600}});
    let issued = api.post("/api/v1/namespaces/default/serviceaccounts/default/token", &request).await.ok();
    let review = async |audiences: Value| {
        let spec = json!({"token": issued["status"]["token"], "audiences": audiences});
        api.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": spec})).await.ok()["status"].clone()
    };
    let status = review(json!(["b", "c"])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["b"])), "{status}");
    assert_eq!(review(json!(["c"])).await["authenticated"], Value::Null);
}
