//! Who a request comes from.

mod bootstrap_token;
mod certificate;
mod impersonate;
pub(crate) mod known;
mod oidc;
pub(crate) mod request_header;
pub mod service_account;
mod static_tokens;
mod token_webhook;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use coracle_api::status::Status;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use bootstrap_token::BootstrapTokens;
pub use certificate::{certificate_left, certificate_request, user_of_certificate};
pub use impersonate::impersonated;
pub use oidc::OidcOptions;
use oidc::{AuthenticationConfiguration, JwtAuthenticator, Oidc};
use service_account::ISSUER;
pub use static_tokens::StaticTokens;
use token_webhook::TokenWebhook;
pub use token_webhook::TokenWebhookOptions;

use crate::cache::Caches;

/// Those who gave no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of those who gave no credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Everyone who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Which certificate or token a user showed: a fact beside the name.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// All service accounts.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// Those who may do everything.
pub const MASTERS: &str = "system:masters";
/// Kubelets.
pub const NODES: &str = "system:nodes";
/// The beginning of the names of kubelets.
const NODE: &str = "system:node:";

/// Who makes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, for example `system:serviceaccount:default:builder`.
    pub name: String,
    /// The unique ID, when the source gives one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Further facts, such as the pod that a token is bound to.
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// An authenticated user in the given groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(AUTHENTICATED.into());
        User { name: name.into(), groups, ..User::default() }
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str) -> User {
        let groups = [SERVICE_ACCOUNTS, &format!("{SERVICE_ACCOUNTS}:{namespace}")];
        User::new(format!("system:serviceaccount:{namespace}:{name}"), &groups)
    }

    /// Someone without credentials.
    pub fn anonymous() -> User {
        User { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() }
    }

    /// The node that the user is the kubelet of: the name, which may be empty.
    pub fn node(&self) -> Option<&str> {
        self.name.strip_prefix(NODE).filter(|_| self.is_in(NODES))
    }

    /// Puts a user whom somebody else has authenticated into the group of all such users.
    fn add_general_group(&mut self) {
        if self.name != ANONYMOUS && !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
    }

    /// The user as a `UserInfo` of the API.
    pub(crate) fn info(&self) -> Value {
        let mut info = Map::new();
        info.insert("username".into(), self.name.as_str().into());
        if !self.uid.is_empty() {
            info.insert("uid".into(), self.uid.as_str().into());
        }
        info.insert("groups".into(), json!(self.groups));
        if !self.extra.is_empty() {
            info.insert("extra".into(), self.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect());
        }
        Value::Object(info)
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// Who a token belongs to, and for which of the wanted audiences it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user.
    pub user: Arc<User>,
    /// Some of those that were asked for.
    pub audiences: Vec<String>,
}

/// Where someone may ask who does not say who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// At every path, as far as they are allowed to.
    #[default]
    Everywhere,
    /// At these paths.
    At(Vec<String>),
    /// At none.
    Nowhere,
}

impl Anonymous {
    fn allows(&self, path: &str) -> bool {
        match self {
            Anonymous::Everywhere => true,
            Anonymous::At(paths) => paths.iter().any(|allowed| allowed == path),
            Anonymous::Nowhere => false,
        }
    }
}

/// How users are known, besides by what every server knows.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Upstream's CSV of static tokens.
    pub token_file: Option<PathBuf>,
    /// The names of this server as an audience; that of its issuer without any.
    pub api_audiences: Vec<String>,
    /// Who may ask without saying who they are, unless the file says it; then it must not be said here.
    pub anonymous: Option<Anonymous>,
    /// One issuer of tokens.
    pub oidc: Option<OidcOptions>,
    /// A file of an `AuthenticationConfiguration`.
    pub config: Option<PathBuf>,
    /// A server that knows tokens.
    pub webhook: Option<TokenWebhookOptions>,
}

/// Finds the user of a request: its bearer token first, then the certificate of its connection.
pub struct Authenticator {
    tokens: StaticTokens,
    bootstrap_tokens: BootstrapTokens,
    service_accounts: Arc<service_account::Issuer>,
    issuers: Vec<Oidc>,
    webhook: Option<TokenWebhook>,
    anonymous: Anonymous,
}

