//! The options that say how users are known.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgAction, Args as ClapArgs};
use coracle_apiserver::auth::{Anonymous, OidcOptions, Options, TokenWebhookOptions};

use crate::args::duration;

/// How users are known.
#[derive(ClapArgs, Clone)]
#[command(next_help_heading = "Authentication")]
pub struct Authentication {
    /// Whether requests without credentials are made by system:anonymous, or refused [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    anonymous_auth: Option<bool>,
    /// The names of this server as an audience of tokens, separated by commas [default: the issuer of service accounts]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// A file that says whose tokens are believed (AuthenticationConfiguration of apiserver.config.k8s.io/v1)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["oidc_issuer_url", "oidc_client_id"])]
    authentication_config: Option<PathBuf>,
    /// The URL of an OpenID Connect issuer whose tokens are believed
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// For whom the issuer's tokens must be
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// The claim that is the user's name
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    oidc_username_claim: String,
    /// What comes before the name: - is nothing [default: the issuer's URL and #, unless the claim is email]
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    oidc_username_prefix: String,
    /// The claim that has the user's groups
    #[arg(long, value_name = "CLAIM", default_value = "", hide_default_value = true)]
    oidc_groups_claim: String,
    /// What comes before the name of a group
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    oidc_groups_prefix: String,
    /// What a token must say, as CLAIM=VALUE; may be given several times
    #[arg(long, value_name = "CLAIM=VALUE", value_delimiter = ',', value_parser = pair)]
    oidc_required_claim: Vec<(String, String)>,
    /// How tokens may be signed, separated by commas
    #[arg(long, value_name = "ALG", value_delimiter = ',', default_value = "RS256")]
    oidc_signing_algs: Vec<String>,
    /// The authority that signs the issuer's certificate [default: those of the system]
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
    /// A file, in the form of a kubeconfig, of a server that knows tokens
    #[arg(long, value_name = "FILE")]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of TokenReviews that it is sent
    #[arg(long, value_name = "VERSION", default_value = "v1beta1")]
    authentication_token_webhook_version: String,
    /// How long its answers count
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    authentication_token_webhook_cache_ttl: Duration,
}

impl Authentication {
    /// What the API server makes of it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn options(&self, token_file: Option<PathBuf>) -> Result<Options> {
        let anonymous = |wanted| if wanted { Anonymous::Everywhere } else { Anonymous::Nowhere };
        let webhook = self.authentication_token_webhook_config_file.clone().map(|config| TokenWebhookOptions {
            config,
            version: self.authentication_token_webhook_version.clone(),
            cache_ttl: self.authentication_token_webhook_cache_ttl,
        });
        Ok(Options {
            token_file,
            api_audiences: self.api_audiences.clone(),
            anonymous: self.anonymous_auth.map(anonymous),
            oidc: self.oidc()?,
            config: self.authentication_config.clone(),
            webhook,
        })
    }

    fn oidc(&self) -> Result<Option<OidcOptions>> {
        let (Some(issuer), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else { return Ok(None) };
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file).with_context(|| format!("--oidc-ca-file: failed to read {}", file.display()))
        };
        Ok(Some(OidcOptions {
            issuer_url: issuer.clone(),
            client_id: client.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required_claims: self.oidc_required_claim.clone(),
            signing_algs: self.oidc_signing_algs.clone(),
            ca: self.oidc_ca_file.as_ref().map(read).transpose()?,
        }))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (claim, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not CLAIM=VALUE"))?;
    Ok((claim.into(), value.into()))
}
