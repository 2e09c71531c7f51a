//! Signs approved requests with the cluster's authority.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::WorkQueue;
use coracle_pki::Authority;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::{follow, has, issued, parse, requests, settle, signers, status_mut, usages};
use crate::common::{Context, now};

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context, authority: Arc<Authority>) -> anyhow::Result<()> {
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    follow(requests(&context), WorkQueue::named("certificate_signing"), move |request| {
        let (api, authority) = (api.clone(), authority.clone());
        async move {
            if let Some(answered) = answer(&authority, &request)? {
                settle(api.replace_status(&request.name_any(), &PostParams::default(), &answered).await)?;
            }
            Ok(None)
        }
    })
    .await
}

/// The request with a certificate, or with the reason why it gets none; `None` when nothing is to be done.
fn answer(
    authority: &Authority,
    request: &CertificateSigningRequest,
) -> anyhow::Result<Option<CertificateSigningRequest>> {
    if issued(request).is_some() || !has(request, "Approved") || has(request, "Denied") || has(request, "Failed") {
        return Ok(None);
    }
    let wanted = parse(request)?;
    let mut answered = request.clone();
    match signers::check(&request.spec.signer_name, &wanted.identity, usages(request)) {
        None => return Ok(None),
        Some(Err(why)) => {
            let failed = CertificateSigningRequestCondition {
                type_: "Failed".into(),
                status: "True".into(),
                reason: Some("SignerValidationFailure".into()),
                message: Some(why),
                last_update_time: Some(now()),
                ..CertificateSigningRequestCondition::default()
            };
            status_mut(&mut answered).conditions.get_or_insert_default().push(failed);
        }
        Some(Ok(())) => {
            let seconds = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let certificate = authority.sign(&wanted, usages(request), seconds.map(Duration::from_secs))?;
            status_mut(&mut answered).certificate = Some(ByteString(certificate.into_bytes()));
        }
    }
    Ok(Some(answered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::conditions;
    use coracle_pki::{NewRequest, validity};
    use serde_json::json;

    fn request(signer: &str, condition: &str) -> CertificateSigningRequest {
        let new = NewRequest::new("joe", "dev", &[], &[]).unwrap();
        let mut request: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": {"name": "r"},
            "spec": {"request": "", "signerName": signer, "usages": ["client auth"], "expirationSeconds": 3600},
            "status": {"conditions": [{"type": condition, "status": "True"}]},
        }))
        .unwrap();
        request.spec.request = ByteString(new.request.into_bytes());
        request
    }

    #[test]
    fn what_is_approved_is_signed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let of = |request: &CertificateSigningRequest| answer(&authority, request).unwrap();
        let signer = "kubernetes.io/kube-apiserver-client";
        let signed = of(&request(signer, "Approved")).unwrap();
        let certificate = String::from_utf8(issued(&signed).unwrap().to_vec()).unwrap();
        let (begins, ends) = validity(&certificate).unwrap();
        assert_eq!(ends.duration_since(begins).unwrap().as_secs(), 3600 + 300);
        for request in [request(signer, "Denied"), request("example.com/s", "Approved"), signed] {
            assert!(of(&request).is_none());
        }
    }

    #[test]
    fn what_the_signer_does_not_sign_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let failed = answer(&authority, &request("kubernetes.io/kubelet-serving", "Approved")).unwrap().unwrap();
        let condition = &conditions(&failed)[1];
        assert_eq!(
            (condition.type_.as_str(), condition.reason.as_deref()),
            ("Failed", Some("SignerValidationFailure"))
        );
        assert_eq!(condition.message.as_deref(), Some("subject organization is not system:nodes"));
        assert!(answer(&authority, &failed).unwrap().is_none());
    }
}
