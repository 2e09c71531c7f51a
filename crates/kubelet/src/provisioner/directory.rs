//! The directories of volumes. They are found by name beneath one directory, and by nothing that an object says.

use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::volumes::quota;

/// Who may do what in a volume: everybody, as its owner decides who may be in the pods that mount it.
const OPEN: u32 = 0o777;

/// The name of the directory that holds those of the volumes, in the kubelet's.
const NAME: &str = "volumes";

/// Where the directories of volumes are.
#[derive(Clone, Debug)]
pub(crate) struct Directories(PathBuf);

impl Directories {
    /// Those in the kubelet's directory.
    pub fn of_kubelet(root_dir: &Path) -> Directories {
        Directories(root_dir.join(NAME))
    }

    /// Makes the directory that holds them, which is for root alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(&self) -> Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700))
    }

    /// The directory of a volume; `None` when that is no name of one.
    pub fn of(&self, volume: &str) -> Option<PathBuf> {
        let rest = volume.strip_prefix("pvc-")?;
        let is_uid =
            !rest.is_empty() && rest.len() <= 64 && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_uid.then(|| self.0.join(volume))
    }

    /// Whether there is anything of a volume's name.
    pub fn has(&self, volume: &str) -> bool {
        self.of(volume).is_some_and(|dir| dir.symlink_metadata().is_ok())
    }

    /// The names of all volumes that have a directory.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let names = std::fs::read_dir(&self.0)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names.collect::<Result<_>>()?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| self.of(name).is_some())
            .collect())
    }

    /// Makes the directory of a volume with so much room. One that is there and has something in it is somebody's already:
    /// it stays as it is.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub async fn make(&self, volume: &str, bytes: u64) -> Result<PathBuf> {
        let dir = self.of(volume).ok_or_else(|| no_name(volume))?;
        let volume = volume.to_owned();
        blocking(move || {
            if is_fresh(&dir)? {
                // The umask has no say.
                std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(OPEN))?;
                quota::limit(&dir, &volume, bytes);
            }
            std::fs::File::open(dir.parent().unwrap_or(&dir))?.sync_all()?;
            Ok(dir)
        })
        .await
    }

    /// Gives the directory of a volume more room, where the file system keeps count.
    ///
    /// # Errors
    /// It has no directory here.
    pub async fn limit(&self, volume: &str, bytes: u64) -> Result<()> {
        let dir = self.of(volume).ok_or_else(|| no_name(volume))?;
        let volume = volume.to_owned();
        blocking(move || {
            quota::limit(&dir, &volume, bytes);
            Ok(())
        })
        .await
    }

    /// Removes the directory of a volume with all that is in it, but nothing that is mounted there.
    ///
    /// # Errors
    /// Something is mounted in it, or it cannot be removed.
    pub async fn remove(&self, volume: &str) -> Result<()> {
        let dir = self.of(volume).ok_or_else(|| no_name(volume))?;
        blocking(move || coracle_runtime::tree::remove(&dir)).await
    }

    /// Removes the directory of a volume if nothing was written to it.
    ///
    /// # Errors
    /// It is empty and cannot be removed.
    pub async fn remove_empty(&self, volume: &str) -> Result<()> {
        let Some(dir) = self.of(volume) else { return Ok(()) };
        let others = [ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty, ErrorKind::NotADirectory];
        blocking(move || match std::fs::remove_dir(&dir) {
            Err(error) if others.contains(&error.kind()) => Ok(()),
            done => done,
        })
        .await
    }
}

/// Makes a directory; answers whether there is nothing in it, be it that whoever made it was killed before he went on.
fn is_fresh(dir: &Path) -> Result<bool> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made.map(|()| true),
    }
    if !std::fs::symlink_metadata(dir)?.is_dir() {
        return Err(Error::new(ErrorKind::NotADirectory, format!("{} is no directory", dir.display())));
    }
    Ok(std::fs::read_dir(dir)?.next().is_none())
}

/// Where the directory of a volume is in a kubelet's; `None` when that is no name of a volume.
pub(crate) fn directory_of(root_dir: &Path, volume: &str) -> Option<PathBuf> {
    Directories::of_kubelet(root_dir).of(volume)
}

/// Why a volume that leads elsewhere is not removed.
pub(super) fn foreign(path: &str, volume: &str) -> Error {
    let text = format!("{path:?} is not the directory of the volume {volume:?}: it was left as it is");
    Error::new(ErrorKind::InvalidInput, text)
}

fn no_name(volume: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{volume:?} is no name of a volume of this provisioner"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_volume_has_the_directory_of_its_name_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories::of_kubelet(dir.path());
        directories.open().unwrap();
        for name in ["", "pvc-", "pvc-..", "pvc-a/b", "..", "pvc-../../etc", "other"] {
            assert_eq!(directories.of(name), None, "{name}");
            assert!(directories.remove(name).await.is_err(), "{name}");
        }
        let made = directories.make("pvc-1", 1 << 20).await.unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o7777, OPEN);
        assert_eq!(std::fs::metadata(dir.path().join("volumes")).unwrap().permissions().mode() & 0o7777, 0o700);
        let mode = || std::fs::metadata(&made).unwrap().permissions().mode() & 0o7777;
        let close = || std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o750)).unwrap();
        close();
        assert_eq!(directories.make("pvc-1", 1 << 20).await.unwrap(), made);
        assert_eq!(mode(), OPEN);
        // What pods made of it once they had it is theirs.
        std::fs::write(made.join("data"), "kept").unwrap();
        close();
        assert_eq!(directories.make("pvc-1", 1 << 20).await.unwrap(), made);
        assert_eq!(mode(), 0o750);
        directories.remove_empty("pvc-1").await.unwrap();
        assert_eq!(directories.names().unwrap(), ["pvc-1"]);
        directories.remove("pvc-1").await.unwrap();
        directories.remove("pvc-1").await.unwrap();
        assert!(directories.names().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_a_directory_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories::of_kubelet(dir.path());
        directories.open().unwrap();
        let precious = dir.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(precious.join("data"), "kept").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join("volumes/pvc-1")).unwrap();
        assert!(directories.make("pvc-1", 1 << 20).await.is_err());
        directories.remove("pvc-1").await.unwrap();
        assert!(precious.join("data").exists());
    }
}
