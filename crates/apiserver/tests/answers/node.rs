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

/// A server on which nodes have what the node authorizer gives them, and nothing by the bindings for their other parts.
async fn strict() -> Api {
    const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let api = Api::new().await;
    for name in ["node-proxier", "local-directory-provisioner", "network-policy"] {
        api.delete(&format!("{BINDINGS}/system:{name}-of-nodes")).await.ok();
    }
    api
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
    let api = strict().await;
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
    let api = strict().await;
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
    a.patch(&format!("{claims}/data/status"), &json!({"metadata": {"labels": {"x": "y"}}})).await.refused(
        403,
        "persistentvolumeclaims \"data\" is forbidden: node \"a\" is not allowed to update fields other than status.quantity and status.conditions",
    );
}

#[tokio::test]
async fn a_kubelet_reads_its_own_node_and_pods() {
    let api = strict().await;
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
    let api = strict().await;
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

#[tokio::test]
async fn a_kubelet_registers_its_own_node_with_labels_that_are_its_own() {
    let api = Api::new().await;
    let a = Kubelet(&api, "a");
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {}});
    a.post("/api/v1/nodes", &node("b", json!({})))
        .await
        .refused(403, "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\"");
    let labels = json!({"node-role.kubernetes.io/master": "", "node-restriction.kubernetes.io/a": "", "kubernetes.io/os": "linux"});
    a.post("/api/v1/nodes", &node("a", labels)).await.refused(
        403,
        "nodes \"a\" is forbidden: node \"a\" is not allowed to set the following labels: node-restriction.kubernetes.io/a, node-role.kubernetes.io/master",
    );
    a.post("/api/v1/nodes", &node("a", json!({"kubernetes.io/hostname": "a", "own": "x"}))).await.ok();
    let path = "/api/v1/nodes/a";
    a.patch(path, &json!({"metadata": {"labels": {"own": "y", "kubernetes.io/os": "linux"}}})).await.ok();
    a.patch(path, &json!({"metadata": {"labels": {"node-role.kubernetes.io/x": ""}}}))
        .await
        .refused(403, "nodes \"a\" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/x");
    let taints = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    a.patch(path, &taints).await.refused(403, "nodes \"a\" is forbidden: node \"a\" is not allowed to modify taints");
    // What others gave it stays, and does not hinder the kubelet.
    api.patch("merge-patch", path, &json!({"metadata": {"labels": {"node-role.kubernetes.io/x": ""}}})).await.ok();
    api.patch("merge-patch", path, &taints).await.ok();
    a.patch(&format!("{path}/status"), &json!({"status": {"phase": "Running"}})).await.ok();
    api.post("/api/v1/nodes", &node("b", json!({}))).await.ok();
    a.patch("/api/v1/nodes/b/status", &json!({"status": {"phase": "Running"}}))
        .await
        .refused(403, "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\"");
    let lease = json!({"metadata": {"name": "b"}, "spec": {}});
    a.post("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", &lease).await.refused(
        403,
        "leases.coordination.k8s.io \"b\" is forbidden: can only access node lease with the same name as the requesting node",
    );
    a.post("/apis/storage.k8s.io/v1/csinodes", &json!({"metadata": {"name": "b"}, "spec": {"drivers": []}})).await.refused(
        403,
        "csinodes.storage.k8s.io \"b\" is forbidden: can only access CSINode with the same name as the requesting node",
    );
}

