//! Fills secrets of the type `kubernetes.io/service-account-token` that somebody makes for an account, and deletes them with it.
//! <https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets>

use std::sync::Arc;

use coracle_client::{Event, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use coracle_pki::TokenKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::common::{Context, is_deleting, namespace_of, uid};
use crate::run::reconcile_all;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// Index of secrets by namespace and account.
const BY_ACCOUNT: &str = "account";

/// What is to be done with a secret.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Delete,
    Write(Box<Secret>),
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context, key: Arc<TokenKey>) -> anyhow::Result<()> {
    let queue: WorkQueue<ObjectKey> = WorkQueue::named("serviceaccount_tokens_secret");
    let api = Api::all(context.informers.client().clone());
    let by_account = |secret: &Secret| vec![format!("{}/{}", namespace_of(secret), account_name(secret))];
    let secrets: Informer<Secret> =
        Informer::with_selectors(api, None, Some(format!("type={TYPE}")), vec![(BY_ACCOUNT, Box::new(by_account))]);
    let accounts = context.informers.all::<ServiceAccount>();
    let changed = queue.clone();
    secrets.subscribe(move |event| {
        if let Event::Added(secret) | Event::Updated { new: secret, .. } = event {
            changed.add(ObjectKey::of(&**secret));
        }
    });
    let (theirs, changed) = (secrets.store(), queue.clone());
    accounts.subscribe(move |event| {
        let (Event::Added(account) | Event::Updated { new: account, .. } | Event::Deleted(account)) = event;
        let of = format!("{}/{}", namespace_of(&**account), account.name_any());
        match theirs.by_index(BY_ACCOUNT, &of) {
            Ok(secrets) => secrets.iter().for_each(|secret| changed.add(ObjectKey::of(&**secret))),
            Err(error) => tracing::error!(%error, account = of, "the account's secrets are not looked at"),
        }
    });
    secrets.start();
    let (tokens, known) = (secrets.store(), accounts.store());
    // As upstream, these secrets are written by the manager itself.
    let client = context.informers.client().clone();
    let root_ca = context.config.root_ca.clone();
    reconcile_all(&[&secrets, &accounts], &queue, 2, move |object| {
        let secret = tokens.get_key(&object);
        let account = secret.as_ref().and_then(|secret| known.get(namespace_of(&**secret), account_name(secret)));
        let (client, key, root_ca) = (client.clone(), key.clone(), root_ca.clone());
        async move {
            match secret {
                Some(secret) => reconcile(client, &key, &root_ca, &secret, account).await,
                None => Ok(()),
            }
            .map(|()| None)
        }
    })
    .await
}

async fn reconcile(
    client: Client,
    key: &TokenKey,
    root_ca: &str,
    secret: &Secret,
    account: Option<Arc<ServiceAccount>>,
) -> anyhow::Result<()> {
    let namespace = namespace_of(secret);
    let account = match account {
        Some(account) => Some(account),
        // It may have been made just now.
        None => Api::namespaced(client.clone(), namespace).get_opt(account_name(secret)).await?.map(Arc::new),
    };
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let name = secret.name_any();
    let done = match step(key, root_ca, secret, account.as_deref())? {
        Step::Nothing => return Ok(()),
        Step::Delete => {
            let same = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
            api.delete(&name, &DeleteParams { preconditions: Some(same), ..DeleteParams::default() }).await.map(drop)
        }
        Step::Write(filled) => api.replace(&name, &PostParams::default(), &filled).await.map(drop),
    };
    match done {
        // The change that was in the way brings it here again.
        Err(error) if !is_conflict(&error) && !is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn step(key: &TokenKey, root_ca: &str, secret: &Secret, account: Option<&ServiceAccount>) -> anyhow::Result<Step> {
    if is_deleting(secret) {
        return Ok(Step::Nothing);
    }
    let own = secret.annotations().get(UID).filter(|own| !own.is_empty());
    let Some(account) = account.filter(|account| own.is_none_or(|own| own == uid(*account))) else {
        return Ok(Step::Delete);
    };
    let mut filled = secret.clone();
    filled.metadata.annotations.get_or_insert_default().insert(UID.into(), uid(account).to_owned());
    let namespace = namespace_of(secret);
    let data = filled.data.get_or_insert_default();
    data.insert("ca.crt".into(), ByteString(root_ca.into()));
    data.insert("namespace".into(), ByteString(namespace.into()));
    if data.get("token").is_none_or(|token| token.0.is_empty()) {
        let name = account.name_any();
        let token = key.sign(&json!({
            "iss": "kubernetes/serviceaccount",
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret.name_any(),
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": uid(account),
        }))?;
        data.insert("token".into(), ByteString(token.into_bytes()));
    }
    Ok(if filled == *secret { Step::Nothing } else { Step::Write(Box::new(filled)) })
}

fn account_name(secret: &Secret) -> &str {
    secret.annotations().get(NAME).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_pki::Authority;
    use serde_json::Value;

    fn of<T: serde::de::DeserializeOwned>(object: Value) -> T {
        serde_json::from_value(object).unwrap()
    }

    fn secret(annotations: Value) -> Secret {
        of(json!({"metadata": {"name": "s", "namespace": "n", "annotations": annotations}, "type": TYPE}))
    }

    fn account(uid: &str) -> ServiceAccount {
        of(json!({"metadata": {"name": "a", "namespace": "n", "uid": uid}}))
    }

    #[test]
    fn a_secret_of_an_account_is_filled_once() {
        let dir = tempfile::tempdir().unwrap();
        let key = Authority::open(dir.path()).unwrap().service_account_key().unwrap();
        let Step::Write(filled) = step(&key, "ca", &secret(json!({NAME: "a"})), Some(&account("u"))).unwrap() else {
            panic!("it is not filled")
        };
        assert_eq!(filled.annotations()[UID], "u");
        let data = filled.data.as_ref().unwrap();
        assert_eq!((&data["ca.crt"].0[..], &data["namespace"].0[..]), (&b"ca"[..], &b"n"[..]));
        let claims = key.verify(std::str::from_utf8(&data["token"].0).unwrap()).unwrap();
        assert_eq!(claims["sub"], "system:serviceaccount:n:a");
        assert_eq!(claims["kubernetes.io/serviceaccount/secret.name"], "s");
        assert_eq!(step(&key, "ca", &filled, Some(&account("u"))).unwrap(), Step::Nothing);
        // Another authority is written, and the token stays.
        let Step::Write(again) = step(&key, "other", &filled, Some(&account("u"))).unwrap() else { panic!("it stays") };
        assert_eq!(again.data.unwrap()["token"], data["token"]);
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        let dir = tempfile::tempdir().unwrap();
        let key = Authority::open(dir.path()).unwrap().service_account_key().unwrap();
        let step = |annotations: Value, account: Option<&ServiceAccount>| {
            step(&key, "ca", &secret(annotations), account).unwrap()
        };
        assert_eq!(step(json!({NAME: "a"}), None), Step::Delete);
        // The account was made anew.
        assert_eq!(step(json!({NAME: "a", UID: "u"}), Some(&account("v"))), Step::Delete);
    }
}
