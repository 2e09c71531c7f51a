//! `emptyDir` volumes, on disk or in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::kind::{SetUp, Usage, Volume};
use super::{memory, mount, ownership};
use crate::quantity::value;

/// A directory that lives as long as its pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EmptyDir {
    /// It is in memory, where it has at most so many bytes.
    memory: bool,
    size: Option<i64>,
}

impl EmptyDir {
    /// As its source says; `most` bounds one in memory besides its own limit.
    ///
    /// # Errors
    /// When the medium is not known.
    pub(super) fn new(source: &EmptyDirVolumeSource, most: Option<i64>) -> Result<EmptyDir, String> {
        let medium = source.medium.as_deref().unwrap_or_default();
        if !matches!(medium, "" | "Memory") {
            return Err(format!("unknown storage medium {medium:?}"));
        }
        let own = source.size_limit.as_ref().map(value).filter(|size| *size > 0);
        Ok(EmptyDir { memory: medium == "Memory", size: own.into_iter().chain(most).min() })
    }

    /// Whether it is in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        self.memory
    }
}

impl Volume for EmptyDir {
    fn plugin(&self) -> &'static str {
        "empty-dir"
    }

    fn set_up(&self, at: &Path, request: &SetUp<'_>) -> Result<PathBuf, String> {
        let fail = |error: std::io::Error| format!("failed to make {}: {error}", at.display());
        // One that is there keeps its contents and its mode. Earlier versions left a file that said so.
        let is_whole = !request.first || at.with_extension("ready").exists();
        if is_whole && at.is_dir() && (!self.memory || mount::is_mounted(at)) {
            return Ok(at.to_owned());
        }
        std::fs::create_dir_all(at).map_err(fail)?;
        match self.memory {
            true => memory::mount(at, MountFlags::empty(), self.size).map_err(fail)?,
            false => std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o777)).map_err(fail)?,
        }
        if let Some(group) = request.fs_group {
            ownership::give(at, group, false).map_err(fail)?;
        }
        Ok(at.to_owned())
    }

    fn tear_down(&self, at: &Path) -> std::io::Result<()> {
        if self.memory { mount::take_away(at) } else { Ok(()) }
    }

    fn usage(&self, at: &Path) -> Option<Usage> {
        if self.memory { Usage::of_file_system(at) } else { Usage::of_directory(at) }
    }
}
