//! Requests for certificates: which are approved by themselves, the built-in signers, and when requests are forgotten.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>

pub(crate) mod approver;
pub(crate) mod cleaner;
pub(crate) mod serving;
pub(crate) mod signer;
mod signers;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, Informer, WorkQueue};
use coracle_pki::Request;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use crate::common::Context;
use crate::run::reconcile_all;

/// The label of nodes of the control plane, which no node gives to itself.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Lets `handle` look at every request that changes until the queue is closed; it says when it wants to look again.
async fn follow<F, Fut>(
    requests: Informer<CertificateSigningRequest>,
    queue: WorkQueue<String>,
    handle: F,
) -> anyhow::Result<()>
where
    F: Fn(Arc<CertificateSigningRequest>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Option<Duration>>> + Send + 'static,
{
    let changed = queue.clone();
    requests.subscribe(move |event| {
        if let Event::Added(request) | Event::Updated { new: request, .. } = event {
            changed.add(request.name_any());
        }
    });
    let (known, handle) = (requests.store(), Arc::new(handle));
    reconcile_all(&[&requests], &queue, 2, move |name| {
        let (request, handle) = (known.get("", &name), handle.clone());
        async move {
            match request {
                Some(request) => handle(request).await,
                None => anyhow::Ok(None),
            }
        }
    })
    .await
}

fn requests(context: &Context) -> Informer<CertificateSigningRequest> {
    context.informers.all()
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == kind)
}

/// The certificate, once there is one.
fn issued(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice()).filter(|bytes| !bytes.is_empty())
}

/// Whether somebody has still to decide.
fn is_pending(request: &CertificateSigningRequest) -> bool {
    issued(request).is_none() && !has(request, "Approved") && !has(request, "Denied")
}

fn parse(request: &CertificateSigningRequest) -> anyhow::Result<Request> {
    Request::parse(&request.spec.request.0)
        .map_err(|error| anyhow::anyhow!("unable to parse csr {:?}: {error:#}", request.name_any()))
}

fn usages(request: &CertificateSigningRequest) -> &[String] {
    request.spec.usages.as_deref().unwrap_or_default()
}

fn status_mut(request: &mut CertificateSigningRequest) -> &mut CertificateSigningRequestStatus {
    request.status.get_or_insert_default()
}

/// Approves a request; times are the server's to set.
async fn approve(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
    message: &str,
) -> anyhow::Result<()> {
    let mut approved = request.clone();
    status_mut(&mut approved).conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: Some("AutoApproved".into()),
        message: Some(message.into()),
        ..CertificateSigningRequestCondition::default()
    });
    settle(api.replace_subresource("approval", &request.name_any(), &PostParams::default(), &approved).await)
}

/// What a write has come to: a request that was changed or deleted meanwhile comes here again, or never.
fn settle(written: kube::Result<CertificateSigningRequest>) -> anyhow::Result<()> {
    match written {
        Err(error) if !coracle_client::is_conflict(&error) && !coracle_client::is_not_found(&error) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}
