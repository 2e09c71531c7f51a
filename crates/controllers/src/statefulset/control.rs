//! Carries out what a StatefulSet plans, with the events that tell of it.

use std::collections::BTreeSet;

use anyhow::bail;
use coracle_client::{EventRecorder, EventType, Informer, is_conflict, is_not_found};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::identity::{claims, conformed, ordinal_of};
use super::plan::Plan;
use super::retention::wanted_owners;
use crate::common::{delete_exactly, is_already_there, is_deleting, is_namespace_terminating, message, namespace_of};
use crate::pod_control::slow_start;

/// Writes the pods and claims of sets.
pub(super) struct Control {
    pub client: Client,
    pub claims: Informer<PersistentVolumeClaim>,
    pub recorder: EventRecorder,
}

impl Control {
    /// Does all of a plan; `new_pod` is the pod of an ordinal. A pod that could not be mended is not deleted either: its
    /// claims would be left behind. The others go on. Returns the first failure.
    pub async fn carry_out(&self, set: &StatefulSet, plan: &Plan, new_pod: impl Fn(i32) -> Pod) -> anyhow::Result<()> {
        let (mut failed, mut stuck) = (None, BTreeSet::new());
        for pod in &plan.mend {
            if let Err(error) = self.mend(set, pod).await {
                stuck.insert(pod.name_any());
                failed.get_or_insert(error);
            }
        }
        for pod in &plan.hand_over {
            if let Err(error) = self.hand_over_claims(set, pod).await {
                stuck.insert(pod.name_any());
                failed.get_or_insert(error);
            }
        }
        let create = |at: usize| {
            let pod = new_pod(plan.create[at]);
            async move { self.create_pod(set, pod).await }
        };
        let (_, not_made) = slow_start(plan.create.len(), create).await;
        let deleted = plan.delete.iter().filter(|pod| !stuck.contains(&pod.name_any()));
        let deletions = join_all(deleted.map(|pod| self.delete_pod(set, pod))).await;
        failed.or(not_made).map_or(Ok(()), Err)?;
        deletions.into_iter().collect()
    }

    /// Makes a pod, after its claims.
    async fn create_pod(&self, set: &StatefulSet, pod: Pod) -> anyhow::Result<()> {
        if let Err(error) = self.create_claims(set, &pod).await {
            self.tell(set, "create", &pod, Err(&format!("{error:#}")));
            return Err(error);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace_of(set));
        match api.create(&PostParams::default(), &pod).await {
            Ok(pod) => {
                self.tell(set, "create", &pod, Ok(()));
                self.hand_over_claims(set, &pod).await
            }
            Err(error) => {
                if !is_already_there(&error) && !is_namespace_terminating(&error) {
                    self.tell(set, "create", &pod, Err(&message(&error)));
                }
                Err(error.into())
            }
        }
    }

    async fn delete_pod(&self, set: &StatefulSet, pod: &Pod) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace_of(set));
        match delete_exactly(&api, pod).await {
            Ok(true) => self.tell(set, "delete", pod, Ok(())),
            Ok(false) => {}
            Err(error) => {
                self.tell(set, "delete", pod, Err(&message(&error)));
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Gives a pod the labels and claims of its ordinal, and the claims the owners that the policy wants.
    async fn mend(&self, set: &StatefulSet, pod: &Pod) -> anyhow::Result<()> {
        let Some(ordinal) = ordinal_of(set, pod) else { return Ok(()) };
        if let Err(error) = self.create_claims(set, pod).await {
            self.tell(set, "update", pod, Err(&format!("{error:#}")));
            return Err(error);
        }
        self.hand_over_claims(set, pod).await?;
        let Some(conformed) = conformed(set, pod, ordinal) else { return Ok(()) };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace_of(set));
        match api.replace(&pod.name_any(), &PostParams::default(), &conformed).await {
            Ok(_) => self.tell(set, "update", pod, Ok(())),
            Err(error) if is_conflict(&error) || is_not_found(&error) => {}
            Err(error) => {
                self.tell(set, "update", pod, Err(&message(&error)));
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes the claims of a pod that are missing. One that is being deleted is nobody's any more.
    async fn create_claims(&self, set: &StatefulSet, pod: &Pod) -> anyhow::Result<()> {
        let Some(ordinal) = ordinal_of(set, pod) else { return Ok(()) };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace_of(set));
        for claim in claims(set, ordinal) {
            let name = claim.name_any();
            match self.claims.store().get(namespace_of(set), &name) {
                Some(found) if is_deleting(&*found) => bail!("pvc {name} is being deleted"),
                Some(_) => continue,
                None => {}
            }
            match api.create(&PostParams::default(), &claim).await {
                Ok(_) => self.tell_of_claim(set, pod, &name, Ok(())),
                Err(error) if is_already_there(&error) => {}
                Err(error) => {
                    self.tell_of_claim(set, pod, &name, Err(&message(&error)));
                    return Err(anyhow::Error::from(error).context(format!("failed to create PVC {name}")));
                }
            }
        }
        Ok(())
    }

    /// Gives the claims of a pod the owners that the policy wants.
    async fn hand_over_claims(&self, set: &StatefulSet, pod: &Pod) -> anyhow::Result<()> {
        let Some(ordinal) = ordinal_of(set, pod) else { return Ok(()) };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace_of(set));
        for claim in claims(set, ordinal) {
            let Some(found) = self.claims.store().get(namespace_of(set), &claim.name_any()) else { continue };
            let Some(owners) = wanted_owners(&found, set, pod) else { continue };
            let mut owned = (*found).clone();
            owned.metadata.owner_references = Some(owners);
            match api.replace(&claim.name_any(), &PostParams::default(), &owned).await {
                // One that is gone needs no owner.
                Err(error) if is_not_found(&error) => {}
                done => drop(done?),
            }
        }
        Ok(())
    }

    fn tell(&self, set: &StatefulSet, verb: &str, pod: &Pod, done: Result<(), &str>) {
        let of = format!("{verb} Pod {} in StatefulSet {}", pod.name_any(), set.name_any());
        self.record(set, verb, done.map(|()| format!("{of} successful")).map_err(|why| (of.clone(), why)));
    }

    fn tell_of_claim(&self, set: &StatefulSet, pod: &Pod, claim: &str, done: Result<(), &str>) {
        let (pod, name) = (pod.name_any(), set.name_any());
        let succeeded = format!("create Claim {claim} Pod {pod} in StatefulSet {name} success");
        let failed = format!("create Claim {claim} for Pod {pod} in StatefulSet {name}");
        self.record(set, "create", done.map(|()| succeeded).map_err(|why| (failed, why)));
    }

    fn record(&self, set: &StatefulSet, verb: &str, told: Result<String, (String, &str)>) {
        let (of_success, of_failure) = match verb {
            "create" => ("SuccessfulCreate", "FailedCreate"),
            "delete" => ("SuccessfulDelete", "FailedDelete"),
            _ => ("SuccessfulUpdate", "FailedUpdate"),
        };
        match told {
            Ok(text) => self.recorder.event(set, EventType::Normal, of_success, text),
            Err((of, why)) => {
                self.recorder.event(set, EventType::Warning, of_failure, format!("{of} failed error: {why}"));
            }
        }
    }
}
