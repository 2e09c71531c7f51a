//! What is said of issuers: the file of `--authentication-config`, and the older options of one issuer.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration>

use std::path::Path;

use anyhow::{Context, Result, ensure};
use http::Uri;
use serde::Deserialize;

use super::key::{ALGORITHMS, Algorithm};
use crate::auth::Anonymous;

/// What the API version of the file may be.
const API_VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// The most issuers that there may be, as upstream's.
const MAX_ISSUERS: usize = 64;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct AuthenticationConfiguration {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub jwt: Vec<JwtAuthenticator>,
    pub anonymous: Option<AnonymousConfig>,
}

/// Who may ask without saying who they are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct AnonymousConfig {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<PathCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PathCondition {
    path: String,
}

/// One issuer, and what its tokens say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct JwtAuthenticator {
    pub issuer: IssuerConfig,
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    #[serde(default)]
    pub claim_mappings: ClaimMappings,
    #[serde(default)]
    pub user_validation_rules: Vec<UserRule>,
    /// The algorithms of signatures; empty for all that are known.
    #[serde(skip)]
    pub algorithms: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct IssuerConfig {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    #[serde(default)]
    pub certificate_authority: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct ClaimRule {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub required_value: String,
    #[serde(default)]
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct UserRule {
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct ClaimMappings {
    #[serde(default)]
    pub username: Mapping,
    #[serde(default)]
    pub groups: Mapping,
    #[serde(default)]
    pub uid: Mapping,
    #[serde(default)]
    pub extra: Vec<ExtraMapping>,
}

/// A claim with something before it, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct Mapping {
    #[serde(default)]
    pub claim: String,
    pub prefix: Option<String>,
    #[serde(default)]
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::auth) struct ExtraMapping {
    pub key: String,
    pub value_expression: String,
}

/// The older options: one issuer.
#[derive(Clone, Debug, Default)]
pub struct OidcOptions {
    /// The URL of the issuer.
    pub issuer_url: String,
    /// For whom its tokens are.
    pub client_id: String,
    /// The claim that is the user's name.
    pub username_claim: String,
    /// What comes before it: `-` for nothing, empty for the issuer's URL unless the claim is `email`.
    pub username_prefix: String,
    /// The claim that has the groups; empty for none.
    pub groups_claim: String,
    /// What comes before each of them.
    pub groups_prefix: String,
    /// What tokens must say.
    pub required_claims: Vec<(String, String)>,
    /// How tokens may be signed.
    pub signing_algs: Vec<String>,
    /// The authorities, in PEM, of the issuer's certificate; those of the system without any.
    pub ca: Option<String>,
}

impl OidcOptions {
    /// The same as the file would say it.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub(in crate::auth) fn authenticator(&self) -> Result<JwtAuthenticator> {
        for name in &self.signing_algs {
            let known = ALGORITHMS.map(|(name, _)| name).join(", ");
            ensure!(Algorithm::of(name).is_some(), "oidc-signing-algs: {name:?} is not supported: there are {known}");
        }
        let prefix = match self.username_prefix.as_str() {
            "" if self.username_claim == "email" => String::new(),
            "" => format!("{}#", self.issuer_url),
            "-" => String::new(),
            prefix => prefix.to_owned(),
        };
        let groups = match self.groups_claim.as_str() {
            "" => Mapping::default(),
            claim => Mapping { claim: claim.into(), prefix: Some(self.groups_prefix.clone()), ..Mapping::default() },
        };
        let rule = |(claim, value): &(String, String)| ClaimRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimRule::default()
        };
        let authenticator = JwtAuthenticator {
            issuer: IssuerConfig {
                url: self.issuer_url.clone(),
                certificate_authority: self.ca.clone().unwrap_or_default(),
                audiences: vec![self.client_id.clone()],
                ..IssuerConfig::default()
            },
            claim_validation_rules: self.required_claims.iter().map(rule).collect(),
            claim_mappings: ClaimMappings {
                username: Mapping {
                    claim: self.username_claim.clone(),
                    prefix: Some(prefix),
                    expression: String::new(),
                },
                groups,
                ..ClaimMappings::default()
            },
            user_validation_rules: Vec::new(),
            algorithms: self.signing_algs.clone(),
        };
        authenticator.check().context("in the options --oidc-*")?;
        Ok(authenticator)
    }
}

