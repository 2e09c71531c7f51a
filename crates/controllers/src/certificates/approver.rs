//! Approves certificates of kubelets as clients: those of whoever may get one for any node, and of kubelets that renew theirs.
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval>

use std::time::Duration;

use coracle_client::{EventType, WorkQueue};
use coracle_pki::Identity;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::{CONTROL_PLANE, approve, follow, is_pending, parse, requests, signers, usages};
use crate::common::Context;

/// What the requester must be allowed to create, and what an approval says then.
type Permission = (&'static str, &'static str);

const OWN: Permission = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const ANY: Permission = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");

/// How soon a request for the name of a node that is there is looked at again: it may be deleted, or fall silent.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let (client, recorder) = (context.client.clone(), context.recorder("certificate-controller"));
    let nodes = context.nodes();
    nodes.synced().await;
    let nodes = nodes.store();
    follow(requests(&context), WorkQueue::named("certificate"), move |request| {
        let (client, recorder, nodes) = (client.clone(), recorder.clone(), nodes.clone());
        async move {
            if !is_pending(&request) {
                return Ok(None);
            }
            let wanted = parse(&request)?.identity;
            let permissions = permissions(&request, &wanted);
            let node = nodes.get("", wanted.common_name.strip_prefix(signers::NODE).unwrap_or_default());
            if let Some(why) = node.filter(|_| permissions == [ANY]).and_then(|node| is_taken(&node)) {
                recorder.event(&*request, EventType::Warning, "NodeNameTaken", why);
                return Ok(Some(AGAIN));
            }
            decide(client, &request, &permissions).await?;
            Ok(None)
        }
    })
    .await
}

/// Why nobody but the node itself is given a certificate of its name: who has it would be that node, with its secrets and, of the
/// control plane's, more. A node that was deleted, or that fell silent, joins anew.
fn is_taken(node: &Node) -> Option<String> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let how = match node.labels().contains_key(CONTROL_PLANE) {
        true => "is of the control plane",
        false if is_ready => "is Ready",
        false => return None,
    };
    Some(format!(
        "The node {:?} {how}: who is not that node does not get its name without an administrator's approval. \
         Delete the node if it is to join anew.",
        node.name_any()
    ))
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
    fn the_name_of_a_node_that_is_there_is_given_to_nobody_else() {
        let taken = |ready: &str, labels: serde_json::Value| {
            let node = json!({"metadata": {"name": "a", "labels": labels},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            is_taken(&serde_json::from_value(node).unwrap())
        };
        assert!(taken("True", json!({})).unwrap().starts_with("The node \"a\" is Ready: "));
        assert!(taken("Unknown", json!({CONTROL_PLANE: ""})).unwrap().contains("is of the control plane"));
        assert_eq!(taken("Unknown", json!({})), None);
        assert_eq!(taken("False", json!({})), None);
    }

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
