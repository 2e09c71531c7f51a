//! CertificateSigningRequest.

mod status;

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::common::{self, age, or};
use super::{AGE, Column, NAME, Strategy, column, keep};
use crate::field::{self, FieldError, Path, push_all};
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
        request(text(obj, &["spec", "request"]), &path.child("request"), &mut errors);
        let usages = list(obj, &["spec", "usages"]);
        if usages.is_empty() {
            errors.push(FieldError::required(&path.child("usages"), "usages must be provided"));
        }
        let mut seen = HashSet::new();
        for (i, usage) in usages.iter().enumerate() {
            let path = path.child("usages").index(i);
            common::one_of(&mut errors, &path, usage, &USAGES, true);
            if !seen.insert(usage.as_str()) {
                errors.push(FieldError::duplicate(&path, usage));
            }
        }
        signer_name(text(obj, &["spec", "signerName"]), &path.child("signerName"), &mut errors);
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

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        status::prepare_status(new, old);
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        status::validate_status(new, old)
    }

    fn prepare_subresource(&self, subresource: &str, new: &mut Value, old: &Value) {
        match subresource {
            "approval" => status::prepare_approval(new, old),
            _ => new.clone_from(old),
        }
    }

    fn validate_subresource(&self, _subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![text(obj, &["spec", "signerName"]).into()]
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

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const MAX_SIGNER_NAME: usize = 571;

/// Checks that the bytes, in base64, are a request in PEM.
fn request(encoded: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let refused = |why: &str| FieldError::invalid_str(path, encoded, why);
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let pem = x509_parser::pem::parse_x509_pem(&bytes).ok().filter(|(_, pem)| pem.label == "CERTIFICATE REQUEST");
    let Some((_, pem)) = pem else {
        return errors.push(refused("PEM block type must be CERTIFICATE REQUEST"));
    };
    if let Err(error) = X509CertificationRequest::from_der(&pem.contents) {
        errors.push(refused(&format!("asn1: structure error: {error}")));
    }
}

fn signer_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    let Some((domain, rest)) = name.split_once('/') else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid_str(path, name, detail));
    };
    if name.len() > MAX_SIGNER_NAME {
        errors.push(FieldError::too_long(path, MAX_SIGNER_NAME));
    }
    push_all(errors, path, domain, field::dns1123_subdomain(domain));
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid_str(path, domain, detail));
    }
    for part in rest.split('/') {
        push_all(errors, path, rest, field::dns1123_subdomain(part));
    }
}
