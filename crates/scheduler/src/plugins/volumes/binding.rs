//! VolumeBinding: a node takes a pod if it reaches the volumes of its claims, and those that have none yet can get one there.
//! They are bound, or made, before the pod is.
//! <https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode>

use std::sync::Arc;
use std::time::Duration;

use coracle_matching::nodes::Place;

use super::claims::PodClaims;
use super::decide::Conflict;
use crate::framework::{Actions, Handle, Plugin, PreBind, PreFilter, Prepared, Refusal, Scope, Verdict};
use crate::pod::PodInfo;
use crate::table::Table;

pub(crate) const NAME: &str = "VolumeBinding";

/// The plugin, with its arguments.
pub(crate) struct VolumeBinding {
    /// How long a pod waits for its volumes before it is scheduled anew.
    pub timeout: Duration,
}

impl Default for VolumeBinding {
    fn default() -> Self {
        VolumeBinding { timeout: Duration::from_secs(600) }
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scope(&self) -> Scope {
        Scope::Pod
    }

    fn pre_filter(&self, pod: &PodInfo, table: &Table) -> Result<PreFilter, Refusal> {
        let claims = table.volumes.claims_of(&pod.pod).map_err(|why| Refusal::told(NAME, why, false))?;
        let filter = claims.map(|claims| Box::new(Claims(claims)) as Box<dyn Prepared>);
        Ok(PreFilter { nodes: None, filter })
    }

    fn reserve(&self, pod: &Arc<PodInfo>, node: usize, table: &mut Table) -> Verdict {
        let claims = table.volumes.claims_of(&pod.pod).map_err(|why| Refusal::told(NAME, why, false))?;
        let Some(claims) = claims else { return Ok(()) };
        let node = table.node(node);
        let decisions = table.volumes.on_node(&claims, node.place()).map_err(refusal)?;
        table.volumes.reserve(&pod.uid, &decisions, &node.name);
        Ok(())
    }

    fn unreserve(&self, pod: &Arc<PodInfo>, _node: &str, table: &mut Table) {
        table.volumes.unreserve(&pod.uid);
    }

    fn pre_bind(&self, pod: &Arc<PodInfo>, node: usize, table: &Table, handle: &Handle) -> Option<PreBind> {
        if !table.volumes.has_reserved(&pod.uid) {
            return None;
        }
        let (volumes, client, pod, timeout) = (table.volumes.clone(), handle.client.clone(), pod.clone(), self.timeout);
        let (name, labels) = (table.node(node).name.clone(), table.node(node).labels.clone());
        Some(Box::pin(async move {
            let node = Place { name: &name, labels: &labels };
            let bound = volumes.bind(&client, &pod.uid, node, timeout).await;
            bound.map_err(|why| format!("running PreBind plugin {NAME:?}: binding volumes: {why}"))
        }))
    }

    fn events(&self) -> Actions {
        let of_nodes =
            Actions::NODE_ADD | Actions::NODE_LABEL | Actions::CSI_NODE | Actions::CSI_DRIVER | Actions::CSI_CAPACITY;
        of_nodes | Actions::CLAIM | Actions::VOLUME | Actions::STORAGE_CLASS | Actions::OWN_UPDATE
    }
}

struct Claims(PodClaims);

impl Prepared for Claims {
    fn filter(&self, _pod: &PodInfo, node: usize, table: &Table) -> Verdict {
        table.volumes.on_node(&self.0, table.node(node).place()).map(drop).map_err(refusal)
    }
}

fn refusal(conflicts: Vec<Conflict>) -> Refusal {
    let reasons = conflicts.into_iter().map(|conflict| conflict.text().into()).collect();
    Refusal { plugin: NAME, reasons, resolvable: false }
}
