//! The file, in the form of a kubeconfig, that says where a webhook is and how this server shows who it is: its current
//! context counts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::decode::{FieldValidation, decode_value};
use coracle_api::schema;
use coracle_pki::{Current, Pair};
use http::Uri;
use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::peer::Peer;
use crate::tls::{self, Trust};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Questions that are asked at once.
const MAX_UNDER_WAY: usize = 200;
/// How often a webhook is asked that does not answer, and how long to wait before that, as upstream.
const TRIES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);
const AGENT: HeaderValue = HeaderValue::from_static(crate::operation::SERVER);

/// A webhook that is asked by reviews.
pub(crate) struct Webhook {
    peer: Peer,
    path: String,
    /// Each question that is under way has a connection; a flood of them must not take all descriptors.
    under_way: Semaphore,
}

impl Webhook {
    /// # Errors
    /// The file cannot be read, or a part of it makes no sense: which one.
    pub fn read(file: &Path) -> Result<Webhook> {
        let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        let dir = file.parent().unwrap_or(Path::new("."));
        Webhook::parse(&text, dir).with_context(|| format!("in the webhook configuration {}", file.display()))
    }

    fn parse(text: &str, dir: &Path) -> Result<Webhook> {
        let config = coracle_api::config::value(text).map_err(anyhow::Error::msg).context("it is not YAML")?;
        let name = config["current-context"].as_str().unwrap_or_default();
        let context = named(&config, "contexts", name).and_then(|found| found.get("context"));
        let context = context.with_context(|| format!("current-context: there is no context {name:?}"))?;
        let part = |list: &str, field: &str| match context[field].as_str() {
            None | Some("") => Ok(&Value::Null),
            Some(name) => {
                let found = named(&config, list, name).and_then(|found| found.get(field));
                found.with_context(|| format!("contexts: there is no {field} {name:?}"))
            }
        };
        let (cluster, user) = (part("clusters", "cluster")?, part("users", "user")?);
        ensure!(cluster["proxy-url"].is_null(), "clusters: proxy-url is not supported");
        let url = cluster["server"].as_str().context("clusters: the cluster has no server")?;
        let uri: Uri = url.parse().with_context(|| format!("server: {url:?}"))?;
        ensure!(
            matches!(uri.scheme_str(), Some("https" | "http")),
            "server: {url:?}: the scheme must be https or http"
        );
        let authority = data(cluster, "certificate-authority", dir)?;
        let trust = match &authority {
            _ if cluster["insecure-skip-tls-verify"] == true => Trust::Anybody,
            Some(pem) => Trust::Authorities(pem),
            None => Trust::System,
        };
        let tls = tls::connector(trust, identity(user, dir)?).context("certificate-authority")?;
        let mut peer = Peer::of_url(url, tls).map_err(|why| anyhow!("server: {url:?}: {why}"))?.with(USER_AGENT, AGENT);
        if let Some(server) = cluster["tls-server-name"].as_str() {
            peer = peer.named(server).map_err(|why| anyhow!("tls-server-name: {server:?}: {why}"))?;
        }
        if let Some(mut header) = authorization(user, dir)? {
            header.set_sensitive(true);
            peer = peer.with(AUTHORIZATION, header);
        }
        Ok(Webhook {
            peer,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            under_way: Semaphore::new(MAX_UNDER_WAY),
        })
    }

    /// Sends a review and reads the answer; who does not answer is asked again while there is time.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn ask(&self, review: &Value, timeout: Duration) -> Result<Value, String> {
        let answer = self.send(Bytes::from(review.to_string()), FIRST_DELAY, timeout).await?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    /// The same of any JSON, and of an answer that may be none. If the first attempt fails in passing, the next is made after
    /// a delay, and later ones after longer ones.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn send(&self, json: Bytes, first_delay: Duration, timeout: Duration) -> Result<Bytes, String> {
        let asking = async {
            let _place = self.under_way.acquire().await.map_err(|error| error.to_string())?;
            let mut delay = first_delay;
            let mut tries = 1;
            loop {
                let asked = self.once(json.clone()).await;
                match asked {
                    Err(Failure::Passing(_)) if tries < TRIES => {}
                    Err(Failure::Passing(why) | Failure::Lasting(why)) => return Err(why),
                    Ok(answer) => return Ok(answer),
                }
                tries = tries.saturating_add(1);
                tokio::time::sleep(delay).await;
                delay = delay.saturating_mul(3) / 2;
            }
        };
        let late = |_| Err(format!("Post \"{}{}\": context deadline exceeded", self.peer.authority(), self.path));
        tokio::time::timeout(timeout, asking).await.unwrap_or_else(late)
    }

    async fn once(&self, json: Bytes) -> Result<Bytes, Failure> {
        let answer = self.peer.ask(None, &self.path, Some(json), MAX_ANSWER).await;
        let answer = answer.map_err(|error| Failure::Passing(error.to_string()))?;
        let is_passing = answer.status.is_server_error() || answer.status.as_u16() == 429;
        let failure = |why| if is_passing { Failure::Passing(why) } else { Failure::Lasting(why) };
        answer.success().map_err(failure).cloned()
    }
}