impl AuthenticationConfiguration {
    /// # Errors
    /// The file cannot be read, or a part of it makes no sense: which one.
    pub fn read(path: &Path) -> Result<AuthenticationConfiguration> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the authentication configuration {}", path.display()))?;
        AuthenticationConfiguration::parse(&text)
            .with_context(|| format!("in the authentication configuration {}", path.display()))
    }

    fn parse(text: &str) -> Result<AuthenticationConfiguration> {
        let config: AuthenticationConfiguration =
            coracle_api::config::read(text).map_err(anyhow::Error::msg).context("failed decoding")?;
        let version = &config.api_version;
        ensure!(API_VERSIONS.contains(&version.as_str()), "apiVersion: {version:?} is not one of {API_VERSIONS:?}");
        ensure!(config.kind == "AuthenticationConfiguration", "kind: {:?} is not supported", config.kind);
        ensure!(config.jwt.len() <= MAX_ISSUERS, "jwt: must have at most {MAX_ISSUERS} items");
        for (number, authenticator) in config.jwt.iter().enumerate() {
            let same = config.jwt.iter().take(number).any(|other| other.issuer.url == authenticator.issuer.url);
            ensure!(!same, "jwt[{number}].issuer.url: Duplicate value: {:?}", authenticator.issuer.url);
            authenticator.check().with_context(|| format!("jwt[{number}]"))?;
        }
        if let Some(anonymous) = &config.anonymous {
            let conditions = &anonymous.conditions;
            ensure!(
                anonymous.enabled || conditions.is_empty(),
                "anonymous.conditions: enabled should be set to true when conditions are defined"
            );
        }
        Ok(config)
    }
}

impl From<&AnonymousConfig> for Anonymous {
    fn from(config: &AnonymousConfig) -> Anonymous {
        let paths: Vec<String> = config.conditions.iter().map(|condition| condition.path.clone()).collect();
        match (config.enabled, paths.is_empty()) {
            (false, _) => Anonymous::Nowhere,
            (true, true) => Anonymous::Everywhere,
            (true, false) => Anonymous::At(paths),
        }
    }
}

impl JwtAuthenticator {
    fn check(&self) -> Result<()> {
        self.issuer.check().context("issuer")?;
        for (number, rule) in self.claim_validation_rules.iter().enumerate() {
            let field = format!("claimValidationRules[{number}]");
            match (rule.claim.is_empty(), rule.expression.is_empty()) {
                (true, true) => anyhow::bail!("{field}: Required value: claim or expression is required"),
                (false, false) => anyhow::bail!("{field}: claim and expression can't both be set"),
                (false, true) => ensure!(rule.message.is_empty(), "{field}.message: can't be set when claim is set"),
                (true, false) => {
                    ensure!(
                        rule.required_value.is_empty(),
                        "{field}.requiredValue: can't be set when expression is set"
                    );
                }
            }
        }
        let mappings = &self.claim_mappings;
        mappings.username.check(true).context("claimMappings.username")?;
        mappings.groups.check(true).context("claimMappings.groups")?;
        mappings.uid.check(false).context("claimMappings.uid")?;
        ensure!(
            !mappings.username.claim.is_empty() || !mappings.username.expression.is_empty(),
            "claimMappings.username: Required value: claim or expression is required"
        );
        for (number, extra) in mappings.extra.iter().enumerate() {
            let (field, key) = (format!("claimMappings.extra[{number}].key"), &extra.key);
            let is_lower = key.chars().all(|letter| !letter.is_uppercase());
            ensure!(is_lower, "{field}: {key:?}: key must be lowercase");
            let domain = key.split_once('/').map(|(domain, path)| (domain, !path.is_empty()));
            let is_good = domain.is_some_and(|(domain, has_path)| has_path && domain.contains('.'));
            ensure!(is_good, "{field}: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")");
            let domain = domain.map_or("", |(domain, _)| domain);
            let is_reserved =
                ["k8s.io", "kubernetes.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")));
            ensure!(
                !is_reserved,
                "{field}: {key:?}: k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            );
            let same = mappings.extra.iter().take(number).any(|other| other.key == *key);
            ensure!(!same, "{field}: Duplicate value: {key:?}");
        }
        Ok(())
    }

    /// Whether the name is that of a claim `email` by an expression that does not look whether it is verified.
    pub fn ignores_email_verified(&self) -> bool {
        let names = |expression: &str, claim: &str| {
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let expression = expression.replace("claims.?", "claims.");
            expression.match_indices(claim).any(|(at, _)| {
                let rest = expression.get(at.saturating_add(claim.len())..).unwrap_or_default();
                !rest.starts_with(is_word)
            })
        };
        let username = &self.claim_mappings.username.expression;
        let rules = self.claim_validation_rules.iter().map(|rule| &rule.expression);
        let extra = self.claim_mappings.extra.iter().map(|extra| &extra.value_expression);
        names(username, "claims.email")
            && !rules.chain(extra).chain([username]).any(|expression| names(expression, "claims.email_verified"))
    }
}

