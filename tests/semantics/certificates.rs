//! Certificates that are asked for: by kubelets, and by users whom an administrator lets in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_client::Remote;
use coracle_e2e::*;
use coracle_pki::NewRequest;
use serde_json::{Value, json};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

#[test]
fn a_user_comes_in_by_a_certificate_that_kubectl_approves() {
    let cluster = cluster!();
    let api = cluster.api();
    for (number, program) in kubectls().iter().enumerate() {
        let kubectl = Kubectl::new(cluster, program, "default");
        let name = format!("joe-{number}");
        let new = NewRequest::new(&name, "dev", &[], &[]).unwrap();
        let spec = json!({"request": STANDARD.encode(&new.request), "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"], "expirationSeconds": 3600});
        api.post(REQUESTS, &json!({"metadata": {"name": name}, "spec": spec})).ok();
        kubectl.ok(&format!("certificate approve {name}"));
        let certificate = eventually("the request is signed", || {
            let request = api.get(&format!("{REQUESTS}/{name}")).ok();
            request["status"]["certificate"].as_str().map(str::to_owned).ok_or(request)
        });
        assert!(kubectl.ok(&format!("get csr {name}")).contains("Approved,Issued"));
        let joe = Api::new(&Remote {
            client_cert_pem: Some(STANDARD.decode(certificate).unwrap()),
            client_key_pem: Some(new.key.into_bytes()),
            ..cluster.remote()
        });
        let review = joe.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).ok();
        let user = &review["status"]["userInfo"];
        assert_eq!((&user["username"], &user["groups"]), (&json!(name), &json!(["dev", "system:authenticated"])));
        kubectl.ok(&format!("delete csr {name}"));
    }
}

#[test]
fn the_kubelets_server_has_a_certificate_that_it_asked_for() {
    let api = cluster!().api();
    let own = eventually("the kubelet's request has a certificate", || {
        let requests = api.get(REQUESTS).ok();
        let is_own = |request: &&Value| {
            request["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
                && request["status"]["certificate"].is_string()
        };
        requests["items"].as_array().into_iter().flatten().find(is_own).cloned().ok_or_else(|| requests.clone())
    });
    assert!(own["spec"]["username"].as_str().is_some_and(|user| user.starts_with("system:node:")), "{own}");
    assert_eq!(own["status"]["conditions"][0]["reason"], "AutoApproved", "{own}");
}

#[test]
fn a_node_joins_by_a_token() {
    const ID: &str = "joinme";
    let cluster = cluster!();
    let api = cluster.api();
    let secret = json!({"metadata": {"name": format!("bootstrap-token-{ID}")}, "type": "bootstrap.kubernetes.io/token", "stringData": {
        "token-id": ID, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true"}});
    api.post("/api/v1/namespaces/kube-system/secrets", &secret).ok();
    let anybody = Remote { client_cert_pem: None, client_key_pem: None, ..cluster.remote() };
    let nobody = Api::new(&anybody);
    eventually("what nodes read is signed", || {
        let info = nobody.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").ok();
        info["data"][format!("jws-kubeconfig-{ID}")].as_str().map(drop).ok_or(info)
    });
    let joining = Api::new(&Remote { token: Some(format!("{ID}.0123456789abcdef")), ..anybody.clone() });
    let new = NewRequest::new("system:node:joined", "system:nodes", &[], &[]).unwrap();
    let spec = json!({"request": STANDARD.encode(&new.request), "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["client auth", "digital signature"]});
    joining.post(REQUESTS, &json!({"metadata": {"name": "joined"}, "spec": spec})).ok();
    let certificate = eventually("the node has a certificate", || {
        let request = joining.get(&format!("{REQUESTS}/joined")).ok();
        request["status"]["certificate"].as_str().map(str::to_owned).ok_or(request)
    });
    let node = Api::new(&Remote {
        client_cert_pem: Some(STANDARD.decode(certificate).unwrap()),
        client_key_pem: Some(new.key.into_bytes()),
        ..anybody
    });
    node.post("/api/v1/nodes", &json!({"metadata": {"name": "joined"}})).ok();
    assert_eq!(node.get("/api/v1/namespaces/default/secrets/another").status, 403);
    api.delete("/api/v1/nodes/joined", &json!({})).ok();
    api.delete(&format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{ID}"), &json!({})).ok();
    api.delete(&format!("{REQUESTS}/joined"), &json!({})).ok();
    eventually("the signature goes with its token", || {
        let info = nobody.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").ok();
        if info["data"][format!("jws-kubeconfig-{ID}")].is_null() { Ok(()) } else { Err(info) }
    });
}
