//! File systems in memory, for what must never reach a disk.

use std::io::{Error, Result};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mount::is_mounted;

/// Mounts a file system in memory at `dir` (made as needed) for everybody to write, where nobody removes what is another's, unless there is one; `size` bounds
/// it in bytes.
///
/// # Errors
/// When the directory cannot be made or the kernel refuses.
pub(super) fn mount(dir: &Path, flags: MountFlags, size: Option<i64>) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    if is_mounted(dir) {
        return Ok(());
    }
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    let mount = |options: String| {
        let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("tmpfs", dir, "tmpfs", flags, options.as_c_str())
    };
    // Kernels before 6.4 cannot keep it out of the swap.
    match mount(format!("mode=1777{size},noswap")) {
        Err(Errno::INVAL) => mount(format!("mode=1777{size}")),
        result => result,
    }
    .map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_own_mounts;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_bounded_file_system_in_memory_is_mounted_once() {
        with_own_mounts(|| {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("a/v");
            assert!(!is_mounted(&dir));
            mount(&dir, MountFlags::NOSUID, Some(1 << 16)).unwrap();
            std::fs::write(dir.join("kept"), "x").unwrap();
            mount(&dir, MountFlags::NOSUID, Some(1 << 16)).unwrap();
            assert!(is_mounted(&dir) && dir.join("kept").exists());
            assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o7777, 0o1777);
            let full = std::fs::write(dir.join("more"), vec![1; 1 << 17]).unwrap_err();
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        });
    }
}