#[tokio::test]
async fn a_kubelet_makes_mirrors_of_its_own_pods_only() {
    let api = Api::new().await;
    let a = Kubelet(&api, "a");
    let uid = a.post("/api/v1/nodes", &json!({"metadata": {"name": "a"}})).await.ok()["metadata"]["uid"].clone();
    let pods = format!("{DEFAULT}/pods");
    let mirror = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod("m", "a", json!([]));
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": uid, "controller": true});
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] = json!([owner]);
        change(&mut pod);
        pod
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change<'_>, &str); 7] = [
        (
            &|pod| pod["metadata"]["annotations"] = json!({}),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"a\" can only create mirror pods",
        ),
        (
            &|pod| pod["spec"]["nodeName"] = "b".into(),
            "node \"a\" can only create pods with spec.nodeName set to itself",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"] = json!([]),
            "node \"a\" can only create pods with an owner reference set to itself",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into(),
            "node \"a\" can only create pods with a controller owner reference set to itself",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into(),
            "node \"a\" must not set blockOwnerDeletion on an owner reference",
        ),
        (
            &|pod| pod["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "s"}}]),
            "node \"a\" can not create pods that reference secrets",
        ),
        (
            &|pod| pod["spec"]["serviceAccountName"] = "default".into(),
            "node \"a\" can not create pods that reference serviceaccounts",
        ),
    ];
    for (change, why) in cases {
        a.post(&pods, &mirror(change)).await.refused(403, &format!("pods \"m\" is forbidden: {why}"));
    }
    a.post(&pods, &mirror(&|_| {})).await.ok();
    make_pod(&api, "own", "a", json!([])).await;
    make_pod(&api, "other", "b", json!([])).await;
    let phase = json!({"status": {"phase": "Running"}});
    a.patch(&format!("{pods}/own/status"), &phase).await.ok();
    a.patch(&format!("{pods}/own/status"), &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .refused(403, "pods \"own\" is forbidden: node \"a\" cannot update labels through pod status");
    a.patch(&format!("{pods}/other/status"), &phase).await.refused(
        403,
        "pods \"other\" is forbidden: node \"a\" can only update pod status for pods with spec.nodeName set to itself",
    );
    a.delete(&format!("{pods}/other"))
        .await
        .refused(403, "pods \"other\" is forbidden: node \"a\" can only delete pods with spec.nodeName set to itself");
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    a.post(&format!("{pods}/other/eviction"), &eviction("other"))
        .await
        .refused(403, "pods \"other\" is forbidden: node a can only evict pods with spec.nodeName set to itself");
    a.post(&format!("{pods}/own/eviction"), &eviction("own")).await.ok();
    a.delete(&format!("{pods}/m")).await.ok();
}

#[tokio::test]
async fn a_kubelet_fills_no_quota_by_what_it_says_that_containers_have() {
    let api = strict().await;
    let quotas = format!("{DEFAULT}/resourcequotas");
    let hard = json!({"requests.cpu": "10", "limits.memory": "10Gi"});
    api.post(&quotas, &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await.ok();
    let counted = json!({"status": {"hard": hard, "used": {"requests.cpu": "0", "limits.memory": "0"}}});
    api.patch("merge-patch", &format!("{quotas}/q/status"), &counted).await.ok();
    let mut pod = pod("p", "a", json!([]));
    pod["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "1"}, "limits": {"cpu": "4", "memory": "1Gi"}});
    api.post(&format!("{DEFAULT}/pods"), &pod).await.ok();
    let has = |cpu: &str, memory: &str| {
        json!({"status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": cpu}, "resources": {"requests": {"cpu": cpu}, "limits": {"memory": memory}}}]}})
    };
    let path = format!("{DEFAULT}/pods/p/status");
    let a = Kubelet(&api, "a");
    let answer = a.patch(&path, &has("9", "9Gi")).await;
    assert!(format!("{:?}", answer.headers).contains("were lowered to that"), "{:?}", answer.headers);
    let (answer, lowered) = (answer.ok(), has("1", "1Gi"));
    for field in ["allocatedResources", "resources"] {
        let of = |pod: &Value| pod["status"]["containerStatuses"][0][field].clone();
        assert_eq!(of(&answer), of(&lowered));
    }
    let used = api.get(&format!("{quotas}/q")).await.ok()["status"]["used"].clone();
    assert_eq!(used, json!({"requests.cpu": "1", "limits.memory": "1Gi"}));
    // What it was resized to it may have, and what it still has of that.
    let resize = |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    for (asked, said, kept) in [("2", "2", "2"), ("1", "9", "2"), ("1", "2", "2"), ("1", "1", "1"), ("1", "2", "1")] {
        api.patch("strategic-merge-patch", &format!("{DEFAULT}/pods/p/resize"), &resize(asked)).await.ok();
        let answer = a.patch(&path, &has(said, "1Gi")).await.ok();
        assert_eq!(answer["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], kept, "{asked} {said}");
    }
}

#[tokio::test]
async fn a_kubelet_takes_no_address_of_a_node_that_is_ready() {
    let api = strict().await;
    let at = |address: &str, ready: &str| {
        json!({"status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "ExternalIP", "address": "192.0.2.1"}],
            "conditions": [{"type": "Ready", "status": ready}]}})
    };
    let (a, b) = (Kubelet(&api, "a"), Kubelet(&api, "b"));
    for (node, name, address) in [(&a, "a", "10.0.0.1"), (&b, "b", "10.0.0.2")] {
        node.post("/api/v1/nodes", &json!({"metadata": {"name": name}})).await.ok();
        node.patch(&format!("/api/v1/nodes/{name}/status"), &at(address, "True")).await.ok();
    }
    let path = "/api/v1/nodes/b/status";
    for taken in ["10.0.0.1", "::ffff:10.0.0.1"] {
        b.patch(path, &at(taken, "True")).await.refused(
            403,
            "nodes \"b\" is forbidden: node \"b\" is not allowed to have the InternalIP 10.0.0.1: it is that of the node \"a\", which is Ready",
        );
    }
    let mut many = at("10.0.0.3", "True");
    many["status"]["addresses"] =
        (1..=20).map(|last| json!({"type": "InternalIP", "address": format!("10.0.0.{last}")})).collect();
    assert_eq!(b.patch(path, &many).await.status, 403, "nor one among many");
    b.patch(path, &at("10.0.0.3", "True")).await.ok();
    // Another machine has the address of one that is gone; when that comes again, it needs another.
    a.patch("/api/v1/nodes/a/status", &at("10.0.0.1", "Unknown")).await.ok();
    b.patch(path, &at("10.0.0.1", "True")).await.ok();
    a.patch("/api/v1/nodes/a/status", &at("10.0.0.1", "True")).await.ok();
    let third = Kubelet(&api, "c");
    let joining = json!({"metadata": {"name": "c"}, "status": at("10.0.0.1", "True")["status"]});
    third.post("/api/v1/nodes", &joining).await.refused(
        403,
        "nodes \"c\" is forbidden: node \"c\" is not allowed to have the InternalIP 10.0.0.1: it is that of the node \"a\", which is Ready",
    );
}

