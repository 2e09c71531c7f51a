//! Which authorizers are asked, in which order: by options, or by the file of `--authorization-config`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization>

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use coracle_api::field::dns1123_subdomain;
use jiff::SignedDuration;
use serde::Deserialize;

use super::always::{AlwaysAllow, AlwaysDeny};
use super::webhook::{Config, Webhook};
use super::{Authorizer, Chain, Masters, Node, Rbac};

const API_VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONDITIONS: usize = 64;

/// Which authorizers are asked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Their types, in order: `Node`, `RBAC`, `Webhook`, `AlwaysAllow`, `AlwaysDeny`. `Node` and `RBAC` without any.
    pub modes: Vec<String>,
    /// The one of the type `Webhook`.
    pub webhook: Option<WebhookOptions>,
    /// A file of an `AuthorizationConfiguration`, in place of the others.
    pub config: Option<PathBuf>,
}

/// A server that is asked.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// A file in the form of a kubeconfig.
    pub config: PathBuf,
    /// The version of SubjectAccessReviews: `v1` or `v1beta1`.
    pub version: String,
    /// How long allowances count.
    pub authorized_ttl: Duration,
    /// How long refusals count.
    pub unauthorized_ttl: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthorizationConfiguration {
    api_version: String,
    kind: String,
    #[serde(default)]
    authorizers: Vec<AuthorizerConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthorizerConfig {
    #[serde(rename = "type")]
    of: String,
    #[serde(default)]
    name: String,
    webhook: Option<WebhookConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookConfig {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: Option<SignedDuration>,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<SignedDuration>,
    cache_unauthorized_requests: Option<bool>,
    timeout: Option<SignedDuration>,
    #[serde(default)]
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    #[serde(default)]
    failure_policy: String,
    connection_info: ConnectionInfo,
    #[serde(default)]
    match_conditions: Vec<MatchCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    of: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MatchCondition {
    expression: String,
}

/// One authorizer.
#[derive(Debug)]
enum Wanted {
    Node,
    Rbac,
    AlwaysAllow,
    AlwaysDeny,
    Webhook(Config),
}

impl Wanted {
    fn of(name: &str) -> Result<Wanted> {
        Ok(match name {
            "Node" => Wanted::Node,
            "RBAC" => Wanted::Rbac,
            "AlwaysAllow" => Wanted::AlwaysAllow,
            "AlwaysDeny" => Wanted::AlwaysDeny,
            "ABAC" => bail!("the authorizer \"ABAC\" is not supported: \"RBAC\" is"),
            other => bail!("{other:?} is not a valid authorizer type"),
        })
    }
}

impl Options {
    /// All that are asked, one after the other; administrators are always let in.
    ///
    /// # Errors
    /// What of the options makes no sense.
    pub(crate) fn chain(&self, node: Node, rbac: &Arc<Rbac>) -> Result<Chain> {
        let (mut node, mut authorizers) = (Some(node), vec![Box::new(Masters) as Box<dyn Authorizer>]);
        for wanted in self.wanted()? {
            authorizers.push(match wanted {
                Wanted::Node => match node.take() {
                    Some(node) => Box::new(node),
                    None => bail!("the authorizer \"Node\" is there twice"),
                },
                Wanted::Rbac => Box::new(rbac.clone()),
                Wanted::AlwaysAllow => Box::new(AlwaysAllow),
                Wanted::AlwaysDeny => Box::new(AlwaysDeny),
                Wanted::Webhook(config) => Box::new(Webhook::new(config)?),
            });
        }
        Ok(Chain::new(authorizers))
    }

    fn wanted(&self) -> Result<Vec<Wanted>> {
        if let Some(file) = &self.config {
            ensure!(
                self.modes.is_empty() && self.webhook.is_none(),
                "an authorization configuration cannot be used with --authorization-mode or --authorization-webhook-*"
            );
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("failed to read the authorization configuration {}", file.display()))?;
            return parse(&text).with_context(|| format!("in the authorization configuration {}", file.display()));
        }
        if self.modes.is_empty() {
            ensure!(
                self.webhook.is_none(),
                "--authorization-webhook-config-file needs Webhook in --authorization-mode"
            );
            return Ok(vec![Wanted::Node, Wanted::Rbac]);
        }
        for (number, mode) in self.modes.iter().enumerate() {
            ensure!(
                !self.modes.iter().take(number).any(|other| other == mode),
                "authorization-mode: {mode:?} is there twice"
            );
        }
        let mode = |mode: &String| match (mode.as_str(), &self.webhook) {
            ("Webhook", Some(webhook)) => webhook.config().map(Wanted::Webhook),
            ("Webhook", None) => bail!("authorization-mode: Webhook needs --authorization-webhook-config-file"),
            (name, _) => Wanted::of(name).context("authorization-mode"),
        };
        let is_used = self.webhook.is_none() || self.modes.iter().any(|mode| mode == "Webhook");
        ensure!(is_used, "--authorization-webhook-config-file needs Webhook in --authorization-mode");
        self.modes.iter().map(mode).collect()
    }
}

impl WebhookOptions {
    fn config(&self) -> Result<Config> {
        check_version("authorization-webhook-version", &self.version)?;
        Ok(Config {
            name: "default".into(),
            file: self.config.clone(),
            version: self.version.clone(),
            authorized_ttl: self.authorized_ttl,
            unauthorized_ttl: self.unauthorized_ttl,
            timeout: LONGEST_TIMEOUT,
            fails_closed: false,
            conditions: Vec::new(),
        })
    }
}

fn parse(text: &str) -> Result<Vec<Wanted>> {
    let config: AuthorizationConfiguration =
        coracle_api::config::read(text).map_err(anyhow::Error::msg).context("failed decoding")?;
    let version = &config.api_version;
    ensure!(API_VERSIONS.contains(&version.as_str()), "apiVersion: {version:?} is not one of {API_VERSIONS:?}");
    ensure!(config.kind == "AuthorizationConfiguration", "kind: {:?} is not supported", config.kind);
    let all = &config.authorizers;
    ensure!(!all.is_empty(), "authorizers: Required value: at least one authorization mode must be defined");
    let wanted = |(number, authorizer): (usize, &AuthorizerConfig)| {
        let mut before = all.iter().take(number);
        let (of, name) = (&authorizer.of, &authorizer.name);
        ensure!(!before.any(|other| other.of == *of && of != "Webhook"), "type: Duplicate value: {of:?}");
        let mut before = all.iter().take(number);
        ensure!(!name.is_empty(), "name: Required value");
        ensure!(dns1123_subdomain(name).is_empty(), "name: {name:?} must be a DNS1123 subdomain");
        ensure!(!before.any(|other| other.name == *name), "name: Duplicate value: {name:?}");
        match (of.as_str(), &authorizer.webhook) {
            ("Webhook", Some(webhook)) => webhook.config(name).map(Wanted::Webhook).context("webhook"),
            ("Webhook", None) => bail!("webhook: Required value: required when type=Webhook"),
            (_, Some(_)) => bail!("webhook: may only be specified when type=Webhook"),
            (of, None) => Wanted::of(of).context("type"),
        }
    };
    let told = |(number, authorizer)| wanted((number, authorizer)).with_context(|| format!("authorizers[{number}]"));
    all.iter().enumerate().map(told).collect()
}

impl WebhookConfig {
    fn config(&self, name: &str) -> Result<Config> {
        check_version("subjectAccessReviewVersion", &self.subject_access_review_version)?;
        let has_conditions = !self.match_conditions.is_empty();
        match self.match_condition_subject_access_review_version.as_str() {
            "v1" => {}
            "" if !has_conditions => {}
            "" => bail!(
                "matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified"
            ),
            other => bail!("matchConditionSubjectAccessReviewVersion: Unsupported value: {other:?}"),
        }
        let fails_closed = match self.failure_policy.as_str() {
            "Deny" => true,
            "NoOpinion" => false,
            "" => bail!("failurePolicy: Required value"),
            other => bail!("failurePolicy: Unsupported value: {other:?}: supported values: \"Deny\", \"NoOpinion\""),
        };
        let file = match (self.connection_info.of.as_str(), &self.connection_info.kube_config_file) {
            ("KubeConfigFile", Some(file)) if file.is_absolute() => file.clone(),
            ("KubeConfigFile", Some(_)) => bail!("connectionInfo.kubeConfigFile: must be an absolute path"),
            ("KubeConfigFile", None) => bail!("connectionInfo.kubeConfigFile: Required value"),
            ("InClusterConfig", _) => bail!("connectionInfo.type: \"InClusterConfig\" is not supported"),
            (other, _) => bail!("connectionInfo.type: Unsupported value: {other:?}"),
        };
        ensure!(
            self.match_conditions.len() <= MAX_CONDITIONS,
            "matchConditions: must have at most {MAX_CONDITIONS} items"
        );
        let timeout = positive("timeout", self.timeout, None)?;
        ensure!(timeout <= LONGEST_TIMEOUT, "timeout: must be <= 30s");
        Ok(Config {
            name: name.to_owned(),
            file,
            version: self.subject_access_review_version.clone(),
            authorized_ttl: kept("authorizedTTL", self.authorized_ttl, 300, self.cache_authorized_requests)?,
            unauthorized_ttl: kept("unauthorizedTTL", self.unauthorized_ttl, 30, self.cache_unauthorized_requests)?,
            timeout,
            fails_closed,
            conditions: self.match_conditions.iter().map(|condition| condition.expression.clone()).collect(),
        })
    }
}

fn check_version(field: &str, version: &str) -> Result<()> {
    ensure!(
        matches!(version, "v1" | "v1beta1"),
        "{field}: Unsupported value: {version:?}: supported values: \"v1\", \"v1beta1\""
    );
    Ok(())
}

/// How long answers are kept; not at all where that is not wanted.
fn kept(field: &str, given: Option<SignedDuration>, usual: u64, is_wanted: Option<bool>) -> Result<Duration> {
    let ttl = positive(field, given, Some(usual))?;
    Ok(if is_wanted == Some(false) { Duration::ZERO } else { ttl })
}

fn positive(field: &str, given: Option<SignedDuration>, usual: Option<u64>) -> Result<Duration> {
    match given {
        None => usual.map(Duration::from_secs).with_context(|| format!("{field}: Required value")),
        Some(given) => {
            let given = Duration::try_from(given).unwrap_or_default();
            ensure!(!given.is_zero(), "{field}: must be > 0s");
            Ok(given)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";
    const WEBHOOK: &str = "timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /a}";

    fn webhook(text: &str) -> String {
        format!("{HEAD}authorizers: [{{type: Webhook, name: w, webhook: {{{text}}}}}, {{type: RBAC, name: rbac}}]")
    }

    #[test]
    fn a_file_says_who_is_asked_and_how() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, webhook(&format!("{WEBHOOK}, authorizedTTL: 1m30s, cacheUnauthorizedRequests: false")))
            .unwrap();
        let all = Options { config: Some(file), ..Options::default() }.wanted().unwrap();
        let [Wanted::Webhook(config), Wanted::Rbac] = &all[..] else { panic!("{all:?}") };
        assert_eq!((config.authorized_ttl, config.unauthorized_ttl), (Duration::from_secs(90), Duration::ZERO));
        assert_eq!((config.timeout, config.fails_closed), (Duration::from_secs(3), true));
    }

    #[test]
    fn a_bad_file_says_what_is_wrong_and_where() {
        for (text, fault) in [
            (HEAD.to_owned(), "authorizers: Required value"),
            (
                format!("{HEAD}authorizers: [{{type: RBAC, name: a}}, {{type: RBAC, name: b}}]"),
                "authorizers[1]: type: Duplicate value: \"RBAC\"",
            ),
            (
                format!("{HEAD}authorizers: [{{type: Magic, name: a}}]"),
                "authorizers[0]: type: \"Magic\" is not a valid authorizer type",
            ),
            (format!("{HEAD}authorizers: [{{type: RBAC}}]"), "authorizers[0]: name: Required value"),
            (format!("{HEAD}authorizers: [{{type: Webhook, name: a}}]"), "webhook: Required value"),
            (webhook(&WEBHOOK.replace("3s", "31s")), "webhook: timeout: must be <= 30s"),
            (webhook(&WEBHOOK.replace("Deny", "Maybe")), "failurePolicy: Unsupported value: \"Maybe\""),
            (webhook(&WEBHOOK.replace("Version: v1", "Version: v2")), "subjectAccessReviewVersion: Unsupported value"),
            (webhook(&WEBHOOK.replace("/a", "a")), "must be an absolute path"),
            (
                webhook(&format!("{WEBHOOK}, matchConditions: [{{expression: a}}]")),
                "required if match conditions are specified",
            ),
            (webhook(&format!("{WEBHOOK}, surprise: 1")), "unknown field"),
        ] {
            let error = parse(&text).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(fault), "{error:#}");
        }
        let modes =
            |modes: &[&str]| Options { modes: modes.iter().map(|mode| (*mode).into()).collect(), ..Options::default() };
        assert!(modes(&["RBAC", "RBAC"]).wanted().is_err() && modes(&["Webhook"]).wanted().is_err());
        assert!(modes(&["ABAC"]).wanted().is_err() && modes(&["AlwaysAllow"]).wanted().is_ok());
    }
}
