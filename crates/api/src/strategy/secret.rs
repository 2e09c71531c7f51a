//! Secret.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{age, default_text};
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, text};

/// A Secret.
pub struct Secret;

impl Strategy for Secret {
    fn default(&self, obj: &mut Value) {
        let map = meta::as_object(obj);
        default_text(map, "type", "Opaque");
        // `stringData` is for writing only: it goes into `data` in base64.
        let Some(Value::Object(plain)) = map.remove("stringData") else { return };
        let data = meta::as_object(map.entry("data").or_insert_with(|| json!({})));
        for (key, value) in plain {
            if let Value::String(text) = value {
                data.insert(key, STANDARD.encode(text).into());
            }
        }
        if data.is_empty() {
            map.remove("data");
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("data");
        let mut total = 0;
        for (key, value) in meta::string_map(&obj["data"]) {
            let messages = field::config_map_key(key);
            if !messages.is_empty() {
                push_all(&mut errors, &path.key(key), key, messages);
            }
            total += value.len() / 4 * 3;
        }
        if total > super::config_map::MAX_SIZE {
            errors.push(FieldError::too_long(&path, super::config_map::MAX_SIZE));
        }
        let required: &[&str] = match text(obj, &["type"]) {
            "kubernetes.io/service-account-token" => {
                if meta::annotation(obj, "kubernetes.io/service-account.name").is_empty() {
                    let path = Path::new("metadata").child("annotations").key("kubernetes.io/service-account.name");
                    errors.push(FieldError::required(&path, ""));
                }
                &[]
            }
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/basic-auth" if ["username", "password"].iter().all(|key| obj["data"].get(key).is_none()) => {
                &["username", "password"]
            }
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            _ => &[],
        };
        for key in required {
            match obj["data"].get(key).and_then(Value::as_str) {
                None => errors.push(FieldError::required(&path.key(key), "")),
                Some(value) if key.starts_with(".docker") => {
                    let json = STANDARD.decode(value).unwrap_or_default();
                    if serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_err() {
                        errors.push(FieldError::invalid_str(
                            &path.key(key),
                            "<secret contents redacted>",
                            "invalid JSON",
                        ));
                    }
                }
                Some(_) => {}
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("type"), &new["type"], &old["type"]);
        super::config_map::immutable_data(new, old, &["data"], &mut errors);
        errors
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![text(obj, &["type"]).into()]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Type"), column("Data"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["type"]).into(),
            obj["data"].as_object().map_or(0, |m| m.len()).into(),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"metadata": {"name": "x"}, "stringData": {"a": "b"}, "data": {"a": "old", "c": ""}});
        Secret.default(&mut secret);
        assert_eq!(secret["data"], json!({"a": "Yg==", "c": ""}));
        assert_eq!(secret["type"], "Opaque");
        assert!(secret.get("stringData").is_none());
        let mut frozen = secret.clone();
        frozen["immutable"] = true.into();
        assert_eq!(
            Secret.validate_update(&secret, &frozen)[0].to_string(),
            "immutable: Forbidden: field is immutable when `immutable` is set"
        );
    }
}
