//! Where the keys of an issuer come from: its discovery document (OpenID Connect Discovery 1.0) names a key set. What an
//! issuer answers, and how often it is asked, is bounded: whoever shows tokens decides neither.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::key::Key;
use crate::peer::Peer;

/// The longest document that is read, in bytes, and how long an issuer may take.
const MAX_DOCUMENT: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// How often an issuer is asked at most, whatever tokens are shown, and how old keys get until it is asked again.
const SELDOM: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(600);

/// An issuer and its keys.
pub(super) struct Provider {
    issuer: String,
    discovery: String,
    tls: TlsConnector,
    state: RwLock<State>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<Vec<Key>>,
    /// When the keys came, and when they were last asked for.
    came: Option<Instant>,
    asked: Option<Instant>,
}

impl Provider {
    /// An issuer by its URL, or by the one where its discovery document is.
    pub fn new(issuer: &str, discovery: Option<&str>, tls: TlsConnector) -> Provider {
        let usual = || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = discovery.map_or_else(usual, str::to_owned);
        Provider { issuer: issuer.to_owned(), discovery, tls, state: RwLock::default(), asking: Default::default() }
    }

    /// Whether one of the keys has signed a message. Keys that are not known are asked for.
    pub async fn verifies(self: &Arc<Provider>, id: &str, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let verifies = || {
            let keys = self.state.read().keys.clone();
            keys.iter().any(|key| key.is_called(id) && key.verifies(algorithm, message, signature))
        };
        if verifies() {
            self.renew();
            return true;
        }
        let names_known_key = !id.is_empty() && self.state.read().keys.iter().any(|key| key.is_called(id));
        if names_known_key {
            // Most likely nobody has signed it; but an issuer may have given its new key the old name.
            self.renew();
            return false;
        }
        self.ask().await;
        verifies()
    }

    /// Asks for the keys in the background when those that are known are old: one that was withdrawn must go.
    pub fn renew(self: &Arc<Provider>) {
        let is_recent = |at: Option<Instant>, age| at.is_some_and(|at| at.elapsed() < age);
        let state = self.state.read();
        if !is_recent(state.came, STALE) && !is_recent(state.asked, SELDOM) {
            let provider = self.clone();
            tokio::spawn(async move { provider.ask().await });
        }
    }

    /// Asks for the keys, unless that was done just now; whoever comes meanwhile waits.
    async fn ask(&self) {
        let _one_at_a_time = self.asking.lock().await;
        if self.state.read().asked.is_some_and(|asked| asked.elapsed() < SELDOM) {
            return;
        }
        self.state.write().asked = Some(Instant::now());
        let fetched = tokio::time::timeout(PATIENCE, self.fetch()).await;
        // However long that took, those who waited do not ask once more.
        self.state.write().asked = Some(Instant::now());
        match fetched.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}"))) {
            Ok(keys) => {
                let mut state = self.state.write();
                (state.keys, state.came) = (Arc::new(keys), Some(Instant::now()));
            }
            Err(why) => tracing::warn!(issuer = self.issuer, "failed to get the keys of an issuer of tokens: {why}"),
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let discovery = self.document(&self.discovery).await?;
        match discovery["issuer"].as_str() {
            Some(issuer) if issuer == self.issuer => {}
            other => return Err(format!("{} says that it is {other:?}", self.discovery)),
        }
        let keys = discovery["jwks_uri"].as_str().ok_or_else(|| format!("{} has no jwks_uri", self.discovery))?;
        if !keys.starts_with("https://") {
            return Err(format!("the jwks_uri {keys:?} is not https"));
        }
        let keys = Key::all(&self.document(keys).await?);
        if keys.is_empty() { Err("there is no key that can be used".into()) } else { Ok(keys) }
    }

    async fn document(&self, url: &str) -> Result<Value, String> {
        let told = |why: String| format!("{url}: {why}");
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| told(error.to_string()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let peer = Peer::of_url(url, self.tls.clone()).map_err(told)?;
        let answer = peer.ask(None, path, None, MAX_DOCUMENT).await.map_err(|error| told(error.to_string()))?;
        serde_json::from_slice(answer.success().map_err(told)?).map_err(|error| told(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{self, Trust};
    use serde_json::json;

    #[tokio::test]
    async fn old_keys_are_asked_for_again_also_if_only_tokens_come_that_they_do_not_fit() {
        let tls = tls::connector(Trust::Anybody, None).unwrap();
        let provider = Arc::new(Provider::new("https://127.0.0.1:1", None, tls));
        let set = json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "k"}]});
        for (age, is_asked) in [(Duration::ZERO, false), (STALE, true)] {
            *provider.state.write() =
                State { keys: Arc::new(Key::all(&set)), came: Instant::now().checked_sub(age), asked: None };
            assert!(!provider.verifies("k", "RS256", b"message", b"signature").await);
            tokio::task::yield_now().await;
            assert_eq!(provider.state.read().asked.is_some(), is_asked, "{age:?}");
        }
    }
}
