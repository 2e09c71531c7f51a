//! Approves certificates of kubelets as clients: those of whoever may get one for any node, and of kubelets that renew theirs.
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval>

use coracle_client::WorkQueue;
use coracle_pki::Identity;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::{approve, follow, is_pending, parse, requests, signers, usages};
use crate::common::Context;

/// What the requester must be allowed to create, and what an approval says then.
type Permission = (&'static str, &'static str);

const OWN: Permission = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const ANY: Permission = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let client = context.client.clone();
    follow(requests(&context), WorkQueue::named("certificate"), move |request| {
        let client = client.clone();
        async move {
            if is_pending(&request) {
                let wanted = parse(&request)?.identity;
                decide(client, &request, &permissions(&request, &wanted)).await?;
            }
            Ok(None)
        }
    })
    .await
}

/// Which permissions would do, the narrower one first.
fn permissions(request: &CertificateSigningRequest, wanted: &Identity) -> Vec<Permission> {
    let of_kubelet =
        request.spec.signer_name == signers::KUBELET_CLIENT && signers::kubelet_client(wanted, usages(request)).is_ok();
    match of_kubelet {
        false => Vec::new(),
        true if request.spec.username.as_deref() == Some(&wanted.common_name) => vec![OWN, ANY],
        true => vec![ANY],
    }
}

async fn decide(client: Client, request: &CertificateSigningRequest, permissions: &[Permission]) -> anyhow::Result<()> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    for (subresource, message) in permissions {
        if may(&client, request, subresource).await? {
            return approve(&api, request, message).await;
        }
    }
    if !permissions.is_empty() {
        let tried: Vec<&str> = permissions.iter().map(|(subresource, _)| *subresource).collect();
        anyhow::bail!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            request.name_any(),
            tried.join(" ")
        );
    }
    Ok(())
}

/// Whether the requester may create what stands for such certificates.
async fn may(client: &Client, request: &CertificateSigningRequest, subresource: &str) -> kube::Result<bool> {
    let spec = &request.spec;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".into()),
                resource: Some("certificatesigningrequests".into()),
                subresource: Some(subresource.into()),
                verb: Some("create".into()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kubelet_may_renew_its_own_and_others_need_the_wider_permission() {
        let of = |user: &str, signer: &str| {
            let request: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {}, "spec": {
                "request": "", "signerName": signer, "username": user,
                "usages": ["client auth", "digital signature"]}}))
            .unwrap();
            let wanted = Identity {
                common_name: "system:node:a".into(),
                organizations: vec!["system:nodes".into()],
                ..Identity::default()
            };
            permissions(&request, &wanted)
        };
        assert_eq!(of("system:node:a", signers::KUBELET_CLIENT), [OWN, ANY]);
        assert_eq!(of("system:node:b", signers::KUBELET_CLIENT), [ANY]);
        assert!(of("system:node:a", "kubernetes.io/kube-apiserver-client").is_empty());
    }
}
