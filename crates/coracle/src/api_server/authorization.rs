//! The options that say who is asked who may do what.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use coracle_apiserver::authz::{Options, WebhookOptions};

use crate::args::duration;

/// Who is asked who may do what.
#[derive(ClapArgs, Clone)]
#[command(next_help_heading = "Authorization")]
pub struct Authorization {
    /// Who is asked, in this order, separated by commas: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long = "authorization-mode", value_name = "MODE", value_delimiter = ',')]
    modes: Vec<String>,
    /// A file that says who is asked (AuthorizationConfiguration of apiserver.config.k8s.io/v1)
    #[arg(long = "authorization-config", value_name = "FILE", conflicts_with_all = ["modes", "webhook"])]
    config: Option<PathBuf>,
    /// A file, in the form of a kubeconfig, of a server that is asked
    #[arg(long = "authorization-webhook-config-file", value_name = "FILE", requires = "modes")]
    webhook: Option<PathBuf>,
    /// The version of SubjectAccessReviews that it is sent
    #[arg(long = "authorization-webhook-version", value_name = "VERSION", default_value = "v1beta1")]
    version: String,
    /// How long its allowances count
    #[arg(
        long = "authorization-webhook-cache-authorized-ttl",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = duration
    )]
    authorized_ttl: Duration,
    /// How long its refusals count
    #[arg(
        long = "authorization-webhook-cache-unauthorized-ttl",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration
    )]
    unauthorized_ttl: Duration,
}

impl Authorization {
    /// What the API server makes of it.
    pub fn options(&self) -> Options {
        let webhook = self.webhook.clone().map(|config| WebhookOptions {
            config,
            version: self.version.clone(),
            authorized_ttl: self.authorized_ttl,
            unauthorized_ttl: self.unauthorized_ttl,
        });
        Options { modes: self.modes.clone(), webhook, config: self.config.clone() }
    }
}
