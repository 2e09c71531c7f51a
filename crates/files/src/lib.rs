//! Files that are replaced as a whole: who reads one sees what it was or what it is, and nothing between.
//!
//! Owns: the steps of that, and how sure it is after a loss of power.
//! Never: decides that for others. Whoever writes a file says what its loss would mean, and is alone with it: two who replace
//! the same file at once have one temporary file.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What a file that was replaced outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The process, killed at any moment. Nothing is synced: for what means nothing once the machine has started anew.
    Process,
    /// A loss of power leaves what the file was or what it is: its content is on the disk before it has its name.
    Whole,
    /// A loss of power leaves what it is: its name is on the disk as well.
    Kept,
}

/// Replaces a file by one with such a mode. What is left of a failure is removed, and of a kill by the next.
///
/// # Errors
/// The file system refuses; then the file is what it was, unless it was only its directory that could not be synced.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    replace_for(path, bytes, mode, durability, None)
}

/// The same for another user and group. The directory may be that user's, who can put links in place of any name in it at
/// any time: what is written and given away is a new file, held open, and no name is followed.
///
/// # Errors
/// As for [`replace`].
pub fn replace_for(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let temporary = temporary(path);
    let write = || {
        let mut file = create(&temporary, mode)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        if durability != Durability::Process {
            file.sync_all()?;
        }
        if let Some((user, group)) = owner {
            // Who is not root can give nothing away, and has no need to.
            let _ = fchown(&file, Some(user), Some(group));
        }
        fs::rename(&temporary, path)
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    match (durability, path.parent()) {
        (Durability::Kept, Some(dir)) => sync_directory(dir),
        _ => Ok(()),
    }
}

/// Has the names in a directory on the disk.
///
/// # Errors
/// It cannot be opened, or the disk fails.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Where the next content of a file is written first.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn create(temporary: &Path, mode: u32) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary);
    match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            create()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_what_a_kill_left_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(temporary(&path), "half").unwrap();
        for (durability, mode_of_it) in
            [(Durability::Process, 0o600), (Durability::Whole, 0o644), (Durability::Kept, 0o600)]
        {
            let text = format!("{durability:?}");
            replace(&path, text.as_bytes(), mode_of_it, durability).unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap(), mode(&path)), (text, mode_of_it));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_file_as_it_was_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        // A directory is in the way of the rename.
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("full")).unwrap();
        assert!(replace(&path, b"x", 0o600, Durability::Process).is_err());
        assert!(path.join("full").is_dir() && !temporary(&path).exists());
    }

    #[test]
    fn no_link_in_the_place_of_the_temporary_file_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("config"), dir.path().join("other"));
        fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, temporary(&path)).unwrap();
        replace(&path, b"ours", 0o600, Durability::Whole).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    }
}