#[tokio::test]
async fn a_kubelet_has_tokens_for_its_pods_and_their_audiences() {
    let api = Api::new().await;
    let a = Kubelet(&api, "a");
    let volumes = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "v", "audience": "vault"}}]}}]);
    let own = make_pod(&api, "own", "a", volumes.clone()).await["metadata"]["uid"].clone();
    let other = make_pod(&api, "other", "b", volumes).await["metadata"]["uid"].clone();
    let path = format!("{DEFAULT}/serviceaccounts/default/token");
    let request = |name: &str, uid: &Value, audiences: Value| {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        json!({"spec": {"audiences": audiences, "boundObjectRef": bound}})
    };
    a.post(&path, &request("own", &own, json!([]))).await.ok();
    a.post(&path, &request("own", &own, json!(["vault"]))).await.ok();
    for (request, why) in [
        (json!({"spec": {}}), "node requested token not bound to a pod"),
        (request("own", &json!(""), json!([])), "node requested token with a pod binding without a uid"),
        (request("other", &other, json!([])), "node requested token bound to a pod scheduled on a different node"),
        (request("own", &own, json!(["vault", "x"])), "node may only request 0 or 1 audiences"),
        (
            request("own", &own, json!(["x"])),
            "audience \"x\" not found in pod spec volume, system:node:a is not authorized to request tokens for this audience",
        ),
    ] {
        let why = format!("serviceaccounts \"default\" is forbidden: {why}");
        a.post(&path, &request).await.refused(403, &why);
    }
    // Where no pod of the node has the account, none is given.
    api.post(&format!("{DEFAULT}/serviceaccounts"), &json!({"metadata": {"name": "bot"}})).await.ok();
    let bot = format!("{DEFAULT}/serviceaccounts/bot");
    assert_eq!(a.post(&format!("{bot}/token"), &request("own", &own, json!([]))).await.status, 403);
    assert_eq!(a.get(&bot).await.status, 403);
    a.get(&format!("{DEFAULT}/serviceaccounts/default")).await.ok();
    // A role gives an audience to nodes.
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = json!({"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["x"]});
    api.post(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": "x"}, "rules": [rule]})).await.ok();
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"});
    let binding = json!({"metadata": {"name": "x"}, "roleRef": role, "subjects": [subject]});
    api.post(&format!("{rbac}/clusterrolebindings"), &binding).await.ok();
    a.post(&path, &request("own", &own, json!(["x"]))).await.ok();
}

#[tokio::test]
async fn a_kubelet_asks_for_the_certificate_of_its_own_node() {
    use base64::Engine;
    let api = Api::new().await;
    let a = Kubelet(&api, "a");
    let request = |name: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        let text = base64::engine::general_purpose::STANDARD.encode(pem);
        json!({"metadata": {"generateName": "csr-"}, "spec": {
            "request": text, "signerName": signer, "usages": ["digital signature", "client auth"]}})
    };
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    a.post(requests, &request("system:node:a", signer)).await.ok();
    a.post(requests, &request("anyone", "example.com/s")).await.ok();
    let answer = a.post(requests, &request("system:node:b", signer)).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("can only create a node CSR with CN=system:node:a"), "{}", answer.text);
}

