//! Tokens that another server knows, which is asked by a TokenReview.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication>

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use coracle_api::meta::text;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Identity, User};
use crate::expiring::Expiring;
use crate::webhook_config::{Webhook, conformed};

/// How long the other server may take, as upstream's.
const PATIENCE: Duration = Duration::from_secs(10);
/// What of its answers is remembered, in number.
const MAX_KNOWN: usize = 4096;

/// Where to ask.
#[derive(Clone, Debug)]
pub struct TokenWebhookOptions {
    /// A file in the form of a kubeconfig.
    pub config: PathBuf,
    /// The version of TokenReviews: `v1` or `v1beta1`.
    pub version: String,
    /// How long answers count.
    pub cache_ttl: Duration,
}

/// Asks another server about tokens.
pub(super) struct TokenWebhook {
    webhook: Webhook,
    version: String,
    ttl: Duration,
    /// By a digest of token and audiences: the tokens themselves are not kept.
    known: Expiring<[u8; 32], Identity>,
    /// Those that nobody has, kept apart: a flood of them must not make the others forgotten.
    unknown: Expiring<[u8; 32], ()>,
}

impl TokenWebhook {
    /// # Errors
    /// What of the options makes no sense.
    pub fn new(options: &TokenWebhookOptions) -> Result<TokenWebhook> {
        let version = options.version.clone();
        ensure!(matches!(version.as_str(), "v1" | "v1beta1"), "there is no version {version:?} of TokenReviews");
        let webhook = Webhook::read(&options.config)?;
        Ok(TokenWebhook {
            webhook,
            version,
            ttl: options.cache_ttl,
            known: Expiring::new(MAX_KNOWN),
            unknown: Expiring::new(MAX_KNOWN),
        })
    }

    /// The user of a token that is for one of the audiences; `own` are those of this server.
    ///
    /// # Errors
    /// It is not known.
    pub async fn user(&self, token: &str, wanted: &[String], own: &[String]) -> Result<Option<Identity>, String> {
        let key = digest(token, wanted);
        if let Some(known) = self.known.get(&key) {
            return Ok(Some(known));
        }
        if self.unknown.get(&key).is_some() {
            return Ok(None);
        }
        let review = json!({
            "kind": "TokenReview", "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "metadata": {"creationTimestamp": null}, "spec": {"token": token, "audiences": wanted}, "status": {"user": {}},
        });
        let answer = self.webhook.ask(&review, PATIENCE).await;
        let found = identity(&answer.map_err(|why| format!("failed to ask about a token: {why}"))?, wanted, own)?;
        match &found {
            Some(identity) => self.known.put(key, identity.clone(), self.ttl),
            None => self.unknown.put(key, (), self.ttl),
        }
        Ok(found)
    }
}

fn digest(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn identity(review: &Value, wanted: &[String], own: &[String]) -> Result<Option<Identity>, String> {
    let status = &conformed("io.k8s.api.authentication.v1.TokenReviewStatus", &review["status"])?;
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
    };
    if status["authenticated"] != true {
        let error = text(status, &["error"]);
        return if error.is_empty() { Ok(None) } else { Err(error.to_owned()) };
    }
    let told = texts(&status["audiences"]);
    let has = if told.is_empty() { own } else { &told };
    let audiences: Vec<String> = wanted.iter().filter(|audience| has.contains(audience)).cloned().collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    let of = &status["user"];
    let extra = of["extra"].as_object().into_iter().flatten();
    let mut user = User {
        name: text(of, &["username"]).into(),
        uid: text(of, &["uid"]).into(),
        groups: texts(&of["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    };
    user.add_general_group();
    Ok(Some(Identity { user: user.into(), audiences }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_names_a_user_who_is_for_here() {
        let of = |status: Value, wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
            identity(&json!({"status": status}), &wanted, &["api".to_owned()])
        };
        let user = json!({"username": "joe", "uid": "7", "groups": ["a"], "extra": {"k": ["v"]}});
        let found = of(json!({"authenticated": true, "user": user}), &["x", "api"]).unwrap().unwrap();
        assert_eq!(
            (found.user.name.as_str(), found.user.uid.as_str(), found.audiences),
            ("joe", "7", vec!["api".to_owned()])
        );
        assert_eq!(found.user.groups, ["a", "system:authenticated"]);
        assert_eq!(found.user.extra, [("k".to_owned(), vec!["v".to_owned()])]);
        let elsewhere = json!({"authenticated": true, "user": user, "audiences": ["vault"]});
        assert!(of(elsewhere.clone(), &["api"]).unwrap().is_none());
        assert!(of(elsewhere, &["vault"]).unwrap().is_some());
        assert!(of(json!({"authenticated": false}), &["api"]).unwrap().is_none());
        assert!(of(Value::Null, &["api"]).unwrap().is_none());
        assert_eq!(of(json!({"error": "gone"}), &["api"]).err().as_deref(), Some("gone"));
        // What is of another type is no answer: audiences that are none are not all audiences.
        for (field, value) in [("audiences", json!("vault")), ("authenticated", json!("true")), ("user", json!([]))] {
            let mut status = json!({"authenticated": true, "user": user});
            status[field] = value;
            assert!(of(status, &["api"]).is_err(), "{field}");
        }
    }
}
