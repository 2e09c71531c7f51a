//! Reads all files of the embedded engine as opening does, and changes none.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, FsDisk};
use crate::survey::{Damage, survey};
use crate::{Error, KeyValue, Result, Revision, snapshot};

/// What there is in a directory that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The newest revision.
    pub revision: Revision,
    /// How many keys there are at it.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Bytes of log behind the snapshot.
    pub log_bytes: u64,
}

/// Reads everything that opening a directory reads, and shows what it comes to.
///
/// # Errors
/// [`Error::Locked`] while it is in use; otherwise what opening it would refuse, with file and offset.
pub fn check(dir: &Path, mut each: impl FnMut(&KeyValue)) -> Result<Checked> {
    let opened = snapshot::open(&Unchanged(open(dir)?))?;
    let (mut keys, mut bytes) = (0, 0);
    for kv in opened.view.iter() {
        each(kv);
        keys += 1;
        bytes += (kv.key_bytes().len() + kv.value().len()) as u64;
    }
    Ok(Checked { revision: opened.view.revision, keys, bytes, log_bytes: opened.log_bytes })
}

/// All that is wrong with the files of a directory; there is nothing if [`check`] finds nothing.
///
/// # Errors
/// [`Error::Locked`] while it is in use.
pub fn damage(dir: &Path) -> Result<Damage> {
    let disk = Unchanged(open(dir)?);
    let mut damage = survey(&disk);
    // What only the whole of it shows.
    if let Err(first) = snapshot::open(&disk)
        && damage.places.is_empty()
    {
        damage.places.push(first);
    }
    Ok(damage)
}

fn open(dir: &Path) -> Result<FsDisk> {
    FsDisk::open_to_read(dir).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { path: dir.display().to_string() },
        _ => Error::Io { path: dir.display().to_string(), what: error.to_string() },
    })
}

/// A directory in which nothing is changed: what opening tidies up stays as it is.
struct Unchanged(FsDisk);

impl Disk for Unchanged {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.0.list()?;
        names.retain(|name| name != snapshot::TEMPORARY);
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.read(name)
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(NoFile))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what is written nowhere.
struct NoFile;

impl DiskFile for NoFile {
    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
