//! Requests for certificates: who may approve and sign them depends on the signer, and administrators are not made so.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization>

use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::auth::{MASTERS, User, certificate_request};
use crate::authz::{Attributes, Chain, decide};
use crate::operation::{Operation, Verb};

const GROUP: &str = "certificates.k8s.io";
const KIND: &str = "CertificateSigningRequest";

/// Who approves or denies a request may approve for its signer.
pub(super) struct CertificateApproval(pub Arc<Chain>);

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, op: &Operation) -> bool {
        updates(op, "approval")
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, _object: &'a Value) -> Verdict<'a> {
        Box::pin(check(&self.0, request, "approve"))
    }
}

/// Who gives a request its certificate, or says that there will be none, may sign for its signer.
pub(super) struct CertificateSigning(pub Arc<Chain>);

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, op: &Operation) -> bool {
        updates(op, "status")
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        let changed = |field: &str| {
            let path = ["status", field];
            meta::at(object, &path) != request.old.map_or(&Value::Null, |old| meta::at(old, &path))
        };
        if !changed("certificate") && !changed("conditions") {
            return at_once(Ok(()));
        }
        Box::pin(check(&self.0, request, "sign"))
    }
}

/// Nobody gets a client's certificate by which they may do everything.
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, op: &Operation) -> bool {
        makes(op, GROUP, KIND)
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
        if signer(object) != SIGNER {
            return at_once(Ok(()));
        }
        at_once(match certificate_request(meta::text(object, &["spec", "request"])) {
            Err(why) => forbidden(request, meta::name(object), &format!("failed to parse CSR: {why}")),
            Ok(wanted) if wanted.identity.organizations.iter().any(|group| group == MASTERS) => {
                let why = format!("use of {SIGNER} signer with {MASTERS} group is not allowed");
                forbidden(request, meta::name(object), &why)
            }
            Ok(_) => Ok(()),
        })
    }
}

fn updates(op: &Operation, subresource: &str) -> bool {
    op.verb == Verb::Update && op.subresource == subresource && op.kind.is(GROUP, KIND)
}

fn signer(object: &Value) -> &str {
    meta::text(object, &["spec", "signerName"])
}

/// Checks that the user may approve or sign for the signer that the request has now.
async fn check(authorizer: &Chain, request: &Request<'_>, verb: &str) -> Result<(), Status> {
    let signer = request.old.map(signer).unwrap_or_default();
    if may(authorizer, &request.op.user, verb, signer).await {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName \"{signer}\"");
    forbidden(request, &request.op.name, &why)
}

/// Whether a user may for this signer, or for all of its domain.
async fn may(authorizer: &Chain, user: &User, verb: &str, signer: &str) -> bool {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    for name in [signer, &domain] {
        let what = Attributes::resource(verb, GROUP, "signers", "", name);
        if decide(authorizer, user, &what).await.is_allowed() {
            return true;
        }
    }
    false
}

fn forbidden(request: &Request<'_>, name: &str, why: &str) -> Result<(), Status> {
    Err(Status::forbidden(GROUP, &request.op.kind.plural, name, why))
}
