//! The history of a workload's pod template: one ControllerRevision for each template that it had, which
//! `kubectl rollout history` shows and `kubectl rollout undo` brings back.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_client::Informer;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{Api, PostParams};
use kube::core::{Selector, SelectorExt};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::adoption::claim;
use crate::common::{controller_reference, delete_exactly, is_already_there, namespace_of};
use crate::dependents::Owner;
use crate::hash::template_hash;

/// The label of a revision, and of the pods that are made of it.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// The part of a name that a hash still fits behind.
const MAX_PREFIX: usize = 223;
/// How often a new revision is tried to be written in one pass.
const TRIES: u32 = 16;

/// The revisions of the owners of one kind.
pub(crate) struct Histories {
    client: Client,
    revisions: Informer<ControllerRevision>,
}

/// The revisions of one owner, and that of its template.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// Of the template as it is now.
    pub update: Arc<ControllerRevision>,
    /// All others, the oldest first.
    pub others: Vec<Arc<ControllerRevision>>,
    /// The hashes of all that keep the template as it is now: another one may have been adopted, or written by hand.
    pub hashes: BTreeSet<String>,
    /// How often the hash of another template was met, for the owner's status; `None` when never.
    pub collisions: Option<i32>,
}

impl History {
    /// A revision by its name.
    pub fn find(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        self.others.iter().chain([&self.update]).find(|revision| revision.metadata.name.as_deref() == Some(name))
    }
}

/// The hash that is the label of a revision and of its pods.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    revision.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).map_or("", String::as_str)
}

/// The pod template that a revision keeps; `None` when it keeps something else.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_str(&without_absent(template.clone()).to_string()).ok()
}

/// What a revision keeps: the strategic merge patch that gives the owner this template. Clients compare it byte by byte with
/// what they would write, in which templates have had no `creationTimestamp` that is null since 1.34.
fn patch_of(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// A value without fields that say nothing, which newer versions do not write.
fn without_absent(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_absent(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_absent).collect()),
        other => other,
    }
}

fn is_of(revision: &ControllerRevision, patch: &Value) -> bool {
    revision.data.as_ref().is_some_and(|data| without_absent(data.0.clone()) == without_absent(patch.clone()))
}

impl Histories {
    pub fn new(client: Client, revisions: Informer<ControllerRevision>) -> Histories {
        Histories { client, revisions }
    }

    /// What its owners' controller waits for, and follows.
    pub fn informer(&self) -> &Informer<ControllerRevision> {
        &self.revisions
    }

    /// The history of `owner`, whose template is `template`. A template that is new gets a revision; one that was there
    /// before gets its revision back, as the newest. `annotations` are what a new revision tells of its cause.
    pub async fn of<O: Owner>(
        &self,
        owner: &O,
        selector: &Selector,
        template: &PodTemplateSpec,
        collisions: Option<i32>,
    ) -> kube::Result<History> {
        let matches = |revision: &ControllerRevision| selector.matches(revision.labels());
        let mut revisions = claim(&self.client, owner, &self.revisions.store(), matches, |_| true).await?;
        revisions.sort_by_key(|revision| {
            (revision.revision, revision.metadata.creation_timestamp.clone(), revision.name_any())
        });
        let patch = patch_of(template);
        let newest = revisions.last().map_or(0, |revision| revision.revision);
        let Some(at) = revisions.iter().rposition(|revision| is_of(revision, &patch)) else {
            let (update, collisions) =
                self.create(owner, template, patch, newest.saturating_add(1), collisions).await?;
            let hashes = BTreeSet::from([hash_of(&update).to_owned()]);
            return Ok(History { update: Arc::new(update), others: revisions, hashes, collisions });
        };
        let same = revisions.iter().filter(|revision| is_of(revision, &patch));
        let mut hashes: BTreeSet<String> = same.map(|revision| hash_of(revision).to_owned()).collect();
        let mut update = revisions.remove(at);
        if update.revision < newest || hash_of(&update).is_empty() {
            update = Arc::new(self.renew(&update, newest).await?);
        }
        hashes.insert(hash_of(&update).to_owned());
        Ok(History { update, others: revisions, hashes, collisions })
    }

    /// Makes a revision the newest, and gives it the label if it has none.
    async fn renew(&self, revision: &ControllerRevision, newest: i64) -> kube::Result<ControllerRevision> {
        let mut renewed = revision.clone();
        if revision.revision < newest {
            renewed.revision = newest.saturating_add(1);
        }
        let name = revision.name_any();
        renewed.metadata.labels.get_or_insert_default().entry(HASH_LABEL.into()).or_insert(name.clone());
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), namespace_of(revision));
        api.replace(&name, &PostParams::default(), &renewed).await
    }

    /// Writes a new revision. Where another template has its name, the hash is salted until the name is free.
    ///
    /// # Errors
    /// The server refuses, or after [`TRIES`] names there is still something in the way.
    async fn create<O: Owner>(
        &self,
        owner: &O,
        template: &PodTemplateSpec,
        patch: Value,
        revision: i64,
        mut collisions: Option<i32>,
    ) -> kube::Result<(ControllerRevision, Option<i32>)> {
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), namespace_of(owner));
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let new = new_revision(owner, template, &patch, revision, collisions);
            let taken = match api.create(&PostParams::default(), &new).await {
                Err(error) if is_already_there(&error) => error,
                made => return Ok((made?, collisions)),
            };
            match api.get_opt(&new.name_any()).await? {
                Some(found) if is_of(&found, &patch) => return Ok((found, collisions)),
                _ if tries == TRIES => return Err(taken),
                Some(_) => collisions = Some(collisions.unwrap_or(0).saturating_add(1)),
                None => {}
            }
        }
    }

    /// Deletes the oldest revisions beyond the limit, except those that are `live`: of a pod, or of the owner.
    pub async fn truncate(&self, history: &History, limit: Option<i32>, live: &BTreeSet<String>) -> kube::Result<()> {
        for revision in beyond(&history.others, limit.unwrap_or(10), live) {
            let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), namespace_of(&**revision));
            delete_exactly(&api, &**revision).await?;
        }
        Ok(())
    }
}

