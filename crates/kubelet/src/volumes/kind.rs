//! What every type of volume does, and how it is written down so that another daemon can do it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::empty_dir::EmptyDir;
use super::files::Files;
use super::host_path::HostPath;
use super::local::Local;
use super::nfs::Nfs;
use super::ownership::FsGroup;
use super::payload::Payload;

/// One volume of one pod. Everything here blocks, is idempotent, and is only asked for one pod at a time.
///
/// A type that works in two steps, once for the node and then for each pod, has a [`Volume::device`]: it is staged
/// before the first pod's set-up and unstaged after the last pod's tear-down, as CSI has it.
pub(crate) trait Volume {
    /// The plugin's name as upstream has it in paths, without `kubernetes.io~`.
    fn plugin(&self) -> &'static str;

    /// Whether it is made in the pod's directory; one that is used where it is on the node is not.
    fn is_in_pods_directory(&self) -> bool {
        true
    }

    /// What pods of the node share, and is staged once for all of them: the name of the PersistentVolume. Only one pod at
    /// a time sets it up or tears it down.
    fn device(&self) -> Option<&str> {
        None
    }

    /// Makes what all pods of the node share, at `at`, whatever one of them wants of it.
    ///
    /// # Errors
    /// With what the `FailedMount` event says.
    fn stage(&self, _at: &Path) -> Result<(), String> {
        Ok(())
    }

    /// Takes away what `stage` made, if it did.
    ///
    /// # Errors
    /// When something is left.
    fn unstage(&self, _at: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Makes the volume at `at`, a path of the pod's own directory, or finds it there; answers with the path that
    /// containers are given: a directory, a file, or a device.
    ///
    /// # Errors
    /// With what the `FailedMount` event says.
    fn set_up(&self, at: &Path, request: &SetUp<'_>) -> Result<PathBuf, String>;

    /// Takes away what `set_up` mounted. Directories and files at `at` go with the pod's directory.
    ///
    /// # Errors
    /// When something is left.
    fn tear_down(&self, _at: &Path) -> io::Result<()> {
        Ok(())
    }

    /// How much is in it; `None` where that says nothing.
    fn usage(&self, _at: &Path) -> Option<Usage> {
        None
    }
}

/// What a set-up is for.
pub(crate) struct SetUp<'a> {
    /// Where the volume was staged, if it is.
    pub(crate) staged: &'a Path,
    /// It was never whole before.
    pub(crate) first: bool,
    /// The group that it is given to; none where another pod has it already.
    pub(crate) fs_group: Option<FsGroup>,
    /// Nobody may write to it.
    pub(crate) read_only: bool,
    /// What the kubelet writes into it.
    pub(crate) payload: Option<&'a Payload>,
}

/// How full a volume is. What a type does not know is that of the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of the file system.
    pub(crate) capacity: u64,
    /// Bytes that may still be written.
    pub(crate) available: u64,
    /// Bytes of the volume.
    pub(crate) used: u64,
    /// Inodes of the file system.
    pub(crate) inodes: u64,
    /// Those that are free.
    pub(crate) inodes_free: u64,
    /// Inodes of the volume.
    pub(crate) inodes_used: u64,
}

impl Usage {
    /// Of the file system that has a path.
    pub(crate) fn of_file_system(path: &Path) -> Option<Usage> {
        let found = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Usage {
            capacity: bytes(found.f_blocks),
            available: bytes(found.f_bavail),
            used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
            inodes: found.f_files,
            inodes_free: found.f_ffree,
            inodes_used: found.f_files.saturating_sub(found.f_ffree),
        })
    }

    /// Of a directory, counted.
    pub(crate) fn of_directory(dir: &Path) -> Option<Usage> {
        let taken = coracle_runtime::tree::taken(dir);
        Some(Usage { used: taken.bytes, inodes_used: taken.inodes, ..Usage::of_file_system(dir)? })
    }
}

/// A volume of any type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// `emptyDir`.
    EmptyDir(EmptyDir),
    /// `hostPath`.
    HostPath(HostPath),
    /// What the kubelet writes: `configMap`, `secret`, `downwardAPI`, `projected`.
    Files(Files),
    /// `local`.
    Local(Local),
    /// `nfs`.
    Nfs(Nfs),
}

impl Kind {
    /// Whether it is on the node's own disk and ends with its pod.
    pub(crate) fn is_on_nodes_disk(&self) -> bool {
        match self {
            Kind::EmptyDir(volume) => !volume.is_in_memory(),
            Kind::Files(files) => *files == Files::ConfigMap,
            Kind::HostPath(_) | Kind::Local(_) | Kind::Nfs(_) => false,
        }
    }

    /// What it does.
    pub(crate) fn volume(&self) -> &dyn Volume {
        match self {
            Kind::EmptyDir(volume) => volume,
            Kind::HostPath(volume) => volume,
            Kind::Files(volume) => volume,
            Kind::Local(volume) => volume,
            Kind::Nfs(volume) => volume,
        }
    }
}