impl Authenticator {
    /// # Errors
    /// A file cannot be read, or what it says makes no sense.
    pub(crate) fn new(
        options: &Options,
        service_accounts: Arc<service_account::Issuer>,
        caches: &Arc<Caches>,
    ) -> anyhow::Result<Authenticator> {
        let config = options.config.as_deref().map(AuthenticationConfiguration::read).transpose()?;
        ensure!(
            config.is_none() || options.oidc.is_none(),
            "an authentication configuration and options --oidc-* cannot be used together"
        );
        let anonymous = match (&options.anonymous, config.as_ref().and_then(|config| config.anonymous.as_ref())) {
            (Some(_), Some(_)) => bail!(
                "--anonymous-auth cannot be used where the authentication configuration says who may be anonymous"
            ),
            (Some(said), None) => said.clone(),
            (None, said) => said.map(Anonymous::from).unwrap_or_default(),
        };
        let mut authenticators = config.map(|config| config.jwt).unwrap_or_default();
        authenticators.extend(options.oidc.as_ref().map(OidcOptions::authenticator).transpose()?);
        let issuer = |(number, config): (usize, &JwtAuthenticator)| {
            ensure!(
                config.issuer.url != ISSUER,
                "jwt[{number}].issuer.url: must not be the issuer of service accounts"
            );
            Oidc::new(config).with_context(|| format!("jwt[{number}]"))
        };
        Ok(Authenticator {
            tokens: options.token_file.as_deref().map(StaticTokens::read).transpose()?.unwrap_or_default(),
            bootstrap_tokens: BootstrapTokens::new(caches),
            service_accounts,
            issuers: authenticators.iter().enumerate().map(issuer).collect::<anyhow::Result<_>>()?,
            webhook: options.webhook.as_ref().map(TokenWebhook::new).transpose()?,
            anonymous,
        })
    }

    /// Who a request for a path comes from. A token that is not valid is an error even beside a valid certificate.
    ///
    /// # Errors
    /// 401.
    pub async fn user(
        &self,
        path: &str,
        headers: &HeaderMap,
        certificate: Option<&Arc<User>>,
    ) -> Result<Arc<User>, Status> {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match (bearer, certificate) {
            (Some(token), _) => self.token(token, &[]).await.map(|identity| identity.user).map_err(|why| {
                tracing::debug!(path, "a token is not believed: {why}");
                Status::unauthorized()
            }),
            (None, Some(user)) => Ok(user.clone()),
            (None, None) if self.anonymous.allows(path) => Ok(Arc::new(User::anonymous())),
            (None, None) => Err(Status::unauthorized()),
        }
    }

    /// Who a token belongs to; with audiences, one of them must be the token's. Those that do not say for whom they are, are
    /// for this server.
    ///
    /// # Errors
    /// Why nobody is known by it.
    pub async fn token(&self, token: &str, audiences: &[String]) -> Result<Identity, String> {
        match self.known(token, audiences) {
            Some(identity) => Ok(identity),
            // What others are asked about is kept apart, as it is large, and every request would carry the room for it about.
            None => Box::pin(self.elsewhere(token, audiences)).await,
        }
    }

    /// Whose a token is that this server has made or was given.
    fn known(&self, token: &str, audiences: &[String]) -> Option<Identity> {
        let for_here = self.for_here(audiences);
        let plain = || self.tokens.user(token).or_else(|| self.bootstrap_tokens.user(token).map(Arc::new));
        if let Some(user) = Some(()).filter(|()| !for_here.is_empty()).and_then(|()| plain()) {
            return Some(Identity { user, audiences: for_here });
        }
        let (user, audiences) = self.service_accounts.verify(token, audiences)?;
        Some(Identity { user: Arc::new(user), audiences })
    }

    /// Whose a token is that others have made.
    async fn elsewhere(&self, token: &str, audiences: &[String]) -> Result<Identity, String> {
        let mut faults = Vec::new();
        let for_here = self.for_here(audiences);
        if let Some(unverified) = oidc::Unverified::read(token).filter(|_| !for_here.is_empty()) {
            for issuer in &self.issuers {
                match issuer.user(&unverified).await {
                    Ok(Some(mut user)) => {
                        user.add_general_group();
                        return Ok(Identity { user: Arc::new(user), audiences: for_here });
                    }
                    Ok(None) => {}
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if let Some(webhook) = &self.webhook {
            let own = self.service_accounts.audiences();
            let wanted = if audiences.is_empty() { own } else { audiences };
            match webhook.user(token, wanted, own).await {
                Ok(Some(identity)) => return Ok(identity),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        Err(match faults.as_slice() {
            [] => "invalid bearer token".to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        })
    }

    /// Those of the wanted audiences that this server is; all that it is where none are wanted.
    fn for_here(&self, wanted: &[String]) -> Vec<String> {
        let own = self.service_accounts.audiences();
        if wanted.is_empty() { own.to_vec() } else { wanted.iter().filter(|one| own.contains(one)).cloned().collect() }
    }
}
