//! Tokens by which nodes join: secrets of the type `bootstrap.kubernetes.io/token` in `kube-system`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::meta;
use jiff::Timestamp;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::User;
use crate::cache::Caches;
use crate::storage::{core, key};

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Whoever came with such a token.
const GROUP: &str = "system:bootstrappers";

/// Those that there are now.
pub struct BootstrapTokens(Arc<Caches>);

impl BootstrapTokens {
    pub(crate) fn new(caches: &Arc<Caches>) -> BootstrapTokens {
        BootstrapTokens(caches.clone())
    }

    /// The user of a token `ID.SECRET`, while its secret says so.
    pub fn user(&self, token: &str) -> Option<User> {
        let (id, secret) = split(token)?;
        let name = format!("bootstrap-token-{id}");
        let object = self.0.of(core("secrets"))?.get(&key(Some(NAMESPACE), &name)).ok()??;
        user(&object.value(), id, secret, Timestamp::now())
    }
}

/// The two parts of a token, when it has the form of one.
fn split(token: &str) -> Option<(&str, &str)> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    token.split_once('.').filter(|(id, secret)| id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret))
}

fn user(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let data = |field: &str| {
        let bytes = STANDARD.decode(meta::text(object, &["data", field])).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let is_secret = bool::from(data("token-secret").as_bytes().ct_eq(secret.as_bytes()));
    let expiration = data("expiration");
    // What is no time has expired.
    let has_expired = !expiration.is_empty() && expiration.parse::<Timestamp>().is_ok_and(|at| at > now).eq(&false);
    if !is_secret
        || meta::text(object, &["type"]) != TYPE
        || meta::is_deleting(object)
        || data("token-id") != id
        || has_expired
        || data("usage-bootstrap-authentication") != "true"
    {
        return None;
    }
    let groups = groups(&data("auth-extra-groups"))?;
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    Some(User::new(format!("system:bootstrap:{id}"), &groups))
}

/// The groups of a token; `None` when a further one is not below that of all.
fn groups(extra: &str) -> Option<BTreeSet<String>> {
    let mut out = BTreeSet::from([GROUP.to_owned()]);
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        let rest = group.strip_prefix(GROUP)?.strip_prefix(':')?;
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b':' | b'-');
        let ends_well = rest.bytes().last().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if rest.len() > 256 || !rest.bytes().all(is_part) || !ends_well {
            return None;
        }
        out.insert(group.to_owned());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(change: impl Fn(&mut Value)) -> Value {
        let mut plain = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:b,system:bootstrappers:a"});
        change(&mut plain);
        let data: serde_json::Map<String, Value> = plain
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), STANDARD.encode(value.as_str().unwrap_or_default()).into()))
            .collect();
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data})
    }

    fn named(object: &Value, token: &str) -> Option<User> {
        let (id, secret) = split(token)?;
        user(object, id, secret, Timestamp::now())
    }

    #[test]
    fn a_token_names_its_user_and_groups() {
        let user = named(&secret(|_| ()), "abcdef.0123456789abcdef").unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        let groups = [GROUP, "system:bootstrappers:a", "system:bootstrappers:b", "system:authenticated"];
        assert_eq!(user.groups, groups);
    }

    #[test]
    fn a_token_that_is_not_what_the_secret_says_is_none() {
        const TOKEN: &str = "abcdef.0123456789abcdef";
        for token in ["abcdef.0123456789abcdeg", "abcdef", "Abcdef.0123456789abcdef", "abcdef.0123456789abcdef0"] {
            assert!(named(&secret(|_| ()), token).is_none(), "{token}");
        }
        for (field, value) in [
            ("token-id", "abcdeg"),
            ("usage-bootstrap-authentication", "yes"),
            ("expiration", "2020-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("auth-extra-groups", "system:masters"),
            ("auth-extra-groups", "system:bootstrappers:"),
        ] {
            assert!(named(&secret(|data| data[field] = value.into()), TOKEN).is_none(), "{field}: {value}");
        }
        assert!(named(&secret(|data| data["expiration"] = "2999-01-01T00:00:00Z".into()), TOKEN).is_some());
        for (path, value) in
            [("type", json!("Opaque")), ("metadata", json!({"deletionTimestamp": "2020-01-01T00:00:00Z"}))]
        {
            let mut object = secret(|_| ());
            object[path] = value;
            assert!(named(&object, TOKEN).is_none(), "{path}");
        }
    }
}
