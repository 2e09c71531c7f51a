//! What a pod is allocated, and what its running containers have, on disk beside its volumes.
//!
//! A pod that was never resized has no file: its sandbox remembers what it was allocated at first, as a container does what it
//! was made with.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use coracle_files::{Durability, replace};
use coracle_runtime::cri::{ContainerState, ContainerStatus, PodSandbox};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::{Deserialize, Serialize};

use super::resizable;
use crate::sync::{Observed, RESOURCES};

/// The file of a pod's allocation.
const FILE: &str = "allocation.json";
/// The annotation in which a sandbox remembers what its pod was allocated when it was made.
pub(crate) const ALLOCATION: &str = "io.kubernetes.pod.allocation";

/// Requests and limits by container.
type Amounts = BTreeMap<String, ResourceRequirements>;

/// What a pod is allocated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Allocation {
    /// By the name of a container that can be resized.
    containers: Amounts,
    /// What running containers have where they were made with something else, by ID.
    #[serde(default)]
    actual: Amounts,
    /// The containers that run, and the pod as a whole, have what is allocated.
    settled: bool,
}

impl Allocation {
    /// Of a pod that gets all it asks for.
    pub(crate) fn of(pod: &Pod) -> Allocation {
        Allocation { containers: amounts(pod), actual: Amounts::new(), settled: true }
    }

    /// What is left of an earlier daemon's: of the file, else of what the sandbox and the containers remember. Blocks.
    pub(crate) fn restore(pod: &Pod, dir: &Path, observed: &Observed) -> Allocation {
        let file = dir.join(FILE);
        match std::fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(allocation) => return allocation,
                Err(error) => tracing::warn!(file = %file.display(), %error, "a pod's allocation cannot be read"),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = %file.display(), %error, "a pod's allocation cannot be read"),
        }
        let mut allocation = Allocation::of(pod);
        if let Some(known) = observed.sandbox.as_ref().and_then(remembered) {
            allocation.containers.extend(known);
        }
        allocation
    }

    /// The same for what the pod asks for now; nothing of it is in use yet.
    pub(crate) fn grant(&self, pod: &Pod, observed: &Observed) -> Allocation {
        let mut actual = self.actual.clone();
        actual.retain(|id, _| observed.by_id(id).is_some_and(|status| status.state == ContainerState::Running));
        Allocation { containers: amounts(pod), actual, settled: false }
    }

    /// All of it is in use.
    pub(crate) fn settle(&self) -> Allocation {
        Allocation { settled: true, ..self.clone() }
    }

    /// Something that runs has something else.
    pub(crate) fn unsettle(&mut self) {
        self.settled = false;
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Writes it down. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; then the file is what it was.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        replace(&dir.join(FILE), &text, 0o600, Durability::Kept)
    }

    /// What a sandbox is to remember.
    pub(crate) fn annotation(&self) -> String {
        serde_json::to_string(&self.containers).unwrap_or_default()
    }

    /// The pod with what it is allocated in the place of what it asks for.
    pub(crate) fn apply(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if !self.differs(pod) {
            return pod.clone();
        }
        let mut allocated = (**pod).clone();
        if let Some(spec) = &mut allocated.spec {
            for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
                if let Some(known) = self.containers.get(&container.name) {
                    container.resources = Some(known.clone());
                }
            }
        }
        Arc::new(allocated)
    }

    /// Whether a pod asks for something else.
    pub(crate) fn differs(&self, pod: &Pod) -> bool {
        let other = |container: &Container| {
            let known = self.containers.get(&container.name);
            known.is_some_and(|known| *known != container.resources.clone().unwrap_or_default())
        };
        resizable(pod).any(other)
    }

    /// What a running container has; nothing if it does not remember with what it was made.
    pub(crate) fn actual(&self, status: &ContainerStatus) -> Option<ResourceRequirements> {
        self.actual.get(&status.id).cloned().or_else(|| made_with(status))
    }

    /// A running container has something else now.
    pub(crate) fn put_actual(&mut self, id: &str, resources: ResourceRequirements) {
        self.actual.insert(id.to_owned(), resources);
    }
}

fn amounts(pod: &Pod) -> Amounts {
    let of = |container: &Container| (container.name.clone(), container.resources.clone().unwrap_or_default());
    resizable(pod).map(of).collect()
}

fn remembered(sandbox: &PodSandbox) -> Option<Amounts> {
    serde_json::from_str(sandbox.annotations.get(ALLOCATION)?).ok()
}

/// The resources that a container was made with, if it remembers them.
fn made_with(status: &ContainerStatus) -> Option<ResourceRequirements> {
    serde_json::from_str(status.annotations.get(RESOURCES)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::PodExt;
    use crate::testing::{container_status, sandbox};
    use serde_json::json;

    fn pod(cpu: &str) -> Arc<Pod> {
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let object = json!({"metadata": {"uid": "u"}, "spec": {
            "initContainers": [{"name": "i", "resources": resources("7m")}],
            "containers": [{"name": "a", "resources": resources(cpu)}]}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn cpu(pod: &Pod) -> String {
        crate::resources::request(&pod.spec().containers[0], "cpu").unwrap().0.clone()
    }

    #[test]
    fn what_was_written_down_is_what_the_next_daemon_begins_with() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("u");
        let observed = Observed::default();
        let mut allocation = Allocation::of(&pod("1")).grant(&pod("2"), &observed);
        allocation.put_actual("x", ResourceRequirements::default());
        allocation.save(&dir).unwrap();
        let restored = Allocation::restore(&pod("3"), &dir, &observed);
        assert_eq!(restored, allocation);
        assert!(!restored.is_settled());
        assert_eq!(cpu(&restored.apply(&pod("3"))), "2");
        std::fs::write(dir.join(FILE), "{").unwrap();
        assert_eq!(cpu(&Allocation::restore(&pod("3"), &dir, &observed).apply(&pod("3"))), "3");
    }

    #[test]
    fn a_pod_that_was_never_resized_has_what_its_sandbox_remembers() {
        let dir = tempfile::tempdir().unwrap();
        let mut observed = Observed { sandbox: Some(sandbox("u")), ..Default::default() };
        let first = Allocation::of(&pod("1"));
        observed.sandbox.as_mut().unwrap().annotations.insert(ALLOCATION.into(), first.annotation());
        let restored = Allocation::restore(&pod("2"), dir.path(), &observed);
        assert!(restored.differs(&pod("2")) && !restored.differs(&pod("1")));
    }

    #[test]
    fn a_container_has_what_it_was_made_with_until_it_is_updated() {
        let mut status = container_status("u", "a", 0, ContainerState::Running, 0);
        let mut allocation = Allocation::of(&pod("2"));
        assert_eq!(allocation.actual(&status), None);
        status.annotations.insert(RESOURCES.into(), r#"{"requests":{"cpu":"1"}}"#.into());
        let requests = |allocation: &Allocation| allocation.actual(&status).unwrap().requests.unwrap()["cpu"].0.clone();
        assert_eq!(requests(&allocation), "1");
        allocation.put_actual(&status.id, serde_json::from_value(json!({"requests": {"cpu": "2"}})).unwrap());
        assert_eq!(requests(&allocation), "2");
        // What has ended is forgotten.
        assert_eq!(requests(&allocation.grant(&pod("3"), &Observed::default())), "1");
    }
}
