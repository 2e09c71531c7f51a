//! Requests for certificates: one part approves them, another signs them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Api;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request named `r`, and a certificate.
async fn requested(api: &Api) -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM");
    let spec = json!({"request": STANDARD.encode(request), "signerName": "example.com/s", "usages": ["client auth"]});
    api.post(REQUESTS, &json!({"metadata": {"name": "r"}, "spec": spec})).await.ok();
    STANDARD.encode(&api.authority)
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
