//! Requests for certificates: one part approves them, another signs them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_apiserver::auth::User;
use coracle_pki::NewRequest;
use http::Method;
use serde_json::{Value, json};

use crate::Api;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request named `r`, and a certificate.
async fn requested(api: &Api) -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM");
    let spec = json!({"request": STANDARD.encode(request), "signerName": "example.com/s", "usages": ["client auth"]});
    api.post(REQUESTS, &json!({"metadata": {"name": "r"}, "spec": spec})).await.ok();
    STANDARD.encode(&api.authority.certificate)
}

async fn patch(api: &Api, subresource: &str, status: Value) -> crate::Answer {
    api.patch("merge-patch", &format!("{REQUESTS}/r/{subresource}"), &json!({"status": status})).await
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "R"})
}

#[tokio::test]
async fn the_approver_does_not_sign_and_the_signer_does_not_approve() {
    let api = Api::new().await;
    let certificate = requested(&api).await;
    patch(&api, "status", json!({"conditions": [condition("Approved")]})).await.refused(
        422,
        "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: status.conditions: Forbidden: updates may not add a condition of type \"Approved\"",
    );
    let approved =
        patch(&api, "approval", json!({"conditions": [condition("Approved")], "certificate": certificate})).await.ok();
    assert_eq!(approved["status"].get("certificate"), None);
    let decision = &approved["status"]["conditions"][0];
    assert!(decision["lastUpdateTime"].is_string() && decision["lastTransitionTime"].is_string(), "{decision}");
    let mut other = decision.clone();
    other["message"] = "changed".into();
    let signed = patch(&api, "status", json!({"conditions": [other], "certificate": certificate})).await.ok();
    assert_eq!(signed["status"]["certificate"], certificate);
    assert_eq!(signed["status"]["conditions"], json!([decision]));
}

#[tokio::test]
async fn what_is_decided_stays_decided() {
    let api = Api::new().await;
    let certificate = requested(&api).await;
    let both = json!({"conditions": [condition("Approved"), condition("Denied")]});
    patch(&api, "approval", both).await.refused(
        422,
        "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
    );
    patch(&api, "approval", json!({"conditions": [condition("Denied")]})).await.ok();
    for subresource in ["approval", "status"] {
        patch(&api, subresource, json!({"conditions": null})).await.refused(
            422,
            "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: status.conditions: Forbidden: updates may not remove a condition of type \"Denied\"",
        );
    }
    patch(&api, "status", json!({"certificate": STANDARD.encode("x")})).await.refused(
        422,
        "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block",
    );
    patch(&api, "status", json!({"certificate": certificate})).await.ok();
    patch(&api, "status", json!({"certificate": null})).await.refused(
        422,
        "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: status.certificate: Forbidden: updates may not modify existing certificate content",
    );
}

/// Asks for a certificate of a client, of a user in a group, by the name `c`.
async fn client_requested(api: &Api, group: &str) -> crate::Answer {
    let new = NewRequest::new("joe", group, &[], &[]).expect("a request");
    let spec = json!({"request": STANDARD.encode(new.request), "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"]});
    api.post(REQUESTS, &json!({"metadata": {"name": "c"}, "spec": spec})).await
}

#[tokio::test]
async fn who_approves_and_signs_must_be_allowed_to_for_the_signer() {
    let api = Api::new().await;
    client_requested(&api, "dev").await.ok();
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let writes = json!({"verbs": ["get", "update", "patch"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"]});
    let signers = |verb: &str, name: &str| json!({"verbs": [verb], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [name]});
    for (name, rules) in [
        ("none", json!([writes])),
        ("approver", json!([writes, signers("approve", "kubernetes.io/kube-apiserver-client")])),
        ("all", json!([writes, signers("sign", "kubernetes.io/*")])),
    ] {
        api.post(&format!("{roles}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules})).await.ok();
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]});
        api.post(&format!("{roles}/clusterrolebindings"), &binding).await.ok();
    }
    let call = async |user: &str, subresource: &str, status: Value| {
        let path = format!("{REQUESTS}/c/{subresource}");
        let headers = [("content-type", "application/merge-patch+json")];
        let body = json!({"status": status}).to_string();
        api.call_by(User::new(user, &[]), Method::PATCH, &path, &headers, body).await
    };
    let refusal = |verb: &str| {
        format!(
            "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to {verb} requests with signerName \"kubernetes.io/kube-apiserver-client\""
        )
    };
    let approved = json!({"conditions": [condition("Approved")]});
    call("none", "approval", approved.clone()).await.refused(403, &refusal("approve"));
    call("approver", "approval", approved).await.ok();
    let signed = json!({"certificate": STANDARD.encode(&api.authority.certificate)});
    call("approver", "status", signed.clone()).await.refused(403, &refusal("sign"));
    call("all", "status", signed).await.ok();
}

#[tokio::test]
async fn nobody_becomes_an_administrator_by_a_certificate() {
    let api = Api::new().await;
    client_requested(&api, "system:masters").await.refused(
        403,
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
    );
}
