//! Lets volumes grow, in the order of an external resizer: the claim tells what is under way, the volume has the new size, so
//! has the directory if something keeps count of it, the claim has it.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims>

use anyhow::Result;
use coracle_client::EventType;
use coracle_matching::claims::{capacity, claim_of, requested};
use coracle_values::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::PostParams;

use super::claim::{bytes, named_volume};
use super::{Provisioner, volume};

const STORAGE: &str = "storage";

impl Provisioner {
    /// Gives a claim the size that it asks for, if its volume is of this node.
    pub(super) async fn grow(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let name = named_volume(claim).unwrap_or_default();
        let Some(volume) = self.volumes.store().get("", name) else { return Ok(()) };
        let is_its = claim_of(&volume).is_some_and(|other| other.uid == claim.metadata.uid);
        let is_bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
        if !is_its || !is_bound || !volume::is_ours(&volume) || !self.is_here(&volume) || !wants_more(claim) {
            return Ok(());
        }
        let claim = self.begin(claim, name).await?;
        if requested(&claim) > capacity(&volume) {
            let mut grown: PersistentVolume = (*volume).clone();
            let size = size(&claim);
            grown.spec.get_or_insert_default().capacity.get_or_insert_default().insert(STORAGE.into(), size);
            self.volumes_api().replace(name, &PostParams::default(), &grown).await?;
        }
        self.directories.limit(name, bytes(&claim)).await?;
        self.finish(&claim).await
    }

    async fn begin(&self, claim: &PersistentVolumeClaim, volume: &str) -> Result<PersistentVolumeClaim> {
        let mut begun = claim.clone();
        let wanted = size(claim);
        let status = begun.status.get_or_insert_default();
        status.allocated_resources.get_or_insert_default().insert(STORAGE.into(), wanted);
        let states = status.allocated_resource_statuses.get_or_insert_default();
        states.insert(STORAGE.into(), "ControllerResizeInProgress".into());
        let conditions = status.conditions.get_or_insert_default();
        if conditions.iter().all(|condition| condition.type_ != "Resizing") {
            conditions.push(PersistentVolumeClaimCondition {
                type_: "Resizing".into(),
                status: "True".into(),
                last_transition_time: Some(Time(now())),
                ..PersistentVolumeClaimCondition::default()
            });
        }
        let text = format!("External resizer is resizing volume {volume}");
        self.recorder.event(claim, EventType::Normal, "Resizing", text);
        Ok(self.claims_api(claim).replace_status(&claim.name_any(), &PostParams::default(), &begun).await?)
    }

    async fn finish(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let mut grown = claim.clone();
        let wanted = size(claim);
        let status = grown.status.get_or_insert_default();
        status.capacity.get_or_insert_default().insert(STORAGE.into(), wanted);
        if let Some(states) = &mut status.allocated_resource_statuses {
            states.remove(STORAGE);
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|one| !matches!(one.type_.as_str(), "Resizing" | "FileSystemResizePending"));
        }
        self.claims_api(claim).replace_status(&claim.name_any(), &PostParams::default(), &grown).await?;
        self.recorder.event(claim, EventType::Normal, "VolumeResizeSuccessful", "Resize volume succeeded");
        Ok(())
    }
}

/// Whether a claim asks for more than it has.
fn wants_more(claim: &PersistentVolumeClaim) -> bool {
    let has = claim.status.as_ref().and_then(|status| status.capacity.as_ref()).and_then(|all| all.get(STORAGE));
    has.and_then(|text| text.0.parse::<Quantity>().ok()).is_some_and(|has| requested(claim) > has)
}

/// The size that a claim asks for, as it is written.
fn size(claim: &PersistentVolumeClaim) -> Text {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    requests.and_then(|requests| requests.get(STORAGE).cloned()).unwrap_or_default()
}

fn now() -> Timestamp {
    // The API keeps whole seconds.
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
