//! Tokens by which nodes join: what they vouch for, and their end.
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

pub(crate) mod cleaner;
pub(crate) mod signer;

use std::time::Duration;

use coracle_client::Informer;
use coracle_pki::BootstrapToken;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::common::{Context, is_deleting};

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

/// The secrets of tokens, and no others.
fn secrets(context: &Context) -> Informer<Secret> {
    let api = Api::namespaced(context.informers.client().clone(), NAMESPACE);
    Informer::with_selectors(api, None, Some(format!("type={TYPE}")), Vec::new())
}

fn data(secret: &Secret, field: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|data| data.get(field)).map(|bytes| bytes.0.clone());
    String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

/// How long a token still counts: for ever, for some time, or no more.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Always,
    Some(Duration),
    None,
}

fn left(secret: &Secret, now: Timestamp) -> Left {
    let expiration = data(secret, "expiration");
    if expiration.is_empty() {
        return Left::Always;
    }
    // What is no time has expired.
    let until = expiration.parse::<Timestamp>().ok().map(|at| at.duration_since(now));
    match until.and_then(|until| Duration::try_from(until).ok()).filter(|left| !left.is_zero()) {
        Some(left) => Left::Some(left),
        None => Left::None,
    }
}

/// A token that signs what joining nodes read.
fn signing(secret: &Secret, now: Timestamp) -> Option<BootstrapToken> {
    let (id, own) = (data(secret, "token-id"), data(secret, "token-secret"));
    let is_named = secret.metadata.name.as_deref()?.strip_prefix("bootstrap-token-") == Some(&id);
    let signs = data(secret, "usage-bootstrap-signing") == "true";
    let counts = left(secret, now) != Left::None && !is_deleting(secret);
    (is_named && !own.is_empty() && signs && counts).then_some(BootstrapToken { id, secret: own })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    pub(super) fn secret(fields: &[(&str, &str)]) -> Secret {
        let mut secret: Secret =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "bootstrap-token-abcdef"}})).unwrap();
        let own = [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        let fields = own.iter().chain(fields);
        secret.data = Some(fields.map(|(key, value)| ((*key).to_owned(), ByteString((*value).into()))).collect());
        secret
    }

    #[test]
    fn a_token_counts_until_it_expires() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |expiration: &str| left(&secret(&[("expiration", expiration)]), now);
        assert_eq!(of(""), Left::Always);
        assert_eq!(of("2026-01-01T00:01:00Z"), Left::Some(Duration::from_secs(60)));
        assert_eq!(
            [of("2026-01-01T00:00:00Z"), of("2025-01-01T00:00:00Z"), of("soon")],
            [Left::None, Left::None, Left::None]
        );
    }

    #[test]
    fn a_token_signs_when_its_secret_says_so() {
        let now = Timestamp::now();
        assert_eq!(signing(&secret(&[]), now), Some("abcdef.0123456789abcdef".parse().unwrap()));
        for (field, value) in [
            ("token-id", "abcdeg"),
            ("token-secret", ""),
            ("usage-bootstrap-signing", "yes"),
            ("expiration", "2020-01-01T00:00:00Z"),
        ] {
            assert_eq!(signing(&secret(&[(field, value)]), now), None, "{field}");
        }
    }
}
