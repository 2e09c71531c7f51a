//! The container runtime: images, snapshots, pod shims, containers, exec and attach streams.
//!
//! Owns: the content store, unpacked layers, overlay root filesystems, one shim process a pod, cgroups,
//! and container logs. Speaks CRI v1 (as the traits in [`cri`]) and OCI, and knows nothing of Kubernetes
//! objects. The pod network is reached through [`cri::SandboxNetwork`]; it never configures links itself.
mod caps;
mod cgroup;
pub mod cri;
mod image;
mod runtime;
mod seccomp;
mod shim;
mod sys;
pub mod tree;

pub use image::{Archived, ImageStore, LocalRegistry, Reference, Room};
pub use runtime::{Runtime, RuntimeConfig};
pub use shim::shim_main;
pub use sys::{MOUNT_ATTR_RDONLY, MountAttributes, name_process, set_mount_attributes};
