//! Who may write what of a request's status: the approver decides by `approval`, the signer answers by `status`, and
//! neither can do the other's part.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use x509_parser::pem::Pem;

use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};
use crate::strategy::keep;

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
/// What the approver decides.
const DECISIONS: [&str; 2] = [APPROVED, DENIED];
/// Conditions that stay once they are there, and are always true.
const FINAL: [&str; 3] = [APPROVED, DENIED, "Failed"];

/// Of a write by `status`: decisions stay as they are.
pub fn prepare_status(new: &mut Value, old: &Value) {
    keep(new, old, "spec");
    for decision in DECISIONS {
        let before: Vec<Value> = of_type(old, decision).cloned().collect();
        // More or fewer of them are refused by the validation.
        if of_type(new, decision).count() == before.len() {
            let now = conditions_mut(new).filter(|condition| condition["type"] == decision);
            now.zip(before).for_each(|(now, before)| *now = before);
        }
    }
    stamp(new, old);
}

/// Of a write by `approval`: only conditions are taken.
pub fn prepare_approval(new: &mut Value, old: &Value) {
    let conditions = at(new, &["status", "conditions"]).clone();
    keep(new, old, "spec");
    keep(new, old, "status");
    let status = meta::object_at(new, "status");
    match conditions {
        Value::Null => status.remove("conditions"),
        conditions => status.insert("conditions".into(), conditions),
    };
    stamp(new, old);
}

/// Checks a write by `status`.
pub fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate(new, old);
    let path = Path::new("status").child("conditions");
    for decision in DECISIONS {
        let (before, now) = (of_type(old, decision), of_type(new, decision));
        if now.clone().count() > before.clone().count() {
            errors
                .push(FieldError::forbidden(&path, format!("updates may not add a condition of type \"{decision}\"")));
        } else if now.clone().count() == before.clone().count() && !now.eq(before) {
            let why = format!("updates may not modify a condition of type \"{decision}\"");
            errors.push(FieldError::forbidden(&path, why));
        }
    }
    let (before, now) = (text(old, &["status", "certificate"]), text(new, &["status", "certificate"]));
    let path = Path::new("status").child("certificate");
    if now != before && !before.is_empty() {
        errors.push(FieldError::forbidden(&path, "updates may not modify existing certificate content"));
    } else if now != before {
        certificate(now, &path, &mut errors);
    }
    errors
}

/// Checks a write by either.
pub fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("status").child("conditions");
    conditions(new, &path, &mut errors);
    for kept in FINAL {
        if of_type(new, kept).count() < of_type(old, kept).count() {
            errors.push(FieldError::forbidden(&path, format!("updates may not remove a condition of type \"{kept}\"")));
        }
    }
    errors
}

fn conditions(obj: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(obj, &["status", "conditions"]);
    for (n, condition) in all.iter().enumerate() {
        let path = path.index(n);
        let (kind, status) = (text(condition, &["type"]), text(condition, &["status"]));
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let allowed: &[&str] = if FINAL.contains(&kind) { &["True"] } else { &["True", "False", "Unknown"] };
        match status {
            "" => errors.push(FieldError::required(&path.child("status"), "")),
            status if !allowed.contains(&status) => {
                errors.push(FieldError::not_supported(&path.child("status"), status, allowed));
            }
            _ => {}
        }
        let other = DECISIONS.iter().find(|other| **other != kind).filter(|_| DECISIONS.contains(&kind));
        if other.is_some_and(|other| all[..n].iter().any(|earlier| earlier["type"] == **other)) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid_str(&path.child("type"), kind, why));
        }
        if !kind.is_empty() && all[..n].iter().any(|earlier| earlier["type"] == kind) {
            errors.push(FieldError::duplicate(&path.child("type"), &condition["type"]));
        }
    }
}

/// Checks that the bytes, in base64, are certificates in PEM.
fn certificate(encoded: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let mut refused = |why: String| errors.push(FieldError::invalid_str(path, "<certificate data>", why));
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let mut found = false;
    for block in Pem::iter_from_buffer(&bytes) {
        let block = match block {
            Ok(block) => block,
            Err(error) => return refused(format!("unable to read the PEM blocks: {error}")),
        };
        found = true;
        if block.label != "CERTIFICATE" {
            return refused(format!("only CERTIFICATE PEM blocks are allowed, found \"{}\"", block.label));
        }
        if let Err(error) = block.parse_x509() {
            return refused(format!("unable to parse the certificate: {error}"));
        }
    }
    if !found {
        refused("must contain at least one CERTIFICATE PEM block".into());
    }
}

/// Sets the times that were left out: a condition that only changes its words keeps that of its last transition.
fn stamp(new: &mut Value, old: &Value) {
    let now = Value::from(meta::format_time(Timestamp::now()));
    for condition in conditions_mut(new) {
        let same = |before: &&Value| before["type"] == condition["type"] && before["status"] == condition["status"];
        let before = list(old, &["status", "conditions"]).iter().find(same);
        let since = before.map(|before| &before["lastTransitionTime"]).filter(|since| !since.is_null());
        let since = since.unwrap_or(&now).clone();
        let Some(condition) = condition.as_object_mut() else { continue };
        for (field, value) in [("lastUpdateTime", &now), ("lastTransitionTime", &since)] {
            if condition.get(field).is_none_or(Value::is_null) {
                condition.insert(field.into(), value.clone());
            }
        }
    }
}

fn of_type<'a>(obj: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> + Clone {
    list(obj, &["status", "conditions"]).iter().filter(move |condition| condition["type"] == kind)
}

fn conditions_mut(obj: &mut Value) -> impl Iterator<Item = &mut Value> {
    obj.get_mut("status").and_then(|status| status.get_mut("conditions")?.as_array_mut()).into_iter().flatten()
}
