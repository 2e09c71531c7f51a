//! How the versions of a definition are converted, and by which webhook.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::condition;
use crate::conversion_review::ReviewVersion;
use crate::field::{self, FieldError, Path};
use crate::meta::{at, list, text};
use crate::strategy::webhook::client;

/// Where a conversion has the certificates of the authorities that it trusts.
const BUNDLE: &[&str] = &["webhook", "clientConfig", "caBundle"];

/// Checks how the versions of a definition, that was `old` before, are converted.
pub(super) fn check(definition: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let conversion = at(definition, &["spec", "conversion"]);
    let strategy = text(conversion, &["strategy"]);
    match strategy {
        "None" => {
            let detail = "should not be set when strategy is not set to Webhook";
            for (given, name) in
                [("clientConfig", "webhookClientConfig"), ("conversionReviewVersions", "conversionReviewVersions")]
            {
                let given = at(conversion, &["webhook", given]);
                if given.is_object() || given.as_array().is_some_and(|list| !list.is_empty()) {
                    errors.push(FieldError::forbidden(&path.child(name), detail));
                }
            }
        }
        "Webhook" => {
            webhook(at(conversion, &["webhook"]), path, errors);
            let bundle = text(conversion, BUNDLE);
            if let Some(why) = useless(bundle).filter(|_| !may_be_useless(old)) {
                let path = path.child("webhookClientConfig").child("caBundle");
                errors.push(FieldError::invalid_str(&path, bundle, why));
            }
        }
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        _ => errors.push(FieldError::not_supported(&path.child("strategy"), strategy, &["None", "Webhook"])),
    }
}

/// Checks the webhook of a conversion. Messages name fields as upstream's do, which are those of an older version.
fn webhook(webhook: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (config, of_config) = (at(webhook, &["clientConfig"]), path.child("webhookClientConfig"));
    match config.is_object() {
        true => client(config, &of_config, errors),
        false => errors.push(FieldError::required(&of_config, "required when strategy is set to Webhook")),
    }
    let (versions, path) = (list(webhook, &["conversionReviewVersions"]), path.child("conversionReviewVersions"));
    if versions.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = version.as_str().unwrap_or_default();
        if versions.iter().take(index).any(|other| other == version) {
            errors.push(FieldError::invalid_str(&path, name, "duplicate version"));
        }
        let wrong = field::dns1035_label(name);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid_str(&path, name, wrong.join(",")));
        }
    }
    if ReviewVersion::of(webhook).is_none() {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(&path, at(webhook, &["conversionReviewVersions"]), detail));
    }
}

/// Whether nobody trusts what a definition that was `old` says: it is not served yet, or was stored before this was checked.
/// Many are made with a bundle that is filled in later.
fn may_be_useless(old: &Value) -> bool {
    !condition::holds(old, "Established") || useless(text(at(old, &["spec", "conversion"]), BUNDLE)).is_some()
}

/// Why no authority can be read out of a bundle in base64; an empty one stands for those of the system.
fn useless(bundle: &str) -> Option<String> {
    if bundle.is_empty() {
        return None;
    }
    let bytes = STANDARD.decode(bundle).unwrap_or_default();
    let mut wrong = None;
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&bytes) {
        let Ok(block) = block else { break };
        blocks += 1;
        if block.label != "CERTIFICATE" {
            continue;
        }
        match block.parse_x509() {
            Ok(_) => return None,
            Err(error) => wrong = wrong.or(Some(format!("failed to parse certificate: {error}"))),
        }
    }
    let why = match (wrong, blocks) {
        (Some(wrong), _) => wrong,
        (None, 0) => "unable to parse bytes as PEM block".into(),
        (None, _) => "no valid certificate authority data seen".into(),
    };
    Some(format!("unable to load root certificates: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBLjCB4aADAgECAhQ/3lTYJko4Zc48aG9Oy6GjzFhMIzAFBgMrZXAwDDEKMAgG\n\
        A1UEAwwBYTAgFw0yNjExMjkxMDI3MjRaGA8yMTI2MTEwNTEwMjcyNFowDDEKMAgG\n\
        A1UEAwwBYTAqMAUGAytlcAMhAKRcWbIyWW8PBRtJbRCVirKJNWKPgxx0/W33nXzM\n\
        0NGKo1MwUTAdBgNVHQ4EFgQUJN/d68cfYGzyTnY1LPZuxPrRQUAwHwYDVR0jBBgw\n\
        FoAUJN/d68cfYGzyTnY1LPZuxPrRQUAwDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD\n\
        QQCQGUPSN6gub8k/J8fbY1JNBh7yYbV03V3wPsWGT/G5lPKprYrys+IW3Zc8QvT0\n\
        WZ9PuLvIbcrJzCQRep5kE9kJ\n\
        -----END CERTIFICATE-----\n";

    fn definition(bundle: &str, established: bool) -> Value {
        let config = json!({"url": "https://a.example.com", "caBundle": STANDARD.encode(bundle)});
        let mut definition = json!({"spec": {"conversion": {
            "strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": config},
        }}});
        condition::set(&mut definition, "Established", established, "Reason", "");
        definition
    }

    fn told(new: &str, old: &Value) -> Option<String> {
        let mut errors = Vec::new();
        check(&definition(new, true), old, &Path::new("conversion"), &mut errors);
        assert!(errors.len() < 2);
        errors.pop().map(|error| error.to_string())
    }

    #[test]
    fn a_bundle_that_is_none_is_refused_once_the_definition_is_served_with_a_good_one() {
        let good = definition(CERTIFICATE, true);
        assert_eq!(told(CERTIFICATE, &good), None);
        assert_eq!(told("", &good), None);
        let refused = told("\n", &good).unwrap_or_default();
        let start = "conversion.webhookClientConfig.caBundle: Invalid value: \"Cg==\": ";
        assert_eq!(refused, format!("{start}unable to load root certificates: unable to parse bytes as PEM block"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(told(key, &good).unwrap_or_default().ends_with(": no valid certificate authority data seen"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(told(broken, &good).unwrap_or_default().contains(": failed to parse certificate: "));
        // One of several suffices.
        assert_eq!(told(&[key, broken, CERTIFICATE].concat(), &good), None);
        for lenient in [Value::Null, definition(CERTIFICATE, false), definition("\n", true)] {
            assert_eq!(told("x", &lenient), None);
        }
        // Nobody trusted the old one, and now nobody is trusted at all: that is another mistake.
        assert!(told("x", &definition("", true)).is_some());
    }
}
