//! Service account tokens, requested for one pod and renewed before they expire.

use std::collections::HashMap;
use std::time::Duration;

use coracle_client::later;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pod::PodExt;

/// No token is kept for longer.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

struct Held {
    token: String,
    renew: Instant,
    expires: Instant,
}

/// The tokens of the node's pods, by pod, audience and lifetime.
pub(crate) struct Tokens {
    client: Client,
    held: Mutex<HashMap<(String, String), Held>>,
}

impl Tokens {
    pub(crate) fn new(client: Client) -> Tokens {
        Tokens { client, held: Mutex::default() }
    }

    /// A token that is fresh enough, and when to ask again: at 80% of its life.
    ///
    /// # Errors
    /// With the message of the API server.
    pub(crate) async fn get(
        &self,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<(String, Instant), String> {
        let account = pod.spec().service_account_name.as_deref().unwrap_or("default");
        let audience = source.audience.clone().unwrap_or_default();
        let seconds = source.expiration_seconds.unwrap_or(3600).max(600);
        let key = (pod.uid().to_owned(), format!("{account}|{audience}|{seconds}"));
        let now = Instant::now();
        if let Some(held) = self.held.lock().get(&key).filter(|held| held.renew > now) {
            return Ok((held.token.clone(), held.renew));
        }
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect(),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(pod.name().into()),
                    uid: Some(pod.uid().into()),
                }),
            },
            ..Default::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), pod.namespace());
        let answer = api.create_token_request(account, &PostParams::default(), &request).await;
        let status = match answer {
            Ok(TokenRequest { status: Some(status), .. }) => status,
            Ok(_) => return Err("failed to fetch token: the API server sent none".to_owned()),
            Err(error) => {
                // A token that still works is better than none.
                if let Some(held) = self.held.lock().get(&key).filter(|held| held.expires > now) {
                    return Ok((held.token.clone(), later(now, Duration::from_secs(10))));
                }
                return Err(format!("failed to fetch token: {}", crate::message_of(&error)));
            }
        };
        let left = status.expiration_timestamp.0.as_second().saturating_sub(jiff::Timestamp::now().as_second());
        let life = Duration::from_secs(left.max(10) as u64);
        let renew = later(now, (life / 5).saturating_mul(4).min(MAX_AGE));
        self.held.lock().insert(key, Held { token: status.token.clone(), renew, expires: later(now, life) });
        Ok((status.token, renew))
    }

    /// Forgets the tokens of a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.held.lock().retain(|(owner, _), _| owner != uid);
    }
}
