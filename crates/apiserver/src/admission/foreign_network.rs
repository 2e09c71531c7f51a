//! Where plugins of others connect pods, network policies are for these to enforce, and who makes one is told so.

use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::operation::Operation;

pub(super) struct ForeignNetwork;

impl Plugin for ForeignNetwork {
    fn handles(&self, op: &Operation) -> bool {
        makes(op, "networking.k8s.io", "NetworkPolicy")
            || ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy"]
                .into_iter()
                .any(|kind| makes(op, "policy.networking.k8s.io", kind))
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, _: &'a Value) -> Verdict<'a> {
        let kind = &request.op.kind.kind;
        let warning =
            format!("{kind} is for the CNI plugins of this cluster to enforce (--cni-conf-dir): Coracle does not");
        request.op.notes.warn(warning);
        at_once(Ok(()))
    }
}
