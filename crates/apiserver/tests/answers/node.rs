//! What kubelets may do: each of its own node.

use coracle_apiserver::auth::User;
use http::Method;
use serde_json::{Value, json};

use crate::{Answer, Api};

const DEFAULT: &str = "/api/v1/namespaces/default";

/// A kubelet's requests.
struct Kubelet<'a>(&'a Api, &'static str);

impl Kubelet<'_> {
    async fn call(&self, method: Method, path: &str, media_type: &str, body: &Value) -> Answer {
        let user = User::new(format!("system:node:{}", self.1), &["system:nodes"]);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.0.call_by(user, method, path, &[("content-type", media_type)], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "application/json", &Value::Null).await
    }

    async fn post(&self, path: &str, object: &Value) -> Answer {
        self.call(Method::POST, path, "application/json", object).await
    }

    async fn patch(&self, path: &str, patch: &Value) -> Answer {
        self.call(Method::PATCH, path, "application/merge-patch+json", patch).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "application/json", &Value::Null).await
    }
}

/// A pod that is bound to a node.
fn pod(name: &str, node: &str, volumes: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": node, "containers": [{"name": "c", "image": "i"}], "volumes": volumes,
        "automountServiceAccountToken": false,
    }})
}

async fn make_pod(api: &Api, name: &str, node: &str, volumes: Value) -> Value {
    api.post(&format!("{DEFAULT}/pods"), &pod(name, node, volumes)).await.ok()
}

fn refusal(verb: &str, resource: &str, name: &str, node: &str, why: &str) -> String {
    let object = if name.is_empty() { resource.to_owned() } else { format!("{resource} \"{name}\"") };
    format!(
        "{object} is forbidden: User \"system:node:{node}\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"default\": {why}"
    )
}

#[tokio::test]
async fn a_kubelet_reads_the_secrets_of_its_pods_and_no_others() {
    let api = Api::new().await;
    for name in ["s", "t"] {
        api.post(&format!("{DEFAULT}/secrets"), &json!({"metadata": {"name": name}})).await.ok();
        api.post(&format!("{DEFAULT}/configmaps"), &json!({"metadata": {"name": name}})).await.ok();
    }
    let (a, b) = (Kubelet(&api, "a"), Kubelet(&api, "b"));
    let unrelated = "no relationship found between node 'a' and this object";
    a.get(&format!("{DEFAULT}/secrets/s")).await.refused(403, &refusal("get", "secrets", "s", "a", unrelated));
    let volumes = json!([{"name": "s", "secret": {"secretName": "s"}}, {"name": "m", "configMap": {"name": "s"}}]);
    make_pod(&api, "one", "a", volumes).await;
    for path in ["secrets/s", "configmaps/s", "secrets?fieldSelector=metadata.name%3Ds"] {
        a.get(&format!("{DEFAULT}/{path}")).await.ok();
        assert_eq!(b.get(&format!("{DEFAULT}/{path}")).await.status, 403, "{path}");
    }
    for (path, verb, resource, name, why) in [
        ("secrets/t", "get", "secrets", "t", unrelated),
        ("configmaps/t", "get", "configmaps", "t", unrelated),
        ("secrets", "list", "secrets", "", "No Object name found"),
        ("configmaps?watch=1", "watch", "configmaps", "", "No Object name found"),
        (
            "persistentvolumeclaims",
            "list",
            "persistentvolumeclaims",
            "",
            "can only get individual resources of this type",
        ),
    ] {
        a.get(&format!("{DEFAULT}/{path}")).await.refused(403, &refusal(verb, resource, name, "a", why));
    }
    a.get("/api/v1/secrets").await.refused(
        403,
        "secrets is forbidden: User \"system:node:a\" cannot list resource \"secrets\" in API group \"\" at the cluster scope: can only read namespaced object of this type",
    );
    let why = refusal("delete", "secrets", "s", "a", "can only read resources of this type");
    a.delete(&format!("{DEFAULT}/secrets/s")).await.refused(403, &why);
    // Gone with the pod.
    api.delete(&format!("{DEFAULT}/pods/one?gracePeriodSeconds=0")).await.ok();
    a.get(&format!("{DEFAULT}/secrets/s")).await.refused(403, &refusal("get", "secrets", "s", "a", unrelated));
}

