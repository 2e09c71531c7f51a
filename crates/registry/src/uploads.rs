//! Blobs that come, in one piece or in several.

use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::error::{Code, Error};
use crate::names::Digest;
use crate::store::{Registry, entries};

/// Most uploads that are under way.
const MAX_UPLOADS: usize = 1000;
/// How much is written between two looks at the disk.
const STEP: u64 = 1 << 20;
/// How long a client may be silent within a request.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// The right to write to an upload, which one request has at a time.
struct Turn<'a> {
    registry: &'a Registry,
    id: Uuid,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.registry.busy.lock().remove(&self.id);
    }
}

/// What a request sends, in pieces.
pub(crate) trait Pieces: Send {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
}

impl Registry {
    fn upload_path(&self, id: Uuid) -> PathBuf {
        self.uploads_dir().join(id.to_string())
    }

    fn turn(&self, id: Uuid) -> Result<Turn<'_>, Error> {
        if !self.busy.lock().insert(id) {
            let text = "another request writes to this upload";
            return Err(Error::new(Code::BlobUploadInvalid, text).with_status(StatusCode::CONFLICT));
        }
        Ok(Turn { registry: self, id })
    }

    /// Begins one.
    pub(crate) fn start_upload(&self) -> Result<Uuid, Error> {
        self.check_room()?;
        if entries(&self.uploads_dir())?.len() >= MAX_UPLOADS {
            return Err(Error::new(Code::TooManyRequests, format!("{MAX_UPLOADS} uploads are under way")));
        }
        let id = Uuid::new_v4();
        File::create_new(self.upload_path(id))?;
        self.changed.notify_one();
        Ok(id)
    }

    /// How many bytes have come.
    pub(crate) fn upload_length(&self, id: Uuid) -> Result<u64, Error> {
        match fs::metadata(self.upload_path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(id)),
            other => Ok(other?.len()),
        }
    }

    /// Gives one up.
    pub(crate) fn cancel_upload(&self, id: Uuid) -> Result<(), Error> {
        let _turn = self.turn(id)?;
        match fs::remove_file(self.upload_path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(id)),
            other => Ok(other?),
        }
    }

    /// Adds what a request sends; answers with how much there is. What begins elsewhere than where the last piece ended is refused.
    pub(crate) async fn append(&self, id: Uuid, from: Option<u64>, pieces: &mut impl Pieces) -> Result<u64, Error> {
        let _turn = self.turn(id)?;
        let mut length = self.upload_length(id)?;
        if from.is_some_and(|from| from != length) {
            let text = format!("the next piece of this upload begins at {length}");
            return Err(Error::new(Code::BlobUploadInvalid, text).with_status(StatusCode::RANGE_NOT_SATISFIABLE));
        }
        let mut file = tokio::fs::File::options().append(true).open(self.upload_path(id)).await?;
        let mut unchecked = STEP;
        while let Some(piece) = pieces.next().await? {
            unchecked = unchecked.saturating_add(piece.len() as u64);
            if unchecked >= STEP {
                self.check_room()?;
                unchecked = 0;
            }
            file.write_all(&piece).await?;
            length = length.saturating_add(piece.len() as u64);
        }
        file.flush().await?;
        Ok(length)
    }

    /// Makes a blob of an upload if it has the digest.
    pub(crate) async fn finish(self: &Arc<Self>, id: Uuid, repository: &str, digest: &Digest) -> Result<(), Error> {
        let (registry, repository, digest) = (self.clone(), repository.to_owned(), digest.clone());
        let work = move || {
            let _turn = registry.turn(id)?;
            let path = registry.upload_path(id);
            registry.upload_length(id)?;
            let mut hash = Sha256::new();
            copy(&mut File::open(&path)?, |piece| {
                hash.update(piece);
                Ok(())
            })?;
            let actual = Digest::finish(hash);
            if actual != digest {
                let _ = fs::remove_file(&path);
                return Err(Error::new(Code::DigestInvalid, format!("the blob has the digest {actual}, not {digest}")));
            }
            registry.take_blob(&repository, &digest, &path)
        };
        blocking(work).await
    }

    /// Stores a blob that this process reads; answers with its digest and length. Blocks.
    ///
    /// # Errors
    /// It cannot be read, or the disk has no room.
    pub fn put_blob(&self, repository: &str, reader: &mut dyn Read) -> Result<(Digest, u64), Error> {
        let id = self.start_upload()?;
        let _turn = self.turn(id)?;
        let path = self.upload_path(id);
        let mut write = || {
            let (mut file, mut hash, mut length) = (File::create(&path)?, Sha256::new(), 0_u64);
            copy(reader, |piece| {
                let before = length / STEP;
                length = length.saturating_add(piece.len() as u64);
                if length / STEP > before {
                    self.check_room()?;
                }
                hash.update(piece);
                file.write_all(piece)
            })?;
            let digest = Digest::finish(hash);
            self.take_blob(repository, &digest, &path)?;
            Ok((digest, length))
        };
        write().inspect_err(|_| drop(fs::remove_file(&path)))
    }
}

fn unknown(id: Uuid) -> Error {
    Error::new(Code::BlobUploadUnknown, format!("there is no upload {id}"))
}

fn copy(reader: &mut (impl Read + ?Sized), mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            length => write(buffer.get(..length).unwrap_or_default())?,
        }
    }
}

/// Does work that may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::from(io::Error::other(error)))?
}