enum Failure {
    /// It may go away.
    Passing(String),
    Lasting(String),
}

/// A part of an answer as its definition has it. What is of another type is not taken for what was not said: a refusal would be
/// overheard.
///
/// # Errors
/// It is not what the definition says.
pub(crate) fn conformed(definition: &str, part: &Value) -> Result<Value, String> {
    let def = schema::by_name(definition).ok_or_else(|| format!("no schema for {definition}"))?;
    let mut part = part.clone();
    if !part.is_null() {
        decode_value(def, &mut part, FieldValidation::Ignore).map_err(|status| status.message)?;
    }
    Ok(part)
}

fn named<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config[list].as_array()?.iter().find(|item| item["name"] == name)
}

/// What a field names as a file, or has as data.
fn data(of: &Value, field: &str, dir: &Path) -> Result<Option<Vec<u8>>> {
    if let Some(data) = of[format!("{field}-data")].as_str() {
        return Ok(Some(STANDARD.decode(data).with_context(|| format!("{field}-data"))?));
    }
    let Some(file) = of[field].as_str().filter(|file| !file.is_empty()) else { return Ok(None) };
    let path = dir.join(file);
    Ok(Some(std::fs::read(&path).with_context(|| format!("{field}: failed to read {}", path.display()))?))
}

fn identity(user: &Value, dir: &Path) -> Result<Option<std::sync::Arc<Current>>> {
    match (data(user, "client-certificate", dir)?, data(user, "client-key", dir)?) {
        (Some(certificate), Some(key)) => {
            let pair = Pair { certificate: String::from_utf8(certificate)?, key: String::from_utf8(key)? };
            Ok(Some(Current::new(&pair).context("client-certificate")?))
        }
        (None, None) => Ok(None),
        _ => bail!("users: client-certificate and client-key must come together"),
    }
}

fn authorization(user: &Value, dir: &Path) -> Result<Option<HeaderValue>> {
    let text = |field: &str| user[field].as_str().filter(|text| !text.is_empty());
    for unknown in ["exec", "auth-provider"] {
        ensure!(user[unknown].is_null(), "users: {unknown} is not supported");
    }
    let header = match (text("token"), text("tokenFile"), text("username")) {
        (Some(token), ..) => format!("Bearer {token}"),
        (None, Some(file), _) => {
            let path = dir.join(file);
            let token = std::fs::read_to_string(&path).with_context(|| format!("tokenFile: {}", path.display()))?;
            format!("Bearer {}", token.trim())
        }
        (None, None, Some(name)) => {
            format!("Basic {}", STANDARD.encode(format!("{name}:{}", text("password").unwrap_or_default())))
        }
        (None, None, None) => return Ok(None),
    };
    Ok(Some(HeaderValue::try_from(header).context("users: the token cannot be sent")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_says_what_is_wrong() {
        let parse = |text: &str| Webhook::parse(text, Path::new(".")).map(|_| ());
        let context = "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n";
        let good = format!(
            "{context}clusters: [{{name: c, cluster: {{server: 'https://h/p?q'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]"
        );
        assert!(parse(&good).is_ok());
        for (text, fault) in [
            ("a: [", "it is not YAML"),
            ("current-context: a", "current-context: there is no context \"a\""),
            (context, "there is no cluster \"c\""),
            (&good.replace("https:", "ftp:"), "the scheme must be https or http"),
            (&good.replace("token: t", "exec: {}"), "exec is not supported"),
            (&good.replace("token: t", "client-key: /none"), "failed to read /none"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(fault), "{error}");
        }
    }
}