/// The revisions to delete, by upstream's rule: as many as there are too many, but none whose hash or name is live.
fn beyond<'a>(
    others: &'a [Arc<ControllerRevision>],
    limit: i32,
    live: &BTreeSet<String>,
) -> Vec<&'a Arc<ControllerRevision>> {
    let is_live =
        |revision: &&Arc<ControllerRevision>| live.contains(hash_of(revision)) || live.contains(&revision.name_any());
    let dead: Vec<_> = others.iter().filter(|revision| !is_live(revision)).collect();
    let excess = dead.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    dead.into_iter().take(excess).collect()
}

fn new_revision<O: Owner>(
    owner: &O,
    template: &PodTemplateSpec,
    patch: &Value,
    revision: i64,
    collisions: Option<i32>,
) -> ControllerRevision {
    let hash = template_hash(template, collisions.filter(|count| *count > 0));
    let mut prefix = owner.name_any();
    prefix.truncate(MAX_PREFIX);
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    let mut labels: BTreeMap<String, String> = labels.unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(patch.clone())),
        revision,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use k8s_openapi::api::apps::v1::DaemonSet;
    use kube::client::Body;

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
        .unwrap()
    }

    fn revision(number: i64, hash: &str) -> Arc<ControllerRevision> {
        let value =
            json!({"metadata": {"name": format!("d-{hash}"), "labels": {HASH_LABEL: hash}}, "revision": number});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_revision_is_of_its_template_whoever_wrote_it() {
        let owner: DaemonSet = serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n"}})).unwrap();
        let patch = patch_of(&template("a"));
        assert_eq!(patch["spec"]["template"]["$patch"], "replace");
        let new = new_revision(&owner, &template("a"), &patch, 3, None);
        assert_eq!((new.revision, new.name_any()), (3, format!("d-{}", hash_of(&new))));
        assert_eq!(template_of(&new), Some(template("a")));
        assert!(is_of(&new, &patch));
        assert!(!is_of(&new, &patch_of(&template("b"))));
        assert_eq!(patch["spec"]["template"]["metadata"].get("creationTimestamp"), None);
        let mut earlier = patch.clone();
        earlier["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        let earlier = ControllerRevision { data: Some(RawExtension(earlier)), ..new.clone() };
        assert!(is_of(&earlier, &patch));
        let salted = new_revision(&owner, &template("a"), &patch, 3, Some(1));
        assert_ne!(hash_of(&salted), hash_of(&new));
    }

    #[test]
    fn the_oldest_that_nobody_uses_go_first() {
        let others = [revision(1, "a"), revision(2, "b"), revision(3, "c"), revision(4, "d")];
        let names = |limit, live: &[&str]| -> Vec<String> {
            let live = live.iter().map(|name| (*name).to_owned()).collect();
            beyond(&others, limit, &live).iter().map(|revision| revision.name_any()).collect()
        };
        assert_eq!(names(2, &[]), ["d-a", "d-b"]);
        assert_eq!(names(2, &["a"]), ["d-b"]);
        assert_eq!(names(1, &["d-a"]), ["d-b", "d-c"]);
        assert!(names(10, &[]).is_empty());
    }

    /// A server that refuses to make a revision for this reason, and has none.
    fn refusing(reason: &'static str, asked: &Arc<AtomicU32>) -> Client {
        let asked = asked.clone();
        coracle_client::in_process(tower::service_fn(move |request: http::Request<Body>| {
            let (code, reason) = if request.method() == http::Method::POST {
                asked.fetch_add(1, Ordering::SeqCst);
                (409, reason)
            } else {
                (404, "NotFound")
            };
            let status =
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no"});
            let answer = http::Response::builder().status(code).body(Body::from(status.to_string().into_bytes()));
            async move { answer }
        }))
    }

    #[tokio::test]
    async fn a_revision_that_is_refused_is_not_tried_for_ever() {
        let owner: DaemonSet = serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n"}})).unwrap();
        // A webhook may refuse with any code; and what was in the way may be gone each time that one looks.
        for (reason, tries) in [("Conflict", 1), ("AlreadyExists", TRIES)] {
            let asked = Arc::new(AtomicU32::new(0));
            let client = refusing(reason, &asked);
            let histories =
                Histories { client: client.clone(), revisions: Informer::new(Api::<ControllerRevision>::all(client)) };
            let patch = patch_of(&template("a"));
            let error = histories.create(&owner, &template("a"), patch, 1, None).await.unwrap_err();
            assert_eq!((crate::common::message(&error).as_str(), asked.load(Ordering::SeqCst)), ("no", tries));
        }
    }
}
