//! Signs what joining nodes read of the cluster, the config map `cluster-info`, with each token: who knows one knows by that
//! that nobody changed it.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_client::{Informer, Store, WorkQueue, is_conflict, is_not_found};
use coracle_pki::BootstrapToken;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};

use super::{Left, left, secrets, signing};
use crate::common::Context;
use crate::run::reconcile_all;

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
/// What is signed.
const CONTENT: &str = "kubeconfig";
/// What signatures are called; the ID of the token follows.
const SIGNATURE: &str = "jws-kubeconfig-";

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<()> = WorkQueue::named("bootstrap_signer_queue");
    let secrets = secrets(&context);
    let api = Api::namespaced(context.informers.client().clone(), NAMESPACE);
    let maps: Informer<ConfigMap> =
        Informer::with_selectors(api, None, Some(format!("metadata.name={NAME}")), Vec::new());
    let (map_changed, token_changed) = (queue.clone(), queue.clone());
    maps.subscribe(move |_| map_changed.add(()));
    secrets.subscribe(move |_| token_changed.add(()));
    maps.start();
    secrets.start();
    let api: Api<ConfigMap> = Api::namespaced(context.client, NAMESPACE);
    let (published, known) = (maps.store(), secrets.store());
    reconcile_all(&[&maps, &secrets], &queue, 1, move |()| {
        let (map, api) = (published.get(NAMESPACE, NAME), api.clone());
        let now = Timestamp::now();
        let (tokens, next) = (tokens(&known, now), next_end(&known, now));
        async move {
            if let Some(signed) = map.and_then(|map| signed(&map, &tokens)) {
                match api.replace(NAME, &PostParams::default(), &signed).await {
                    // The change that was in the way brings it here again.
                    Err(error) if !is_conflict(&error) && !is_not_found(&error) => return Err(error),
                    _ => {}
                }
            }
            Ok(next)
        }
    })
    .await
}

/// The tokens that sign.
fn tokens(secrets: &Store<Secret>, now: Timestamp) -> Vec<BootstrapToken> {
    secrets.list().iter().filter_map(|secret| signing(secret, now)).collect()
}

/// When the next token expires.
fn next_end(secrets: &Store<Secret>, now: Timestamp) -> Option<Duration> {
    let left = secrets.list().into_iter().filter_map(|secret| match left(&secret, now) {
        Left::Some(left) => Some(left),
        _ => None,
    });
    left.min()
}

/// The config map with the signatures of these tokens and no others; `None` when it has them.
fn signed(map: &ConfigMap, tokens: &[BootstrapToken]) -> Option<ConfigMap> {
    let old = map.data.as_ref()?;
    let content = old.get(CONTENT)?;
    let mut data: BTreeMap<String, String> = old
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    data.extend(tokens.iter().map(|token| (format!("{SIGNATURE}{}", token.id), token.sign(content))));
    (data != *old).then(|| ConfigMap { data: Some(data), ..map.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: &[(&str, &str)]) -> ConfigMap {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn each_token_signs_and_others_do_not_stay() {
        let tokens = ["abcdef.0123456789abcdef".parse().unwrap()];
        let new = signed(&map(&[(CONTENT, "c"), ("other", "o"), ("jws-kubeconfig-gone00", "s")]), &tokens).unwrap();
        let keys: Vec<&String> = new.data.iter().flatten().map(|(key, _)| key).collect();
        assert_eq!(keys, ["jws-kubeconfig-abcdef", "kubeconfig", "other"]);
        assert!(signed(&new, &tokens).is_none());
        assert!(signed(&map(&[("other", "o")]), &tokens).is_none());
    }
}
