//! `emptyDir` volumes, on disk or in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::MountFlags;

use super::{memory, own_by_group};
use crate::quantity::value;

/// Makes the directory; one that is there keeps its contents. `most` bounds one in memory besides its own limit.
pub(super) fn make(
    dir: &Path,
    source: &EmptyDirVolumeSource,
    most: Option<i64>,
    fs_group: Option<i64>,
) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("failed to make {}: {error}", dir.display());
    let medium = source.medium.as_deref().unwrap_or_default();
    if !matches!(medium, "" | "Memory") {
        return Err(format!("unknown storage medium {medium:?}"));
    }
    let ready = dir.with_extension("ready");
    if ready.exists() && (medium.is_empty() || memory::is_mounted(dir)) {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(fail)?;
    if medium == "Memory" {
        let own = source.size_limit.as_ref().map(value).filter(|size| *size > 0);
        let size = own.into_iter().chain(most).min();
        memory::mount(dir, MountFlags::empty(), size).map_err(fail)?;
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).map_err(fail)?;
    if let Some(group) = fs_group {
        own_by_group(dir, group, false).map_err(fail)?;
    }
    // Its presence says that the set-up was not cut short.
    std::fs::write(&ready, b"").map_err(fail)
}
