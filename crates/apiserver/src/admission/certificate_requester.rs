//! A request for a certificate says who made it, whatever the client wrote there.

use coracle_api::meta;
use serde_json::{Value, json};

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::auth::User;
use crate::operation::Operation;

pub(super) struct CertificateRequester;

impl Plugin for CertificateRequester {
    fn handles(&self, op: &Operation) -> bool {
        makes(op, "certificates.k8s.io", "CertificateSigningRequest")
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        name_requester(&request.op.user, object);
        at_once(Ok(()))
    }
}

fn name_requester(user: &User, object: &mut Value) {
    let spec = meta::object_at(object, "spec");
    for key in ["uid", "groups", "extra"] {
        spec.remove(key);
    }
    spec.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect());
    }
}