#[tokio::test]
async fn a_node_makes_volumes_of_its_directories_for_claims_that_are_for_it_and_no_others() {
    let api = Api::new().await;
    let claims = format!("{DEFAULT}/persistentvolumeclaims");
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim = |name: &str, node: &str| {
        let annotations = json!({"volume.kubernetes.io/selected-node": node});
        json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec})
    };
    let mine = api.post(&claims, &claim("mine", "a")).await.ok();
    let other = api.post(&claims, &claim("other", "b")).await.ok();
    let uid = |claim: &Value| claim["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let volume = |claim: &Value, node: &str| {
        let on_node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        json!({
            "metadata": {"name": format!("pvc-{}", uid(claim)),
                "annotations": {"pv.kubernetes.io/provisioned-by": "coracle.io/local-directory"}},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/x"},
                "claimRef": {"namespace": "default", "name": claim["metadata"]["name"], "uid": uid(claim)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}}},
        })
    };
    let (a, b) = (Kubelet(&api, "a"), Kubelet(&api, "b"));
    let volumes = "/api/v1/persistentvolumes";
    let mut anywhere = volume(&mine, "a");
    anywhere["spec"].as_object_mut().unwrap().remove("nodeAffinity");
    let mut path = volume(&mine, "a");
    path["spec"]["hostPath"] = path["spec"].as_object_mut().unwrap().remove("local").unwrap();
    let mut foreign = volume(&mine, "a");
    foreign["metadata"]["name"] = json!("pvc-x");
    for (who, wrong) in [
        (&a, volume(&mine, "b")),
        (&a, volume(&other, "a")),
        (&b, volume(&mine, "b")),
        (&a, anywhere),
        (&a, path),
        (&a, foreign),
    ] {
        assert_eq!(who.post(volumes, &wrong).await.status, 403, "{wrong:#}");
    }
    a.post(volumes, &volume(&mine, "a")).await.ok();
    // Of which it tells how large they are.
    for (who, name, status) in [(&a, "mine", 200), (&a, "other", 403), (&b, "mine", 403)] {
        let mut claim = api.get(&format!("{claims}/{name}")).await.ok();
        claim["status"]["capacity"] = json!({"storage": "2Gi"});
        let path = format!("{claims}/{name}/status");
        assert_eq!(who.call(Method::PUT, &path, "application/json", &claim).await.status, status, "{name}");
    }
    let own = format!("{volumes}/pvc-{}", uid(&mine));
    let grown = json!({"spec": {"capacity": {"storage": "2Gi"}}});
    // Its role has no patches.
    let mut changed = api.get(&own).await.ok();
    changed["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(a.patch(&own, &grown).await.status, 403);
    a.call(Method::PUT, &own, "application/json", &changed).await.ok();
    let mut stolen = api.get(&own).await.ok();
    stolen["spec"]["claimRef"]["name"] = json!("other");
    assert_eq!(a.call(Method::PUT, &own, "application/json", &stolen).await.status, 403);
    assert_eq!(b.delete(&own).await.status, 403);
    a.delete(&own).await.ok();
}
