//! Deployments: roll a pod template out over ReplicaSets, one a revision.

mod conditions;
mod math;
mod revision;

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::SelectorExt;
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::adoption::claim;
use crate::common::*;
use crate::dependents::Dependents;
use crate::hash::template_hash;
use crate::run::{Cache, Controller};
use conditions::{calculate_status, progress_check_after, rollout_status, set_condition};
use math::*;
use revision::*;

const HASH_LABEL: &str = "pod-template-hash";

struct DeploymentController {
    client: Client,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
    queue: WorkQueue<ObjectKey>,
}

/// The ReplicaSets of a deployment, told apart.
struct Sets {
    new: Option<Arc<ReplicaSet>>,
    old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    fn all(&self) -> Vec<Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new).cloned().collect()
    }
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = DeploymentController {
        client: context.client.clone(),
        deployments: context.deployments(),
        sets: context.replica_sets(),
        pods: context.pods(),
        recorder: context.recorder("deployment-controller"),
        queue: WorkQueue::named("deployment"),
    };
    Dependents::of(&controller.deployments, &controller.queue, &Arc::default()).follow(&controller.sets);
    let (queue, sets, deployments) =
        (controller.queue.clone(), controller.sets.store(), controller.deployments.store());
    // A Recreate deployment waits for the last pod of the old revision.
    controller.pods.subscribe(move |event| {
        if let Event::Deleted(pod) = event
            && let Some(owner) = controller_of(&pod.metadata)
            && let Some(set) = resolve(&sets, namespace_of(&**pod), owner)
            && let Some(owner) = controller_of(&set.metadata)
            && let Some(deployment) = resolve(&deployments, namespace_of(&*set), owner)
            && is_recreate(&spec_of(&deployment))
        {
            queue.add(ObjectKey::of(&*deployment));
        }
    });
    crate::run::run(Arc::new(controller)).await
}

