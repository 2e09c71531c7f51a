//! CertificateSigningRequest.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, or};
use super::{AGE, Column, NAME, Strategy, column, keep};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, int, list, text};

/// A CertificateSigningRequest.
pub struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn has_status(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        for key in ["request", "signerName"] {
            if text(obj, &["spec", key]).is_empty() {
                errors.push(FieldError::required(&path.child(key), ""));
            }
        }
        if list(obj, &["spec", "usages"]).is_empty() {
            errors.push(FieldError::required(&path.child("usages"), "usages must be provided"));
        }
        if int(obj, &["spec", "expirationSeconds"]).is_some_and(|s| s < 600) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid(
                &path.child("expirationSeconds"),
                at(obj, &["spec", "expirationSeconds"]),
                detail,
            ));
        }
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        keep(new, old, "status");
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", text(obj, &["spec", "signerName"]).to_owned())]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE, column("SignerName"), column("Requestor"), column("RequestedDuration"), column("Condition")] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            age(obj, now),
            or(text(obj, &["spec", "signerName"]), "<none>"),
            text(obj, &["spec", "username"]).into(),
            int(obj, &["spec", "expirationSeconds"])
                .map_or("<none>".into(), |s| crate::table::duration::human(s).into()),
            condition(obj).into(),
        ]
    }
}

/// `Pending`, `Approved`, `Denied`, `Failed` and whether it is issued.
fn condition(obj: &Value) -> String {
    let has = |kind: &str| !common::condition(obj, kind).is_null();
    let mut out = if has("Denied") {
        "Denied".to_owned()
    } else if has("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if has("Failed") {
        out.push_str(",Failed");
    }
    if !text(obj, &["status", "certificate"]).is_empty() {
        out.push_str(",Issued");
    }
    out
}
