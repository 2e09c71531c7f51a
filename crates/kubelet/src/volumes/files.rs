//! Volumes that the kubelet writes: it alone, and containers only read.

use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::kind::{SetUp, Usage, Volume};
use super::{atomic, memory, mount};

/// Which source the files are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Files {
    /// `configMap`.
    ConfigMap,
    /// `secret`.
    Secret,
    /// `downwardAPI`.
    DownwardApi,
    /// `projected`.
    Projected,
}

impl Volume for Files {
    fn plugin(&self) -> &'static str {
        match self {
            Files::ConfigMap => "configmap",
            Files::Secret => "secret",
            Files::DownwardApi => "downward-api",
            Files::Projected => "projected",
        }
    }

    fn set_up(&self, at: &Path, request: &SetUp<'_>) -> Result<PathBuf, String> {
        let Some(payload) = request.payload else { return Err("there is nothing to write".to_owned()) };
        // One that an earlier version wrote to the disk stays where its containers look.
        if *self != Files::ConfigMap && !atomic::is_written(at) {
            memory::mount(at, MountFlags::NODEV | MountFlags::NOSUID, None)
                .map_err(|error| format!("failed to mount {}: {error}", at.display()))?;
        }
        let group = request.fs_group.map(|to| i64::from(to.group));
        atomic::write(at, payload, group).map_err(|error| format!("failed to write {}: {error}", at.display()))?;
        Ok(at.to_owned())
    }

    fn tear_down(&self, at: &Path) -> std::io::Result<()> {
        mount::take_away(at)
    }

    fn usage(&self, at: &Path) -> Option<Usage> {
        if mount::is_mounted(at) { Usage::of_file_system(at) } else { Usage::of_directory(at) }
    }
}
