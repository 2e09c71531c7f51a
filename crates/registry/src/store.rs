//! Where everything is, and what all parts share.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::error::Error;
use crate::names::Digest;

/// Says how many bytes may still be written.
pub type Room = Box<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// How a registry is set up.
pub struct Config {
    /// Its directory, which only its owner may read.
    pub dir: PathBuf,
    /// How much the disk has left for it.
    pub room: Room,
    /// What it is called besides localhost, without ports: requests for other hosts are refused, as of a page that a name of its
    /// own leads to this host.
    pub hosts: Vec<String>,
}

/// A registry.
pub struct Registry {
    dir: PathBuf,
    room: Room,
    pub(crate) hosts: Vec<String>,
    /// Uploads that a request writes to now.
    pub(crate) busy: Mutex<HashSet<Uuid>>,
    /// Read while something comes to be named, and written while what nobody names is removed.
    pub(crate) gate: RwLock<()>,
    /// Something may have been left that nobody names.
    pub(crate) changed: Notify,
}

impl Registry {
    /// Opens the directory, and makes it where there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(config: Config) -> io::Result<Registry> {
        for part in ["blobs/sha256", "repositories", "uploads"] {
            make_dir(&config.dir.join(part))?;
        }
        Ok(Registry {
            dir: config.dir,
            room: config.room,
            hosts: config.hosts,
            busy: Mutex::default(),
            gate: RwLock::default(),
            changed: Notify::new(),
        })
    }

    /// # Errors
    /// The disk has no room for more.
    pub(crate) fn check_room(&self) -> io::Result<()> {
        match (self.room)()? {
            0 => Err(io::Error::new(io::ErrorKind::StorageFull, "the disk has no room left for images")),
            _ => Ok(()),
        }
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    pub(crate) fn uploads_dir(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    pub(crate) fn repositories_dir(&self) -> PathBuf {
        self.dir.join("repositories")
    }

    /// The directory of a repository, by a name that was checked.
    pub(crate) fn repository_dir(&self, name: &str) -> PathBuf {
        self.repositories_dir().join(name.replace('/', "+"))
    }

    /// Puts a small file somewhere, at once.
    pub(crate) fn put_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.check_room()?;
        if let Some(dir) = path.parent() {
            make_dir(dir)?;
        }
        let temporary = self.uploads_dir().join(Uuid::new_v4().to_string());
        let write = || {
            let mut file = File::create_new(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        Ok(written?)
    }
}

/// Makes a directory that only its owner enters, with those above it.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What is in a directory, which need not be there.
pub(crate) fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}
