//! Files and directories that only their owner may read.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
pub use coracle_files::temporary;
use coracle_files::{Durability, replace_for};

/// Replaces a file's content at once, as [`coracle_files::replace`] does.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write_atomically_for(path, bytes, mode, None)
}

/// The same for what means nothing once the machine has started anew.
pub fn write_until_boot(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let written = replace_for(path, bytes, mode, Durability::Process, None);
    written.with_context(|| format!("failed to write {}", path.display()))
}

/// The same for another user and group, whose the directory may be.
pub fn write_atomically_for(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let written = replace_for(path, bytes, mode, Durability::Whole, owner);
    written.with_context(|| format!("failed to write {}", path.display()))
}

/// Makes a directory within one that must be there: a process that does not know yet that its cluster was removed makes nothing anew.
pub fn make_within(dir: &Path, part: &Path) -> std::io::Result<()> {
    let mut path = dir.to_owned();
    for name in part.components() {
        path.push(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// A path without links and without `..`, also when its end does not exist yet.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("{} is not a path", path.display()))?;
    let mut missing = Vec::new();
    let mut at = absolute.as_path();
    loop {
        match fs::canonicalize(at) {
            Ok(found) => return Ok(missing.iter().rev().fold(found, |path, name| path.join(name))),
            Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(at).is_err() => {
                let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
                    bail!("{} is not a path that a cluster can have", path.display());
                };
                missing.push(name.to_owned());
                at = parent;
            }
            Err(error) => return Err(error).with_context(|| format!("failed to find {}", at.display())),
        }
    }
}

/// Makes a directory that only its owner may enter, or checks that one which holds something is like that.
///
/// # Errors
/// It belongs to somebody else, or others may look into it.
pub fn private_dir(dir: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("failed to make {}", dir.display()))?;
    let failed = || format!("failed to look at {}", dir.display());
    let meta = fs::metadata(dir).with_context(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own {
        bail!(
            "{} belongs to the user with the ID {}, not to us: name another directory, or change its owner",
            dir.display(),
            meta.uid()
        );
    }
    if meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    if fs::read_dir(dir).with_context(failed)?.next().is_some() {
        bail!(
            "{} is open to other users of this host (mode {:04o}), and holds keys, secrets and the files of containers: \
             `chmod 0700 {}` closes it",
            dir.display(),
            meta.mode() & 0o7777,
            dir.display()
        );
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_may_enter_is_refused_unless_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        private_dir(&data).unwrap();
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&data).unwrap();
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(data.join("file"), "").unwrap();
        let error = private_dir(&data).unwrap_err().to_string();
        assert!(error.contains("mode 0750") && error.contains("chmod 0700"), "{error}");
    }

    #[test]
    fn a_link_in_the_way_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("config"), dir.path().join("other"));
        fs::write(&other, "kept").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&other, temporary(&path)).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        write_atomically_for(&path, b"new", 0o600, Some((65_534, 65_534))).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"kept".to_vec()));
        let (written, kept) = (fs::symlink_metadata(&path).unwrap(), fs::metadata(&other).unwrap());
        assert!(written.is_file() && written.mode() & 0o777 == 0o600 && kept.mode() & 0o777 == 0o644);
        if rustix::process::geteuid().is_root() {
            assert_eq!((written.uid(), kept.uid()), (65_534, 0));
        }
    }

    #[test]
    fn links_in_a_path_are_followed_also_where_its_end_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        assert_eq!(resolve(&dir.path().join("link/x/y")).unwrap(), real.join("x/y"));
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        assert!(resolve(&dir.path().join("dangling")).is_err());
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("busy");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(write_atomically(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
