//! Refuses, and later deletes, tokens that upstream once made for every service account and that nobody uses. The API server
//! writes down when a token was last used; a secret that somebody has made is left alone.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#auto-generated-legacy-serviceaccount-token-clean-up>

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::Context as _;
use coracle_client::{is_conflict, is_not_found};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::common::{Context, is_deleting, namespace_of, uid};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Secrets that are read at a time.
const PAGE: u32 = 500;
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// What says since when uses are written down.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// What becomes of a secret.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    /// Its token is refused from this day.
    Refuse(Date),
    Delete,
}

/// Runs the controller until it fails.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let period = Span::try_from(context.config.legacy_token_clean_up_period).context("the clean-up period")?;
    loop {
        if let Err(error) = round(&context, &period, Timestamp::now()).await {
            tracing::warn!("failed to look for tokens that nobody uses: {error:#}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn round(context: &Context, period: &Span, now: Timestamp) -> anyhow::Result<()> {
    let tracked: ConfigMap = Api::namespaced(context.client.clone(), "kube-system").get(TRACKING).await?;
    let since = tracked.data.as_ref().and_then(|data| data.get("since")).context("it is not said since when")?;
    // From midnight after the day on which it began.
    let since: Date = since.parse().with_context(|| format!("{TRACKING}: since {since:?}"))?;
    if before(now, period) <= since.saturating_add(Span::new().days(1)) {
        return Ok(());
    }
    let reader = context.informers.client().clone();
    let mut mounted = HashMap::new();
    let mut page = ListParams::default().fields(&format!("type={TYPE}")).limit(PAGE);
    loop {
        let secrets: kube::core::ObjectList<Secret> = Api::all(reader.clone()).list(&page).await?;
        for secret in &secrets.items {
            settle(context, &reader, &mut mounted, secret, period, now).await?;
        }
        match secrets.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page.continue_token = Some(next),
            None => return Ok(()),
        }
    }
}

/// The day on which the period began that ends now.
fn before(now: Timestamp, period: &Span) -> Date {
    let now = now.to_zoned(TimeZone::UTC);
    now.saturating_sub(*period).date()
}

async fn settle(
    context: &Context,
    reader: &Client,
    mounted: &mut HashMap<String, BTreeSet<String>>,
    secret: &Secret,
    period: &Span,
    now: Timestamp,
) -> anyhow::Result<()> {
    let step = step(secret, period, now);
    let (namespace, name) = (namespace_of(secret), secret.name_any());
    if step == Step::Keep || !is_generated(reader, secret).await? {
        return Ok(());
    }
    if !mounted.contains_key(namespace) {
        let pods = Api::<Pod>::namespaced(reader.clone(), namespace).list(&ListParams::default()).await?;
        let mut names = BTreeSet::new();
        for pod in &pods.items {
            secret_names(&serde_json::to_value(&pod.spec)?, &mut names);
        }
        mounted.insert(namespace.to_owned(), names);
    }
    if mounted.get(namespace).is_some_and(|names| names.contains(&name)) {
        return Ok(());
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let done = match step {
        Step::Keep => return Ok(()),
        Step::Refuse(day) => {
            tracing::info!(
                namespace,
                name,
                "the token of a service account is refused from now on: nobody has used it"
            );
            let labels = json!({"metadata": {"uid": uid(secret), "labels": {INVALID_SINCE: day.to_string()}}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(labels)).await.map(drop)
        }
        Step::Delete => {
            tracing::info!(namespace, name, "the token of a service account is deleted: nobody has used it");
            let same = Preconditions { uid: None, resource_version: secret.metadata.resource_version.clone() };
            api.delete(&name, &DeleteParams { preconditions: Some(same), ..DeleteParams::default() }).await.map(drop)
        }
    };
    match done {
        Err(error) if !is_conflict(&error) && !is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn step(secret: &Secret, period: &Span, now: Timestamp) -> Step {
    let limit = before(now, period);
    let day = |label: &str| secret.labels().get(label).map(|day| day.parse::<Date>());
    let made = secret.creation_timestamp().map(|time| time.0.to_zoned(TimeZone::UTC).date());
    let is_used = match day(LAST_USED) {
        Some(Ok(day)) => day >= limit,
        // Nobody knows when that was.
        Some(Err(_)) => true,
        None => false,
    };
    if is_deleting(secret) || is_used || made.is_none_or(|made| made >= limit) {
        return Step::Keep;
    }
    match day(INVALID_SINCE) {
        Some(Ok(day)) if day >= limit => Step::Keep,
        Some(Ok(_)) => Step::Delete,
        Some(Err(_)) | None => Step::Refuse(now.to_zoned(TimeZone::UTC).date()),
    }
}

/// Whether a token was made together with its account, which then names the secret.
async fn is_generated(reader: &Client, secret: &Secret) -> anyhow::Result<bool> {
    let annotation = |name: &str| secret.annotations().get(name).map(String::as_str).unwrap_or_default();
    let (account, own) = (annotation(ACCOUNT), annotation(ACCOUNT_UID));
    if account.is_empty() {
        return Ok(false);
    }
    let api = Api::<ServiceAccount>::namespaced(reader.clone(), namespace_of(secret));
    let account = api.get_opt(account).await?.filter(|account| own.is_empty() || own == uid(account));
    let name = secret.name_any();
    let names = |account: ServiceAccount| account.secrets.unwrap_or_default().into_iter().filter_map(|one| one.name);
    Ok(account.into_iter().flat_map(names).any(|named| named == name))
}

/// The names of secrets that the spec of a pod has anywhere.
fn secret_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                match field.as_str() {
                    "secretName" => add(value, names),
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
                        add(&value["name"], names);
                        add(&value["secretName"], names);
                    }
                    "imagePullSecrets" => {
                        value.as_array().into_iter().flatten().for_each(|one| add(&one["name"], names));
                    }
                    _ => secret_names(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secret_names(item, names)),
        _ => {}
    }
}

fn add(name: &Value, names: &mut BTreeSet<String>) {
    names.extend(name.as_str().map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(made: &str, labels: Value) -> Secret {
        serde_json::from_value(json!({"metadata": {"name": "s", "creationTimestamp": made, "labels": labels}})).unwrap()
    }

    #[test]
    fn what_nobody_uses_is_refused_and_then_deleted() {
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let of = |made: &str, labels: Value| step(&secret(made, labels), &Span::new().days(30), now);
        let old = "2026-01-01T00:00:00Z";
        let refuse = Step::Refuse("2026-06-15".parse().unwrap());
        assert_eq!(of(old, json!({})), refuse);
        assert_eq!(of(old, json!({LAST_USED: "2026-05-01"})), refuse);
        assert_eq!(of(old, json!({LAST_USED: "2026-05-16"})), Step::Keep);
        assert_eq!(of(old, json!({LAST_USED: "some day"})), Step::Keep);
        assert_eq!(of("2026-06-01T00:00:00Z", json!({})), Step::Keep);
        assert_eq!(of(old, json!({INVALID_SINCE: "2026-06-01"})), Step::Keep);
        assert_eq!(of(old, json!({INVALID_SINCE: "2026-05-01"})), Step::Delete);
        assert_eq!(of(old, json!({INVALID_SINCE: "once"})), refuse);
        assert_eq!(of(old, json!({LAST_USED: "2026-06-14", INVALID_SINCE: "2026-05-01"})), Step::Keep);
    }

    #[test]
    fn what_a_pod_uses_is_found_wherever_it_is() {
        let spec = json!({"imagePullSecrets": [{"name": "a"}], "volumes": [{"secret": {"secretName": "b"}},
            {"projected": {"sources": [{"secret": {"name": "c"}}]}}, {"csi": {"nodePublishSecretRef": {"name": "d"}}}],
            "containers": [{"name": "x", "envFrom": [{"secretRef": {"name": "e"}}],
                "env": [{"name": "y", "valueFrom": {"secretKeyRef": {"name": "f", "key": "k"}}}]}]});
        let mut names = BTreeSet::new();
        secret_names(&spec, &mut names);
        assert_eq!(names.into_iter().collect::<String>(), "abcdef");
    }
}
