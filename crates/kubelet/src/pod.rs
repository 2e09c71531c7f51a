//! Questions one asks of a pod.

use coracle_client::object_reference;
pub use coracle_matching::pods::is_sidecar;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, ObjectReference, Pod, PodSpec, VolumeMount};
use std::sync::LazyLock;

static EMPTY_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

/// Short-hands over the optional fields of a [`Pod`].
pub trait PodExt {
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`.
    fn namespace(&self) -> &str;
    /// `spec`, empty when there is none.
    fn spec(&self) -> &PodSpec;
    /// `name_namespace(uid)`, as messages name a pod.
    fn describe(&self) -> String;
    /// Init containers.
    fn init_containers(&self) -> &[Container];
    /// A container or init container by name.
    fn container(&self, name: &str) -> Option<&Container>;
    /// `status.phase`, empty when there is none.
    fn phase(&self) -> &str;
    /// Whether its deletion was asked for.
    fn is_deleted(&self) -> bool;
    /// `spec.restartPolicy`.
    fn restart_policy(&self) -> &str;
    /// Whether it shares the node's network.
    fn host_network(&self) -> bool;
    /// The object of an event about one of its containers.
    fn container_reference(&self, container: &str) -> ObjectReference;
}

impl PodExt for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
    fn spec(&self) -> &PodSpec {
        self.spec.as_ref().unwrap_or(&EMPTY_SPEC)
    }
    fn describe(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }
    fn init_containers(&self) -> &[Container] {
        self.spec().init_containers.as_deref().unwrap_or_default()
    }
    fn container(&self, name: &str) -> Option<&Container> {
        self.spec().containers.iter().chain(self.init_containers()).find(|container| container.name == name)
    }
    fn phase(&self) -> &str {
        self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }
    fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
    fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }
    fn host_network(&self) -> bool {
        self.spec().host_network.unwrap_or(false)
    }
    fn container_reference(&self, container: &str) -> ObjectReference {
        let field = if self.init_containers().iter().any(|init| init.name == container) {
            "initContainers"
        } else if self.spec().containers.iter().any(|regular| regular.name == container) {
            "containers"
        } else {
            "ephemeralContainers"
        };
        ObjectReference { field_path: Some(format!("spec.{field}{{{container}}}")), ..object_reference(self) }
    }
}

/// How long a pod has to end, if it asked for so many seconds: a negative number counts as 1, as it does for a deletion.
pub fn grace_seconds(asked: Option<i64>) -> u64 {
    u64::try_from(asked.unwrap_or(30)).unwrap_or(1)
}

/// An ephemeral container as a plain one: it has the same fields but for its target.
pub fn ephemeral_as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        name: e.name,
        image: e.image,
        command: e.command,
        args: e.args,
        env: e.env,
        env_from: e.env_from,
        image_pull_policy: e.image_pull_policy,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        working_dir: e.working_dir,
        volume_mounts: e.volume_mounts,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        resources: e.resources,
        ..Default::default()
    }
}

/// Whether a mount and all that is mounted in it are read-only: this runtime always can, so `IfPossible` is yes.
pub fn is_recursively_read_only(mount: &VolumeMount) -> bool {
    mount.read_only == Some(true) && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"))
}

/// A stable 32-bit FNV-1a hash in hex, as container hashes are written.
pub fn fnv_hex(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

/// The hash of what of a container cannot change without a restart: its name and image, as upstream's.
pub fn container_hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    fnv_hex(serde_json::json!({"name": container.name, "image": image}).to_string().as_bytes())
}
