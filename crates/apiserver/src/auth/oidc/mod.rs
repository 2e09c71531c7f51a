//! Tokens that others sign, as OpenID Connect has them: JSON web tokens of an issuer that is trusted.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens>

mod claims;
mod config;
mod key;
mod provider;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

use super::{CREDENTIAL_ID, User};
use crate::tls::{self, Trust};
use claims::Claims;
pub use config::OidcOptions;
pub(super) use config::{AuthenticationConfiguration, JwtAuthenticator};
use provider::Provider;

/// How far, in seconds, a clock may be behind that of the issuer, as upstream's.
const LEEWAY: f64 = 300.0;

/// Believes the tokens of one issuer.
pub(super) struct Oidc {
    url: String,
    audiences: Vec<String>,
    algorithms: Vec<String>,
    claims: Claims,
    provider: Arc<Provider>,
}

/// A token that says whose it is, which nobody has verified yet.
pub(super) struct Unverified<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// `None` for what is no token of this form.
    pub fn read(token: &'a str) -> Option<Unverified<'a>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| {
            let value: Value = serde_json::from_slice(&BASE64.decode(part).ok()?).ok()?;
            value.is_object().then_some(value)
        };
        let signature = BASE64.decode(signature).ok()?;
        Some(Unverified { header: object(header)?, claims: object(claims)?, signed, signature })
    }
}

impl Oidc {
    /// # Errors
    /// What of its configuration makes no sense.
    pub fn new(config: &JwtAuthenticator) -> Result<Oidc> {
        let issuer = &config.issuer;
        let authority = issuer.certificate_authority.as_bytes();
        let trust = if authority.is_empty() { Trust::System } else { Trust::Authorities(authority) };
        let tls = tls::connector(trust, None).context("issuer.certificateAuthority")?;
        let provider = Arc::new(Provider::new(&issuer.url, issuer.discovery_url.as_deref(), tls));
        // The first token should not have to wait.
        provider.renew();
        Ok(Oidc {
            url: issuer.url.clone(),
            audiences: issuer.audiences.clone(),
            algorithms: config.algorithms.clone(),
            claims: Claims::of(config)?,
            provider,
        })
    }

    /// The user of a token; `None` if it is none of this issuer's.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn user(&self, token: &Unverified<'_>) -> Result<Option<User>, String> {
        if token.claims["iss"] != *self.url {
            return Ok(None);
        }
        let algorithm = token.header["alg"].as_str().unwrap_or_default();
        let is_wanted = self.algorithms.is_empty() || self.algorithms.iter().any(|wanted| wanted == algorithm);
        if !is_wanted || key::Algorithm::of(algorithm).is_none() {
            return Err(format!("oidc: verify token: id token signed with unsupported algorithm {algorithm:?}"));
        }
        // What a header says is critical is not known here.
        if !token.header["crit"].is_null() {
            return Err("oidc: verify token: the token has a critical header that is not known".into());
        }
        self.check(&token.claims, now())?;
        let id = token.header["kid"].as_str().unwrap_or_default();
        if !self.provider.verifies(id, algorithm, token.signed.as_bytes(), &token.signature).await {
            return Err("oidc: verify token: failed to verify signature: failed to verify id token signature".into());
        }
        let mut user = self.claims.user(&token.claims)?;
        if let Some(id) = token.claims["jti"].as_str().filter(|id| !id.is_empty()) {
            user.extra.push((CREDENTIAL_ID.into(), vec![format!("JTI={id}")]));
        }
        Ok(Some(user))
    }

    /// Whether a token is for this server, and now.
    fn check(&self, claims: &Value, now: f64) -> Result<(), String> {
        let is_ours = |audience: &Value| self.audiences.iter().any(|own| audience == own);
        let is_for_here = match &claims["aud"] {
            Value::Array(audiences) => audiences.iter().any(is_ours),
            audience => is_ours(audience),
        };
        if !is_for_here {
            return Err(format!("oidc: verify token: expected audience in {:?} got {}", self.audiences, claims["aud"]));
        }
        match claims["exp"].as_f64() {
            Some(expires) if now < expires => {}
            Some(_) => return Err("oidc: verify token: token is expired".into()),
            None => return Err("oidc: verify token: the token does not say when it expires".into()),
        }
        match &claims["nbf"] {
            Value::Null => Ok(()),
            begins if begins.as_f64().is_some_and(|begins| now + LEEWAY >= begins) => Ok(()),
            _ => Err("oidc: verify token: the token is not valid yet".into()),
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