impl IssuerConfig {
    fn check(&self) -> Result<()> {
        check_url(&self.url).context("url")?;
        if let Some(discovery) = &self.discovery_url {
            check_url(discovery).context("discoveryURL")?;
            ensure!(*discovery != self.url, "discoveryURL: must be different from url");
        }
        ensure!(
            !self.audiences.is_empty(),
            "audiences: Required value: at least one jwt[*].issuer.audiences is required"
        );
        ensure!(
            self.audiences.iter().all(|audience| !audience.is_empty()),
            "audiences: Required value: audience can't be empty"
        );
        let policy = self.audience_match_policy.as_str();
        ensure!(matches!(policy, "" | "MatchAny"), "audienceMatchPolicy: Unsupported value: {policy:?}");
        ensure!(
            self.audiences.len() == 1 || policy == "MatchAny",
            "audienceMatchPolicy: must be MatchAny for multiple audiences"
        );
        Ok(())
    }
}

fn check_url(url: &str) -> Result<()> {
    ensure!(!url.is_empty(), "Required value: URL is required");
    let uri: Uri = url.parse().with_context(|| format!("{url:?}"))?;
    ensure!(uri.scheme_str() == Some("https"), "{url:?}: URL scheme must be https");
    ensure!(uri.host().is_some_and(|host| !host.is_empty()), "{url:?}: URL must name a host");
    ensure!(!url.contains('@'), "{url:?}: URL must not contain a username or password");
    ensure!(!url.contains('?'), "{url:?}: URL must not contain a query");
    ensure!(!url.contains('#'), "{url:?}: URL must not contain a fragment");
    Ok(())
}

impl Mapping {
    fn check(&self, may_have_prefix: bool) -> Result<()> {
        ensure!(self.claim.is_empty() || self.expression.is_empty(), "claim and expression can't both be set");
        if !self.expression.is_empty() {
            ensure!(self.prefix.is_none(), "prefix can't be set when expression is set");
        }
        if may_have_prefix && !self.claim.is_empty() {
            ensure!(
                self.prefix.is_some(),
                "prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            );
        }
        ensure!(!self.claim.is_empty() || self.prefix.is_none(), "prefix can't be set when claim is not set");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    const USERNAME: &str = "username: {claim: sub, prefix: ''}";

    #[test]
    fn a_bad_file_says_what_is_wrong_and_where() {
        let jwt = |issuer: &str, rest: &str| format!("jwt: [{{issuer: {{{issuer}}}, {rest}}}]");
        let good = "url: 'https://a.example.com', audiences: [a]";
        let mapped = |mappings: &str| jwt(good, &format!("claimMappings: {{{mappings}}}"));
        assert!(AuthenticationConfiguration::parse(&format!("{HEAD}{}", mapped(USERNAME))).is_ok());
        for (text, fault) in [
            (jwt("url: 'http://a', audiences: [a]", ""), "jwt[0]: issuer: url: \"http://a\": URL scheme must be https"),
            (jwt("url: 'https://a?x', audiences: [a]", ""), "must not contain a query"),
            (jwt("url: 'https://a'", ""), "at least one jwt[*].issuer.audiences is required"),
            (jwt("url: 'https://a', audiences: [a, b]", ""), "must be MatchAny for multiple audiences"),
            (jwt(good, ""), "claimMappings.username: Required value: claim or expression is required"),
            (mapped("username: {claim: sub}"), "claimMappings.username: prefix: Required value"),
            (mapped("username: {claim: sub, expression: a}"), "claim and expression can't both be set"),
            (mapped(&format!("{USERNAME}, extra: [{{key: foo, valueExpression: a}}]")), "domain-prefixed path"),
            (mapped(&format!("{USERNAME}, extra: [{{key: a.k8s.io/foo, valueExpression: a}}]")), "reserved"),
            (jwt(good, "claimValidationRules: [{}]"), "claimValidationRules[0]: Required value"),
            (jwt(good, "surprise: 1"), "unknown field"),
            ("anonymous: {enabled: false, conditions: [{path: /livez}]}".into(), "enabled should be set to true"),
        ] {
            let error = AuthenticationConfiguration::parse(&format!("{HEAD}{text}")).unwrap_err();
            assert!(format!("{error:#}").contains(fault), "{error:#}");
        }
    }

    #[test]
    fn an_email_must_be_verified() {
        let of = |expression: &str, rule: &str| JwtAuthenticator {
            claim_mappings: ClaimMappings {
                username: Mapping { expression: expression.into(), ..Mapping::default() },
                ..ClaimMappings::default()
            },
            claim_validation_rules: vec![ClaimRule { expression: rule.into(), ..ClaimRule::default() }],
            ..JwtAuthenticator::default()
        };
        assert!(of("claims.email", "").ignores_email_verified());
        assert!(!of("claims.email", "claims.?email_verified.orValue(true) == true").ignores_email_verified());
        assert!(!of("claims.email_verified ? claims.email : ''", "").ignores_email_verified());
        assert!(!of("claims.emails[0]", "").ignores_email_verified());
    }
}
