//! `local` volumes: a directory of the node, or a block device of it, as a file system or as it is.
//!
//! A device is mounted once for the node and from there bound into each pod. One that is empty is given a file system
//! first ([`format`](super::format)).

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::LocalVolumeSource;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::format::{file_system, is_blank, make_file_system};
use super::kind::{SetUp, Usage, Volume};
use super::{mount, ownership, quota};
use crate::provisioner::directory_of;

/// A directory or device of the node that a PersistentVolume names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Local {
    /// Name of the PersistentVolume.
    volume: String,
    path: PathBuf,
    fs_type: String,
    options: Vec<String>,
    /// Containers are given the device itself.
    block: bool,
    /// How many bytes the directory has at most, if it is one that was made for the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<u64>,
}

impl Local {
    /// As the PersistentVolume `volume` says.
    pub(super) fn new(volume: &str, source: &LocalVolumeSource, options: Vec<String>, block: bool) -> Local {
        let fs_type = source.fs_type.clone().unwrap_or_default();
        let path = source.path.clone().into();
        Local { volume: volume.to_owned(), path, fs_type, options, block, room: None }
    }

    /// With a directory that has so many bytes, where the file system keeps count.
    pub(super) fn with_room(self, room: Option<u64>) -> Local {
        Local { room, ..self }
    }

    /// The directory that was made for the volume, if one was, and how many bytes it has at most.
    pub(crate) fn provisioned(&self) -> Option<(&Path, u64)> {
        Some((&self.path, self.room?))
    }

    /// Looks for a directory that was made for the volume where the kubelet's are now: they may have been moved.
    pub(super) fn find(&mut self, root_dir: &Path) {
        if let Some(dir) = directory_of(root_dir, &self.volume).filter(|_| self.room.is_some()) {
            self.path = dir;
        }
    }

    fn meta(&self) -> Result<Metadata, String> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("path \"{path}\" does not exist")),
            other => other.map_err(|error| format!("failed to look at \"{path}\": {error}")),
        }
    }

    fn bind(&self, at: &Path, staged: &Path, read_only: bool) -> Result<(), String> {
        let meta = self.meta()?;
        let source = match () {
            () if meta.is_dir() => self.path.as_path(),
            () if meta.file_type().is_block_device() => staged,
            () => return Err(format!("\"{}\" is neither a directory nor a block device", self.path.display())),
        };
        let (mut flags, data) = mount::parse(&self.options);
        if meta.is_dir() && !data.is_empty() {
            return Err(format!("mount options {} are of no directory", data.join(",")));
        }
        flags.set(MountFlags::RDONLY, flags.contains(MountFlags::RDONLY) || read_only);
        mount::bind(source, at, flags)
            .map_err(|error| format!("failed to bind {} to {}: {error}", source.display(), at.display()))
    }
}

impl Volume for Local {
    fn plugin(&self) -> &'static str {
        "local-volume"
    }

    fn device(&self) -> Option<&str> {
        (!self.block).then_some(&self.volume)
    }

    fn stage(&self, at: &Path) -> Result<(), String> {
        if !self.meta()?.file_type().is_block_device() || mount::is_mounted(at) {
            return Ok(());
        }
        let fail = |error: io::Error| format!("failed to mount {} at {}: {error}", self.path.display(), at.display());
        let found = file_system(&self.path).map_err(fail)?;
        let (flags, data) = mount::parse(&self.options);
        let kind = match found {
            // One that is not known here may be known to the kernel.
            None if !is_blank(&self.path).map_err(fail)? && !self.fs_type.is_empty() => self.fs_type.clone(),
            None => make_file_system(&self.path, &self.fs_type, flags.contains(MountFlags::RDONLY))?,
            Some(found) if self.fs_type.is_empty() => found.to_owned(),
            Some(_) => self.fs_type.clone(),
        };
        super::make_private(at).map_err(fail)?;
        let data = std::ffi::CString::new(data.join(",")).map_err(|error| fail(error.into()))?;
        let mount = |flags| rustix::mount::mount(&self.path, at, &*kind, flags, data.as_c_str());
        let mounted = match mount(flags) {
            // A device that cannot be written to is there to be read.
            Err(Errno::ACCESS | Errno::ROFS) => mount(flags | MountFlags::RDONLY),
            other => other,
        };
        mounted.map_err(|error| fail(error.into()))
    }

    fn unstage(&self, at: &Path) -> io::Result<()> {
        if at.exists() { mount::take_away_with_place(at) } else { Ok(()) }
    }

    fn set_up(&self, at: &Path, request: &SetUp<'_>) -> Result<PathBuf, String> {
        if self.block {
            return match self.meta()?.file_type().is_block_device() {
                true => Ok(self.path.clone()),
                false => Err(format!("\"{}\" is not a block device", self.path.display())),
            };
        }
        if let Some(room) = self.room.filter(|_| request.first) {
            quota::limit(&self.path, &self.volume, room);
        }
        if !mount::is_mounted(at) {
            self.bind(at, request.staged, request.read_only)?;
        }
        if let Some(group) = request.fs_group.filter(|_| request.first && !request.read_only) {
            ownership::give(at, group, false).map_err(|error| format!("failed to apply fsGroup: {error}"))?;
        }
        Ok(at.to_owned())
    }

    fn tear_down(&self, at: &Path) -> io::Result<()> {
        if at.exists() { mount::take_away_with_place(at) } else { Ok(()) }
    }

    fn usage(&self, at: &Path) -> Option<Usage> {
        if self.block { None } else { Usage::of_file_system(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_own_mounts;
    use crate::volumes::ownership::FsGroup;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn local(path: &Path, options: &[&str], block: bool) -> Local {
        let source = LocalVolumeSource { path: path.to_string_lossy().into_owned(), fs_type: None };
        Local::new("pv", &source, options.iter().map(ToString::to_string).collect(), block)
    }

    fn request(read_only: bool) -> SetUp<'static> {
        let group = FsGroup { group: 77, on_root_mismatch: false };
        SetUp { staged: Path::new("/none"), first: true, fs_group: Some(group), read_only, payload: None }
    }

    #[test]
    fn a_directory_is_bound_into_the_pod_and_outlives_it() {
        with_own_mounts(|| {
            let root = tempfile::tempdir().unwrap();
            let (disk, at) = (root.path().join("disk"), root.path().join("pod/pv"));
            let volume = local(&disk, &[], false);
            let missing = volume.set_up(&at, &request(false)).unwrap_err();
            assert_eq!(missing, format!("path \"{}\" does not exist", disk.display()));
            fs::create_dir(&disk).unwrap();
            for _ in 0..2 {
                assert_eq!(volume.set_up(&at, &request(false)).unwrap(), at);
            }
            fs::write(at.join("data"), "x").unwrap();
            assert_eq!(fs::metadata(&disk).unwrap().gid(), 77);
            assert!(volume.usage(&at).unwrap().capacity > 0);
            for _ in 0..2 {
                volume.tear_down(&at).unwrap();
            }
            assert!(!at.exists() && disk.join("data").exists());
            let read_only = local(&disk, &["noexec"], false);
            read_only.set_up(&at, &request(true)).unwrap();
            assert!(fs::write(at.join("new"), "x").is_err());
            read_only.tear_down(&at).unwrap();
            assert!(local(&disk, &["data=ordered"], false).set_up(&at, &request(false)).is_err());
            assert!(
                local(&disk, &[], true).set_up(&at, &request(false)).unwrap_err().ends_with("is not a block device")
            );
        });
    }
}
