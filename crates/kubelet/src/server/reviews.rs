//! What the API server says of those who use the kubelet's API: whose a token is, and whether they may. Its answers are kept
//! for a while, as upstream's kubelet keeps them.
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/>

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;

use super::auth::Caller;

/// How long answers are kept: whose a token is, that they may, and that they may not.
const USER: Duration = Duration::from_secs(2 * 60);
const ALLOWED: Duration = Duration::from_secs(5 * 60);
const DENIED: Duration = Duration::from_secs(30);
/// The longest token that is asked about, in bytes.
const LONGEST_TOKEN: usize = 16 << 10;
/// Most answers that are kept of each kind.
const MOST: usize = 1024;

/// What is asked of one's right to use the API of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Right {
    pub verb: &'static str,
    /// Of the node.
    pub subresource: &'static str,
}

/// Asks the API server.
pub(crate) struct Reviews {
    client: Client,
    node: String,
    users: Kept<String, Option<Caller>>,
    rights: Kept<(Caller, Right), bool>,
}

impl Reviews {
    /// Of the API of a node.
    pub(crate) fn new(client: Client, node: &str) -> Reviews {
        Reviews { client, node: node.into(), users: Kept::default(), rights: Kept::default() }
    }

    /// Whose a token is; `None` when it is nobody's, or nobody can tell.
    pub(super) async fn user(&self, token: &str) -> Option<Caller> {
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return None;
        }
        if let Some(known) = self.users.get(token, Instant::now()) {
            return known;
        }
        let spec = TokenReviewSpec { token: Some(token.into()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let status = match answer {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "failed to ask whose a token is");
                return None;
            }
        };
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let caller = user.and_then(|user| {
            Some(Caller {
                user: user.username?,
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        });
        self.users.put(token.to_owned(), caller.clone(), Instant::now(), USER);
        caller
    }

    /// Whether somebody has a right.
    pub(super) async fn may(&self, caller: &Caller, right: Right) -> kube::Result<bool> {
        let key = (caller.clone(), right);
        if let Some(known) = self.rights.get(&key, Instant::now()) {
            return Ok(known);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.user.clone()),
                uid: Some(caller.uid.clone()),
                groups: Some(caller.groups.clone()),
                extra: Some(caller.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(right.verb.into()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(right.subresource.into()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer =
            Api::<SubjectAccessReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let may = answer.status.is_some_and(|status| status.allowed);
        self.rights.put(key, may, Instant::now(), if may { ALLOWED } else { DENIED });
        Ok(may)
    }
}

/// Answers that are kept for a while. Where there are too many, new ones are not kept until others have expired.
struct Kept<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Kept(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Kept<K, V> {
    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: Instant) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let kept = self.0.lock();
        kept.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, now: Instant, time: Duration) {
        let mut kept = self.0.lock();
        if kept.len() >= MOST {
            kept.retain(|_, (_, until)| *until > now);
        }
        if let Some(until) = now.checked_add(time).filter(|_| kept.len() < MOST) {
            kept.insert(key, (value, until));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_never_too_many() {
        let (kept, begin): (Kept<String, bool>, _) = (Kept::default(), Instant::now());
        kept.put("a".into(), true, begin, ALLOWED);
        kept.put("b".into(), false, begin, DENIED);
        let later = begin + Duration::from_secs(60);
        assert_eq!((kept.get("a", later), kept.get("b", later)), (Some(true), None));
        for number in 0..2 * MOST {
            kept.put(number.to_string(), true, later, DENIED);
        }
        assert_eq!(kept.get("a", later), Some(true));
        assert_eq!(kept.0.lock().len(), MOST);
        kept.put("c".into(), true, later + Duration::from_secs(60), ALLOWED);
        assert_eq!(kept.0.lock().len(), 2);
    }
}
