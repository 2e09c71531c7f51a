//! Writes down in secrets when the tokens in them were last used, a day's precision, so that those can go that nobody uses.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#auto-generated-legacy-serviceaccount-token-clean-up>

use std::sync::Arc;

use coracle_api::meta;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::objects::Objects;
use crate::operation::{Operation, Verb};
use crate::storage::core;

/// On a secret: the day on which its token was last used.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// On a secret: the day since which its token is refused.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The object that says since when uses are written down, which other servers and the cleaner look at.
pub(crate) const SINCE: (&str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");
/// Uses that wait to be written down. Those for which there is no room are seen when the token is used again.
const MAX_WAITING: usize = 1024;

/// Where uses are told.
#[derive(Clone)]
pub(crate) struct Uses(mpsc::Sender<String>);

/// Where they are heard of.
pub(crate) struct Heard(mpsc::Receiver<String>);

/// Both ends.
pub(crate) fn channel() -> (Uses, Heard) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Uses(sender), Heard(receiver))
}

impl Uses {
    /// Tells that the token of a secret is used.
    pub fn tell(&self, key: String, secret: &Value) {
        if label(secret, LAST_USED) != today() {
            // Without room it is told by the next use.
            let _ = self.0.try_send(key);
        }
    }
}

/// Whether the token of a secret is refused.
pub(crate) fn is_invalid(secret: &Value) -> bool {
    !label(secret, INVALID_SINCE).is_empty()
}

fn label<'a>(secret: &'a Value, name: &str) -> &'a str {
    secret["metadata"]["labels"][name].as_str().unwrap_or_default()
}

/// The object that says that uses are written down from today.
pub(crate) fn since() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SINCE.1, "namespace": SINCE.0},
        "data": {"since": today()},
    })
}

fn today() -> String {
    Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

/// Writes down what is told until the server is dropped.
pub(crate) fn start(objects: &Arc<Objects>, mut heard: Heard) {
    let objects = Arc::downgrade(objects);
    tokio::spawn(async move {
        while let Some(key) = heard.0.recv().await {
            let Some(objects) = objects.upgrade() else { break };
            let today = today();
            let mut mark = |secret: &Value| {
                let mut new = secret.clone();
                meta::metadata_mut(&mut new)
                    .entry("labels")
                    .or_insert_with(|| json!({}))
                    .as_object_mut()
                    .map(|labels| labels.insert(LAST_USED.into(), today.as_str().into()));
                Ok(new)
            };
            let op = Operation::by_server(core("secrets"), Verb::Update);
            match objects.update(&op, &key, &mut mark).await {
                Err(status) if status.code != 404 => {
                    tracing::warn!("failed to write down that the token in {key} is used: {}", status.message);
                }
                _ => {}
            }
        }
    });
}
