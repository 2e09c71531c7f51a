//! A backup becomes a store: a directory of the embedded engine, or what stands below a prefix.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use super::read::{Reader, verify_below};
use super::unfinished::Mark;
use super::{Error, Result};
use crate::disk::FsDisk;
use crate::history::View;
use crate::{KeyValue, Page, Revision, Store, copy, snapshot};

/// How far behind the revision of a backup a directory goes on: further than any cluster came between the backup and its end,
/// so that no revision stands for two things.
pub const LEAP: Revision = 1_000_000_000;

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// How many keys.
    pub keys: u64,
    /// The revision of the backup.
    pub backup: Revision,
    /// The revision at which the store is now.
    pub revision: Revision,
}

/// Makes a directory of the embedded engine of a backup, so that it is there as a whole or not at all. Keys keep the revisions
/// that they had; the store goes on at [`LEAP`] behind the backup's, and has no older history.
///
/// # Errors
/// There is something in the directory, or the backup is not whole; nothing is left behind then.
pub fn into_directory(path: &Path, dir: &Path) -> Result<Restored> {
    let is_new = !dir.exists();
    let restored = check_empty(dir).and_then(|()| into_empty(path, dir));
    if let (true, true, Ok(_held)) = (is_new, restored.is_err(), FsDisk::open_to_read(dir)) {
        let _ = fs::remove_file(dir.join("lock"));
        let _ = fs::remove_dir(dir);
    }
    restored
}

fn into_empty(path: &Path, dir: &Path) -> Result<Restored> {
    let aside = dir.with_extension("restoring");
    let failed = |error: &std::io::Error| Error::io(&aside, error);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&error)),
        _ => {}
    }
    let restored = fill(path, &aside).and_then(|restored| {
        let _ = fs::remove_file(dir.join("lock"));
        // What is no longer empty by now is not replaced.
        fs::rename(&aside, dir).map_err(|error| Error::io(dir, &error))?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| Error::io(parent, &error))?;
        Ok(restored)
    });
    if restored.is_err() {
        let _ = fs::remove_dir_all(&aside);
    }
    restored
}

/// A directory that is not there, or has nothing but a lock that nobody holds.
fn check_empty(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| Error::io(dir, &error))?,
    };
    for entry in entries {
        let name = entry.map_err(|error| Error::io(dir, &error))?.file_name();
        if name != "lock" {
            let found = name.to_string_lossy().into_owned();
            return Err(Error::NotEmpty { place: dir.display().to_string(), found });
        }
    }
    // Held by who makes the first files.
    FsDisk::open(dir).map(drop).map_err(|error| Error::io(dir, &error))
}

fn fill(path: &Path, dir: &Path) -> Result<Restored> {
    let mut reader = Reader::open(path, "")?;
    let backup = reader.revision;
    let mut view = View { revision: backup.saturating_add(LEAP), ..View::default() };
    let mut keys = 0;
    while let Some(some) = reader.next()? {
        keys += some.len() as u64;
        some.into_iter().for_each(|kv| view.insert(kv));
    }
    let disk = FsDisk::open(dir).map_err(|error| Error::io(dir, &error))?;
    snapshot::write(&disk, &view)?;
    Ok(Restored { keys, backup, revision: view.revision })
}

/// Writes what a backup has to a store that has nothing with the prefix and that nobody writes to. Keys get revisions of the
/// store's: `may_be_behind` says that these may be older than those of the backup. A restore of the same backup that was
/// interrupted goes on.
///
/// # Errors
/// There is something with the prefix, the store's revisions are behind, or the backup is not whole, and nothing was written;
/// or the store refuses, and some was. Then [`check_finished`](super::check_finished) tells.
pub async fn into_store(path: &Path, store: &dyn Store, prefix: &str, may_be_behind: bool) -> Result<Restored> {
    let summary = verify_below(path, prefix)?;
    let backup = summary.revision;
    let may_begin = |there: &Page| match there.revision < backup && !may_be_behind {
        true => Err(Error::Behind { now: there.revision, backup }),
        false => Ok(()),
    };
    let mark = Mark::set(store, prefix, &summary, may_begin).await?;
    let mut reader = Reader::open(path, "")?;
    let mut keys = 0;
    while let Some(mut some) = reader.next()? {
        some.retain(is_alive);
        copy::write_all(store, &some).await?;
        keys += some.len() as u64;
    }
    mark.remove(store).await?;
    Ok(Restored { keys, backup, revision: store.current_revision().await? })
}

fn is_alive(kv: &KeyValue) -> bool {
    kv.expires().is_none_or(|expires| expires > SystemTime::now())
}
