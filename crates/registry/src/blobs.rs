//! Blobs of repositories.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::{Code, Error};
use crate::names::Digest;
use crate::store::Registry;

pub(crate) fn unknown(digest: &Digest) -> Error {
    Error::new(Code::BlobUnknown, format!("the repository has no blob {digest}"))
}

impl Registry {
    fn layer_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository_dir(repository).join("layers").join(digest.hex())
    }

    /// Whether a repository has a blob. Whoever asks may name it next, so it stays for another while.
    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        let _gate = self.gate.read();
        let link = self.layer_link(repository, digest);
        let touched = File::options().write(true).open(&link).and_then(|link| link.set_modified(SystemTime::now()));
        (touched.is_ok() || link.exists()) && self.blob_path(digest).exists()
    }

    /// Opens a blob of a repository; answers with its length, too.
    pub(crate) fn open_blob(&self, repository: &str, digest: &Digest) -> Result<(File, u64), Error> {
        let is_manifest = self.manifest_link(repository, digest).exists();
        if !is_manifest && !self.layer_link(repository, digest).exists() {
            return Err(unknown(digest));
        }
        let file = match File::open(self.blob_path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown(digest)),
            other => other?,
        };
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Gives a repository what another one has; whether that has it.
    pub(crate) fn mount_blob(&self, repository: &str, from: &str, digest: &Digest) -> Result<bool, Error> {
        let _gate = self.gate.read();
        let is_there = self.layer_link(from, digest).exists() && self.blob_path(digest).exists();
        if is_there {
            self.put_file(&self.layer_link(repository, digest), b"")?;
        }
        Ok(is_there)
    }

    /// Names what has come in a file, and was checked, as a blob of a repository.
    pub(crate) fn take_blob(&self, repository: &str, digest: &Digest, file: &std::path::Path) -> Result<(), Error> {
        File::open(file)?.sync_all()?;
        let _gate = self.gate.read();
        fs::rename(file, self.blob_path(digest))?;
        self.put_file(&self.layer_link(repository, digest), b"")?;
        self.changed.notify_one();
        Ok(())
    }

    /// Takes a blob from a repository. Its bytes go later, when nobody has them any more.
    pub(crate) fn delete_blob(&self, repository: &str, digest: &Digest) -> Result<(), Error> {
        match fs::remove_file(self.layer_link(repository, digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(digest)),
            other => {
                self.changed.notify_one();
                Ok(other?)
            }
        }
    }
}
