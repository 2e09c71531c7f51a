//! Who a request comes from.

mod bootstrap_token;
mod certificate;
mod impersonate;
pub(crate) mod request_header;
pub mod service_account;
mod static_tokens;

use std::path::Path;
use std::sync::Arc;

use coracle_api::status::Status;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use bootstrap_token::BootstrapTokens;
pub use certificate::{certificate_left, certificate_request, user_of_certificate};
pub use impersonate::impersonated;
use service_account::ISSUER;
pub use static_tokens::StaticTokens;

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

/// Finds the user of a request: its bearer token first, then the certificate of its connection.
pub struct Authenticator {
    tokens: StaticTokens,
    bootstrap_tokens: BootstrapTokens,
    service_accounts: Arc<service_account::Issuer>,
}

impl Authenticator {
    /// # Errors
    /// The token file cannot be read or has a bad line.
    pub(crate) fn new(
        token_file: Option<&Path>,
        service_accounts: Arc<service_account::Issuer>,
        caches: &Arc<Caches>,
    ) -> anyhow::Result<Authenticator> {
        let tokens = token_file.map(StaticTokens::read).transpose()?.unwrap_or_default();
        Ok(Authenticator { tokens, bootstrap_tokens: BootstrapTokens::new(caches), service_accounts })
    }

    /// Who a request comes from. A token that is not valid is an error even beside a valid certificate.
    pub fn user(&self, headers: &HeaderMap, certificate: Option<&Arc<User>>) -> Result<Arc<User>, Status> {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match (bearer, certificate) {
            (Some(token), _) => self.token(token, &[]).ok_or_else(Status::unauthorized),
            (None, Some(user)) => Ok(user.clone()),
            (None, None) => Ok(Arc::new(User::anonymous())),
        }
    }

    /// Who a token belongs to; with audiences, one of them must be the token's. Those that do not say for whom they are, are
    /// for this server.
    pub fn token(&self, token: &str, audiences: &[String]) -> Option<Arc<User>> {
        let is_for_here = audiences.is_empty() || audiences.iter().any(|audience| audience == ISSUER);
        let plain = || self.tokens.user(token).or_else(|| self.bootstrap_tokens.user(token).map(Arc::new));
        is_for_here.then(plain).flatten().or_else(|| self.service_accounts.verify(token, audiences).map(Arc::new))
    }
}
