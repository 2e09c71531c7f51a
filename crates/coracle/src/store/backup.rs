//! `coracle backup` and `coracle restore`.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coracle_store::backup::{self, Fate, Restored, Summary};
use coracle_store::{Embedded, Options, Store};
use futures::{Stream, TryStreamExt};
use hyper::body::Bytes;
use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use super::{ROOT, connect, still, whole};
use crate::args;
use crate::cluster::{DEFAULT_NAME, Place};
use crate::{control, files};

/// How long upstream keeps an event.
const EVENT: Duration = Duration::from_secs(3600);

/// What becomes of a key: leases of running servers are of no use to others, and etcd does not tell when an event goes.
fn fate(key: &str) -> Fate {
    match key.strip_prefix(ROOT).unwrap_or(key) {
        "coracle/progress" | backup::UNFINISHED => Fate::LeaveOut,
        below if below.starts_with("masterleases/") => Fate::LeaveOut,
        below if below.starts_with("events/") => Fate::Expire(EVENT),
        _ => Fate::Keep,
    }
}

/// Whether a key is what running servers keep for themselves.
pub fn is_of_servers(key: &str) -> bool {
    matches!(fate(key), Fate::LeaveOut)
}

/// The bytes of a backup of a store.
pub fn pieces(store: Arc<dyn Store>) -> impl Stream<Item = coracle_store::Result<Bytes>> + Send {
    backup::pieces(store, ROOT, fate)
}

/// Backs up a cluster, or what an etcd has.
pub fn back_up(options: &args::Backup) -> Result<()> {
    let path = files::resolve(&options.file)?;
    if !options.overwrite && fs::symlink_metadata(&path).is_ok() {
        bail!("{} is there already: --overwrite replaces it", path.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let made = make(&path, options.overwrite, |file| runtime.block_on(fetch(options, file)))?;
    println!(
        "{} has {} objects at revision {} ({:.1} MB)",
        path.display(),
        made.keys,
        made.revision,
        made.bytes as f64 / 1e6
    );
    Ok(())
}

/// Writes a file without a name, of which nothing is left when its writer is killed, and names it once it is a backup. Where the
/// file system has no such files, and for a moment before another backup is replaced, it is `FILE.UUID.tmp`.
fn make(path: &Path, overwrite: bool, write: impl FnOnce(&mut File) -> Result<()>) -> Result<Summary> {
    // Two that are made at once do not get into each other's file.
    let temporary = path.with_added_extension(format!("{}.tmp", uuid::Uuid::new_v4()));
    let failed = || format!("failed to write {}", path.display());
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let parent = path.parent().unwrap_or(Path::new("/"));
    let unnamed = options.clone().custom_flags(OFlags::TMPFILE.bits() as i32).open(parent);
    let (mut file, own) = match unnamed {
        Ok(file) => {
            let own = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            (file, own)
        }
        // Not every file system can.
        Err(_) => (options.create_new(true).open(&temporary).with_context(failed)?, temporary.clone()),
    };
    let made = write(&mut file).and_then(|()| {
        file.sync_all().with_context(failed)?;
        let summary = backup::verify(&own)?;
        if own != temporary {
            let at = if overwrite { &temporary } else { path };
            linkat(CWD, &own, CWD, at, AtFlags::SYMLINK_FOLLOW).with_context(failed)?;
        }
        if own == temporary || overwrite {
            name(&temporary, path, overwrite).with_context(failed)?;
        }
        File::open(parent).and_then(|parent| parent.sync_all()).with_context(failed)?;
        Ok(summary)
    });
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    made
}

fn name(from: &Path, to: &Path, overwrite: bool) -> std::io::Result<()> {
    match overwrite {
        true => fs::rename(from, to)?,
        false => match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)?;
            }
            renamed => renamed?,
        },
    }
    Ok(())
}

