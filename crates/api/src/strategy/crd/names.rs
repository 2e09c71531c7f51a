//! The names that a definition wants or has.

use serde_json::Value;

use crate::field::{self, FieldError, Path};
use crate::meta::{list, text};

/// Checks names that are given.
pub(super) fn check(names: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["plural", "singular"] {
        label(text(names, &[key]), &path.child(key), errors);
    }
    for key in ["kind", "listKind"] {
        let name = text(names, &[key]);
        let wrong = field::dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(FieldError::invalid_str(&path.child(key), name, detail));
        }
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in list(names, &[key]).iter().enumerate() {
            let path = path.child(key).index(index);
            match name.as_str() {
                Some("") | None => errors.extend(
                    field::dns1035_label("").into_iter().map(|wrong| FieldError::invalid_str(&path, "", wrong)),
                ),
                Some(name) => label(name, &path, errors),
            }
        }
    }
    let (kind, list_kind) = (text(names, &["kind"]), text(names, &["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid_str(&path.child("listKind"), list_kind, detail));
    }
}

fn label(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let wrong = field::dns1035_label(name);
    if !name.is_empty() && !wrong.is_empty() {
        errors.push(FieldError::invalid_str(path, name, wrong.join(",")));
    }
}