fn spec_of(deployment: &Deployment) -> DeploymentSpec {
    deployment.spec.clone().unwrap_or_default()
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

impl Controller for DeploymentController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.deployments, &self.sets, &self.pods]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(deployment) = self.deployments.store().get_key(&key) else { return Ok(None) };
        match self.sync((*deployment).clone()).await {
            Ok(again) => Ok(again),
            // What conflicts has changed, and the change comes through the informer; should it have come before,
            // the cache is fresh already and a quick try succeeds.
            Err(error) if is_conflict(&error) => Ok(Some(Duration::from_millis(20))),
            Err(error) if is_not_found(&error) || is_namespace_terminating(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl DeploymentController {
    async fn sync(&self, mut d: Deployment) -> kube::Result<Option<Duration>> {
        let spec = spec_of(&d);
        if selector_is_empty(&spec.selector) {
            self.recorder.event(
                &d,
                EventType::Warning,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            if d.status.as_ref().and_then(|status| status.observed_generation) < d.metadata.generation {
                d.status.get_or_insert_default().observed_generation = d.metadata.generation;
                self.write_status(&mut d).await?;
            }
            return Ok(None);
        }
        let Some(selector) = selector_of(&spec.selector) else { return Ok(None) };
        let matches = |set: &ReplicaSet| selector.matches(set.labels());
        let sets = claim(&self.client, &d, &self.sets.store(), matches, |_| true).await?;
        if is_deleting(&d) {
            let sets = self.tell_apart(&spec, sets);
            return self.sync_status_only(&mut d, &sets).await;
        }
        if conditions::check_paused(&mut d) {
            self.write_status(&mut d).await?;
        }
        let paused = spec.paused.unwrap_or(false);
        let apart = self.tell_apart(&spec, sets);
        if paused || is_scaling_event(&spec, &apart.all()) {
            let apart = self.with_new_set(&mut d, &spec, apart, false).await?;
            self.scale(&d, &spec, &apart).await?;
            if paused {
                self.clean_up(&spec, &apart.old).await?;
            }
            let apart = self.refreshed(apart);
            return self.sync_status_only(&mut d, &apart).await;
        }
        if is_recreate(&spec) { self.recreate(d, &spec, apart).await } else { self.roll(d, &spec, apart).await }
    }

    fn tell_apart(&self, spec: &DeploymentSpec, mut sets: Vec<Arc<ReplicaSet>>) -> Sets {
        sets.sort_by(by_age);
        let new = sets.iter().position(|set| has_template(set, &spec.template)).map(|at| sets.remove(at));
        Sets { new, old: sets }
    }

    /// The newest state that the cache has of each set; a set that was just written may be ahead of the cache.
    fn refreshed(&self, sets: Sets) -> Sets {
        let store = self.sets.store();
        let newer = |set: Arc<ReplicaSet>| {
            let version = |set: &ReplicaSet| {
                set.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
            };
            store
                .get(namespace_of(&*set), &set.name_any())
                .filter(|cached| uid(&**cached) == uid(&*set) && version(cached) >= version(&set))
                .unwrap_or(set)
        };
        Sets { new: sets.new.map(newer), old: sets.old.into_iter().map(newer).collect() }
    }

    async fn sync_status_only(&self, d: &mut Deployment, sets: &Sets) -> kube::Result<Option<Duration>> {
        let status = calculate_status(&sets.all(), sets.new.as_deref(), d);
        if d.status.as_ref() != Some(&status) {
            d.status = Some(status);
            self.write_status(d).await?;
        }
        Ok(None)
    }

    async fn roll(&self, mut d: Deployment, spec: &DeploymentSpec, sets: Sets) -> kube::Result<Option<Duration>> {
        let mut sets = self.with_new_set(&mut d, spec, sets, true).await?;
        let Some(new) = sets.new.clone() else { return Ok(None) };
        let wanted = desired(spec);
        let size = replicas(&new);
        let target = if size > wanted { wanted } else { new_set_replicas(spec, &sets.all(), size) };
        if size != target {
            sets.new = Some(self.scale_set(&d, spec, &new, target).await?);
        } else {
            self.scale_down_old(&d, spec, &mut sets).await?;
        }
        self.finish(d, spec, sets).await
    }

    /// Scales old sets down as far as availability permits: pods that are not available first, for they can only
    /// help a stuck rollout by going.
    async fn scale_down_old(&self, d: &Deployment, spec: &DeploymentSpec, sets: &mut Sets) -> kube::Result<()> {
        let Some(new) = sets.new.clone() else { return Ok(()) };
        let steps = old_set_steps(spec, &new, &sets.old);
        for (at, target) in steps {
            sets.old[at] = self.scale_set(d, spec, &sets.old[at].clone(), target).await?;
        }
        Ok(())
    }

    async fn recreate(&self, mut d: Deployment, spec: &DeploymentSpec, sets: Sets) -> kube::Result<Option<Duration>> {
        let mut sets = self.with_new_set(&mut d, spec, sets, false).await?;
        let mut scaled = false;
        for at in 0..sets.old.len() {
            if replicas(&sets.old[at]) > 0 {
                sets.old[at] = self.scale_set(&d, spec, &sets.old[at].clone(), 0).await?;
                scaled = true;
            }
        }
        if scaled || self.old_pods_running(&sets)? {
            return self.finish(d, spec, sets).await;
        }
        let mut sets = self.with_new_set(&mut d, spec, sets, true).await?;
        if let Some(new) = sets.new.clone()
            && replicas(&new) != desired(spec)
        {
            sets.new = Some(self.scale_set(&d, spec, &new, desired(spec)).await?);
        }
        self.finish(d, spec, sets).await
    }

    fn old_pods_running(&self, sets: &Sets) -> kube::Result<bool> {
        let pods = self.pods.store();
        for set in &sets.old {
            if set.status.as_ref().is_some_and(|status| status.replicas > 0)
                || pods.by_index(BY_CONTROLLER, uid(&**set))?.iter().any(|pod| !is_terminal(pod))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Cleans up when the rollout is complete, writes the status, and says when to look at the progress again.
    async fn finish(&self, mut d: Deployment, spec: &DeploymentSpec, sets: Sets) -> kube::Result<Option<Duration>> {
        if d.status.as_ref().is_some_and(|status| conditions::is_complete(&d, status)) {
            self.clean_up(spec, &sets.old).await?;
        }
        let status = rollout_status(&sets.all(), sets.new.as_deref(), &d, Timestamp::now());
        if d.status.as_ref() != Some(&status) {
            d.status = Some(status);
            self.write_status(&mut d).await?;
        }
        Ok(progress_check_after(&d, Timestamp::now()))
    }

    /// Finds (or makes) the set of the current template, and carries annotations and the revision over to it and
    /// back to the deployment.
    async fn with_new_set(
        &self,
        d: &mut Deployment,
        spec: &DeploymentSpec,
        mut sets: Sets,
        create: bool,
    ) -> kube::Result<Sets> {
        let revision = max_revision(&sets.old).saturating_add(1);
        let progress = has_deadline(spec);
        if let Some(existing) = sets.new.clone() {
            let mut changed = (*existing).clone();
            let annotated = annotate_new_set(d, spec, &mut changed, revision, true);
            let min_ready = spec.min_ready_seconds.filter(|seconds| *seconds != 0);
            let set_min_ready =
                existing.spec.as_ref().and_then(|spec| spec.min_ready_seconds).filter(|seconds| *seconds != 0);
            if annotated || min_ready != set_min_ready {
                let patch = json!({
                    "metadata": {"resourceVersion": existing.metadata.resource_version,
                        "annotations": changed.metadata.annotations},
                    "spec": {"minReadySeconds": min_ready},
                });
                sets.new = Some(Arc::new(self.patch_set(&existing, patch).await?));
            }
            let of_set = revision_of(&changed.metadata);
            let mut update = self.write_revision(d, of_set).await?;
            if progress && conditions::find(d.status.as_ref(), "Progressing").is_none() {
                let text = format!("Found new replica set \"{}\"", existing.name_any());
                set_condition(d.status.get_or_insert_default(), "Progressing", "True", "FoundNewReplicaSet", &text);
                update = true;
            }
            if update {
                self.write_status(d).await?;
            }
            return Ok(sets);
        }
        if create {
            let made = self.create_set(d, spec, &sets.old, revision).await?;
            sets.new = Some(made);
        }
        Ok(sets)
    }

    async fn create_set(
        &self,
        d: &mut Deployment,
        spec: &DeploymentSpec,
        old: &[Arc<ReplicaSet>],
        revision: i64,
    ) -> kube::Result<Arc<ReplicaSet>> {
        let collisions = d.status.as_ref().and_then(|status| status.collision_count);
        let hash = template_hash(&spec.template, collisions);
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH_LABEL.into(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
        let size = new_set_replicas(spec, old, 0);
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", d.name_any())),
                namespace: d.metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![controller_reference(d)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(size),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        annotate_new_set(d, spec, &mut set, revision, false);
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace_of(d));
        let name = set.name_any();
        let (made, existed) = match api.create(&PostParams::default(), &set).await {
            Ok(made) => (made, false),
            Err(error) if is_conflict(&error) => {
                let found = api.get(&name).await?;
                let mine = controller_of(&found.metadata).is_some_and(|owner| owner.uid == uid(d));
                if !(mine && has_template(&found, &spec.template)) {
                    // Another template has the same hash: the next pass salts it.
                    let status = d.status.get_or_insert_default();
                    status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
                    self.write_status(d).await?;
                    return Err(error);
                }
                (found, true)
            }
            Err(error) if is_namespace_terminating(&error) => return Err(error),
            Err(error) => {
                let text = format!("Failed to create new replica set \"{name}\": {}", message(&error));
                if has_deadline(spec) {
                    set_condition(
                        d.status.get_or_insert_default(),
                        "Progressing",
                        "False",
                        "ReplicaSetCreateError",
                        &text,
                    );
                    if let Err(error) = self.write_status(d).await {
                        tracing::debug!(deployment = %d.name_any(), %error, "could not report the failure");
                    }
                }
                self.recorder.event(d, EventType::Warning, "ReplicaSetCreateError", text);
                return Err(error);
            }
        };
        if !existed && size > 0 {
            let text = format!("Scaled up replica set {name} from 0 to {size}");
            self.recorder.event(d, EventType::Normal, "ScalingReplicaSet", text);
        }
        let mut update = self.write_revision(d, Some(revision)).await?;
        if !existed && has_deadline(spec) {
            let text = format!("Created new replica set \"{name}\"");
            set_condition(d.status.get_or_insert_default(), "Progressing", "True", "NewReplicaSetCreated", &text);
            update = true;
        }
        if update {
            self.write_status(d).await?;
        }
        Ok(Arc::new(made))
    }

    /// Gives the deployment its revision annotation when that changed, through its status as upstream does: there an
    /// annotation is no change of what is wanted, and a fresh deployment stays at generation 1. Never asks for a status
    /// write.
    async fn write_revision(&self, d: &mut Deployment, revision: Option<i64>) -> kube::Result<bool> {
        let Some(revision) = revision else { return Ok(false) };
        if revision_of(&d.metadata) == Some(revision) {
            return Ok(false);
        }
        d.metadata.annotations.get_or_insert_default().insert(REVISION.into(), revision.to_string());
        self.write_status(d).await?;
        Ok(false)
    }

    async fn patch_set(&self, set: &ReplicaSet, patch: serde_json::Value) -> kube::Result<ReplicaSet> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace_of(set));
        api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Sets the size of a set, with an event when it changes, and the annotations that proportional scaling reads.
    async fn scale_set(
        &self,
        d: &Deployment,
        spec: &DeploymentSpec,
        set: &Arc<ReplicaSet>,
        size: i32,
    ) -> kube::Result<Arc<ReplicaSet>> {
        let before = replicas(set);
        let mut changed = (**set).clone();
        if !annotate_sizes(spec, &mut changed) && before == size {
            return Ok(set.clone());
        }
        let patch = json!({
            "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": changed.metadata.annotations},
            "spec": {"replicas": size},
        });
        let scaled = self.patch_set(set, patch).await?;
        if before != size {
            let direction = if before < size { "up" } else { "down" };
            let text = format!("Scaled {direction} replica set {} from {before} to {size}", set.name_any());
            self.recorder.event(d, EventType::Normal, "ScalingReplicaSet", text);
        }
        Ok(Arc::new(scaled))
    }

    /// Brings the sets to the deployment's size without rolling on.
    async fn scale(&self, d: &Deployment, spec: &DeploymentSpec, sets: &Sets) -> kube::Result<()> {
        for (set, size) in proportional_sizes(spec, sets.new.as_ref(), &sets.old) {
            self.scale_set(d, spec, &set, size).await?;
        }
        Ok(())
    }

    /// Deletes the oldest empty sets beyond the history limit.
    async fn clean_up(&self, spec: &DeploymentSpec, old: &[Arc<ReplicaSet>]) -> kube::Result<()> {
        let Some(limit) = spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return Ok(()) };
        for set in beyond_history(old, usize::try_from(limit).unwrap_or(0)) {
            let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace_of(&*set));
            delete_exactly(&api, &*set).await?;
        }
        Ok(())
    }

    async fn write_status(&self, d: &mut Deployment) -> kube::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace_of(d));
        *d = api.replace_status(&d.name_any(), &PostParams::default(), d).await?;
        Ok(())
    }
}