/// Writes the bytes of a backup: those of the named etcd, of a running cluster's daemon, or of the directory of a stopped one.
async fn fetch(options: &args::Backup, file: &mut File) -> Result<()> {
    if !options.etcd.servers.is_empty() {
        return copy(pieces(Arc::new(whole(&options.etcd).await?)), file).await;
    }
    let place = Place::find(&options.which, DEFAULT_NAME)?;
    let socket = place.dir.join("control.sock");
    if let Ok(stream) = tokio::net::UnixStream::connect(&socket).await {
        return copy(control::download(stream, "/backup").await?, file).await;
    }
    let own = place.dir.join("store");
    if !own.is_dir() {
        bail!(
            "there are no objects of a cluster in {}: start it if an etcd has them, or name that by --etcd-servers",
            place.dir.display()
        );
    }
    let _lock = still(&place)?;
    copy(pieces(Arc::new(Embedded::open(&own, Options::default())?)), file).await
}

async fn copy<E>(pieces: impl Stream<Item = Result<Bytes, E>>, file: &mut File) -> Result<()>
where
    anyhow::Error: From<E>,
{
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.try_next().await.map_err(anyhow::Error::from).context("failed to read the store")? {
        file.write_all(&piece).context("failed to write the backup")?;
    }
    Ok(())
}

/// Restores a backup into a data directory, or an etcd.
pub fn restore(options: &args::Restore) -> Result<()> {
    let to_etcd = !options.etcd.servers.is_empty();
    let (restored, place) = if to_etcd {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        (runtime.block_on(into_etcd(options))?, options.etcd.prefix.clone())
    } else {
        let place = Place::find(&options.which, DEFAULT_NAME)?;
        (into_place(&options.file, &place)?, place.dir.display().to_string())
    };
    let Restored { keys, backup, revision } = restored;
    println!("Restored {keys} objects of revision {backup} to {place}, which goes on at revision {revision}");
    Ok(())
}

async fn into_etcd(options: &args::Restore) -> Result<Restored> {
    let to = connect(&options.etcd).await?;
    let behind = options.lower_revisions;
    Ok(match backup::into_store(&options.file, &to, ROOT, behind).await {
        Err(error @ backup::Error::Behind { .. }) => {
            return Err(error).context("nothing was restored; --lower-revisions does it if there is no such client");
        }
        restored => restored?,
    })
}

/// Makes the store of a cluster that does not run and has no objects.
fn into_place(file: &Path, place: &Place) -> Result<Restored> {
    // What cannot be restored makes no cluster.
    backup::verify(file)?;
    let _lock = still(place)?;
    place.check_name()?;
    let is_new = !place.has_data();
    let restored = place.prepare().and_then(|()| Ok(backup::into_directory(file, &place.dir.join("store"))?));
    if restored.is_err() && is_new {
        place.forsake();
    }
    restored
}

/// Moves what an etcd has into a directory that has no store.
pub async fn from_etcd(options: &args::Etcd, dir: &Path) -> Result<u64> {
    let (own, between) = (dir.join("store"), dir.join("store.from-etcd"));
    let from = Arc::new(whole(options).await?);
    let _ = fs::remove_file(&between);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&between);
    let mut file = file.with_context(|| format!("failed to write {}", between.display()))?;
    let copied = copy(pieces(from), &mut file).await;
    let restored = copied.and_then(|()| Ok(backup::into_directory(&between, &own)?));
    let _ = fs::remove_file(&between);
    Ok(restored?.keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_name_once_it_is_a_backup() {
        let (dir, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store: Arc<dyn Store> = Arc::new(Embedded::open(source.path(), Options::default()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let path = dir.path().join("b");
        let write = |file: &mut File| {
            assert_eq!(names(dir.path()).iter().filter(|name| *name != "b").count(), 0, "while it is written");
            runtime.block_on(copy(pieces(store.clone()), file))
        };
        make(&path, false, write).unwrap();
        assert!(backup::verify(&path).is_ok());
        let taken = make(&path, false, write).unwrap_err();
        assert!(format!("{taken:#}").contains("exists"), "{taken:#}");
        make(&path, true, write).unwrap();
        assert!(make(&path, true, |file| Ok(file.write_all(b"no backup")?)).is_err());
        assert!(backup::verify(&path).is_ok());
        assert_eq!(names(dir.path()), ["b"]);
    }
}