#[tokio::test]
async fn a_kubelet_reads_the_claims_volumes_and_attachments_of_its_pods() {
    let api = Api::new().await;
    let claims = format!("{DEFAULT}/persistentvolumeclaims");
    let spec = |volume: &str| json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": volume, "storageClassName": ""});
    api.post(&claims, &json!({"metadata": {"name": "data"}, "spec": spec("v")})).await.ok();
    api.post(&format!("{DEFAULT}/secrets"), &json!({"metadata": {"name": "stage"}})).await.ok();
    let reference = json!({"namespace": "default", "name": "stage"});
    let volume = |name: &str, claim: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": {"namespace": "default", "name": claim},
            "csi": {"driver": "d", "volumeHandle": name, "nodeStageSecretRef": reference},
        }})
    };
    api.post("/api/v1/persistentvolumes", &volume("v", "data")).await.ok();
    api.post("/api/v1/persistentvolumes", &volume("w", "other")).await.ok();
    let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
    for node in ["a", "b"] {
        let spec = json!({"attacher": "d", "nodeName": node, "source": {"persistentVolumeName": "v"}});
        api.post(attachments, &json!({"metadata": {"name": node}, "spec": spec})).await.ok();
    }
    make_pod(&api, "one", "a", json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}])).await;
    let (a, b) = (Kubelet(&api, "a"), Kubelet(&api, "b"));
    let paths = [format!("{claims}/data"), "/api/v1/persistentvolumes/v".into(), format!("{DEFAULT}/secrets/stage")];
    for path in &paths {
        a.get(path).await.ok();
        assert_eq!(b.get(path).await.status, 403, "{path}");
    }
    assert_eq!(a.get("/api/v1/persistentvolumes/w").await.status, 403);
    a.get(&format!("{attachments}/a")).await.ok();
    assert_eq!(a.get(&format!("{attachments}/b")).await.status, 403);
    let capacity = json!({"status": {"capacity": {"storage": "2Gi"}}});
    a.patch(&format!("{claims}/data/status"), &capacity).await.ok();
    assert_eq!(b.patch(&format!("{claims}/data/status"), &capacity).await.status, 403);
    a.patch(&format!("{claims}/data/status"), &json!({"metadata": {"labels": {"x": "y"}}})).await.ok();
}

#[tokio::test]
async fn a_kubelet_reads_its_own_node_and_pods() {
    let api = Api::new().await;
    make_pod(&api, "one", "a", json!([])).await;
    make_pod(&api, "two", "b", json!([])).await;
    let a = Kubelet(&api, "a");
    for path in [
        "/api/v1/pods?fieldSelector=spec.nodeName%3Da",
        "/api/v1/namespaces/default/pods/one",
        "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Done",
        "/api/v1/nodes?fieldSelector=metadata.name%3Da",
        "/api/v1/services",
    ] {
        a.get(path).await.ok();
    }
    for path in [
        "/api/v1/pods",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Db",
        "/api/v1/pods?fieldSelector=spec.nodeName%21%3Da",
        "/api/v1/namespaces/default/pods/two",
        "/api/v1/nodes?fieldSelector=metadata.name%3Db",
        "/apis/resource.k8s.io/v1/resourceslices",
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/b",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases/a",
        "/apis/storage.k8s.io/v1/csinodes/b",
    ] {
        assert_eq!(a.get(path).await.status, 403, "{path}");
    }
    a.get("/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Da").await.ok();
    for (path, why) in [
        ("/api/v1/nodes", "node 'a' cannot read all nodes, only its own Node object"),
        ("/api/v1/nodes/b", "node 'a' cannot read 'b', only its own Node object"),
    ] {
        let text = a.get(path).await.text;
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn access_reviews_are_answered_by_what_is_selected() {
    let api = Api::new().await;
    let ask = |selector: Value| {
        json!({"spec": {"user": "system:node:a", "groups": ["system:nodes"], "resourceAttributes": {
            "verb": "list", "resource": "pods", "version": "v1", "fieldSelector": selector}}})
    };
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let requirement = |operator: &str, node: &str| json!({"requirements": [{"key": "spec.nodeName", "operator": operator, "values": [node]}]});
    for (selector, allowed) in [
        (requirement("In", "a"), true),
        (requirement("In", "b"), false),
        (requirement("NotIn", "a"), false),
        (json!({"rawSelector": "spec.nodeName=a"}), true),
        (json!({"rawSelector": "spec.nodeName"}), false),
    ] {
        let status = api.post(reviews, &ask(selector.clone())).await.ok()["status"].clone();
        assert_eq!(status["allowed"], allowed, "{selector}: {status}");
    }
}
