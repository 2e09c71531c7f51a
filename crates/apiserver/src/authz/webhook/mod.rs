//! Another server that is asked who may do what, by SubjectAccessReviews.
//! <https://kubernetes.io/docs/reference/access-authn-authz/webhook/>

mod conditions;
mod review;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Answer, Attributes, Authorizer, Decision, Rules};
use crate::auth::User;
use crate::expiring::Expiring;
use crate::webhook_config;
use conditions::Conditions;

/// What of its answers is remembered, in number, and how long a question may be whose answer is, in bytes.
const MAX_KNOWN: usize = 8192;
const MAX_QUESTION: usize = 10_000;

/// Where to ask, and what to make of it.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub name: String,
    /// A file in the form of a kubeconfig.
    pub file: PathBuf,
    /// The version of reviews: `v1` or `v1beta1`.
    pub version: String,
    /// How long allowances and refusals count.
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
    pub timeout: Duration,
    /// Whether who is not answered may not, whatever others say.
    pub fails_closed: bool,
    /// Expressions that must hold for a question to be asked.
    pub conditions: Vec<String>,
}

/// Asks another server.
pub(super) struct Webhook {
    config: Config,
    webhook: webhook_config::Webhook,
    conditions: Conditions,
    known: Expiring<[u8; 32], Decision>,
}

impl Webhook {
    /// # Errors
    /// What of the configuration makes no sense.
    pub fn new(config: Config) -> Result<Webhook> {
        let webhook = webhook_config::Webhook::read(&config.file)?;
        let conditions = Conditions::of(&config.conditions).with_context(|| format!("webhook {:?}", config.name))?;
        Ok(Webhook { config, webhook, conditions, known: Expiring::new(MAX_KNOWN) })
    }

    async fn ask(&self, key: Option<[u8; 32]>, spec: Value) -> Decision {
        let review = review::review(&self.config.version, &spec);
        let answer = self.webhook.ask(&review, self.config.timeout).await;
        match answer.and_then(|answer| review::decision(&answer)) {
            Ok(decision) => {
                let ttl = match decision {
                    Decision::Allow(_) => self.config.authorized_ttl,
                    Decision::Deny(_) | Decision::NoOpinion(_) => self.config.unauthorized_ttl,
                };
                key.iter().for_each(|key| self.known.put(*key, decision.clone(), ttl));
                decision
            }
            Err(why) => self.failed(&why),
        }
    }

    /// What counts where nobody answered. Why is told to the administrator only.
    fn failed(&self, why: &str) -> Decision {
        let name = &self.config.name;
        tracing::warn!(webhook = name, "failed to ask who may do what: {why}");
        let reason = format!("the authorizer {name:?} could not be asked").into();
        if self.config.fails_closed { Decision::Deny(reason) } else { Decision::NoOpinion(reason) }
    }
}

impl Authorizer for Webhook {
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a> {
        let spec = review::spec(user, what);
        match self.conditions.hold(&spec) {
            Ok(true) => {}
            Ok(false) => return Answer::Now(Decision::NO_OPINION),
            Err(why) => return Answer::Now(self.failed(&why)),
        }
        let text = spec.to_string();
        let key: Option<[u8; 32]> = (text.len() <= MAX_QUESTION).then(|| Sha256::digest(&text).into());
        match key.and_then(|key| self.known.get(&key)) {
            Some(decision) => Answer::Now(decision),
            None => Answer::Later(Box::pin(self.ask(key, spec))),
        }
    }

    fn rules(&self, _: &User, _: &str) -> Rules {
        let why = "webhook authorizer does not support user rule resolution".to_owned();
        Rules { incomplete: true, errors: vec![why], ..Rules::default() }
    }
}
