//! `emptyDir` volumes, on disk or in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::{MountFlags, mount};

use super::own_by_group;
use crate::quantity::value;

/// Makes the directory; one that is there keeps its contents.
pub(super) fn make(dir: &Path, source: &EmptyDirVolumeSource, fs_group: Option<i64>) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("failed to make {}: {error}", dir.display());
    let medium = source.medium.as_deref().unwrap_or_default();
    if !matches!(medium, "" | "Memory") {
        return Err(format!("unknown storage medium {medium:?}"));
    }
    let ready = dir.with_extension("ready");
    if ready.exists() && (medium.is_empty() || is_mount_point(dir)) {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(fail)?;
    if medium == "Memory" && !is_mount_point(dir) {
        let size = source.size_limit.as_ref().map(value).filter(|size| *size > 0);
        let options = size.map_or("mode=0777".to_owned(), |size| format!("mode=0777,size={size}"));
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        mount("tmpfs", dir, "tmpfs", MountFlags::empty(), options.as_c_str()).map_err(|error| fail(error.into()))?;
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).map_err(fail)?;
    if let Some(group) = fs_group {
        own_by_group(dir, group, false).map_err(fail)?;
    }
    // Its presence says that the set-up was not cut short.
    std::fs::write(&ready, b"").map_err(fail)
}

fn is_mount_point(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    device(dir).is_some() && device(dir) != dir.parent().and_then(device)
}
