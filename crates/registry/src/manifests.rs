//! Manifests of repositories, and the tags that name them.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::{Code, Error};
use crate::manifest::{self, LONGEST};
use crate::names::Digest;
use crate::route::Reference;
use crate::store::{Registry, entries};

/// A manifest that a repository has.
pub(crate) struct Stored {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Registry {
    pub(crate) fn manifest_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository_dir(repository).join("manifests").join(digest.hex())
    }

    fn tag_path(&self, repository: &str, tag: &str) -> PathBuf {
        self.repository_dir(repository).join("tags").join(tag)
    }

    /// What a reference leads to.
    pub(crate) fn manifest(&self, repository: &str, reference: &Reference) -> Result<Stored, Error> {
        let unknown = || {
            let what = match reference {
                Reference::Tag(tag) => tag.clone(),
                Reference::Digest(digest) => digest.to_string(),
            };
            Error::new(Code::ManifestUnknown, format!("the repository has no manifest {what}"))
        };
        let found = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => unknown(),
            _ => error.into(),
        };
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let text = fs::read_to_string(self.tag_path(repository, tag)).map_err(found)?;
                text.parse().map_err(|()| unknown())?
            }
        };
        let media_type = fs::read_to_string(self.manifest_link(repository, &digest)).map_err(found)?;
        let bytes = fs::read(self.blob_path(&digest)).map_err(found)?;
        Ok(Stored { digest, media_type, bytes })
    }

    /// Stores a manifest, all of whose blobs are there.
    ///
    /// # Errors
    /// It is none, or names what is not there.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Error> {
        if bytes.len() > LONGEST {
            return Err(Error::new(Code::SizeInvalid, format!("a manifest has {LONGEST} bytes at most")));
        }
        if media_type.is_empty() || media_type.len() > 255 || !media_type.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(Code::ManifestInvalid, "a manifest is sent with its media type as Content-Type"));
        }
        // It is answered under the same type, and browsers run what says that it is a page.
        if !media_type.starts_with("application/vnd.") {
            return Err(Error::new(Code::ManifestInvalid, format!("{media_type} is no media type of manifests")));
        }
        let named = manifest::read(bytes, media_type)?;
        let _gate = self.gate.read();
        let layers = self.repository_dir(repository).join("layers");
        let missing = |digest: &Digest| {
            Error::new(Code::ManifestBlobUnknown, format!("the manifest names {digest}, which the repository has not"))
        };
        for (blob, is_here) in &named.blobs {
            if *is_here && !(layers.join(blob.hex()).exists() && self.blob_path(blob).exists()) {
                return Err(missing(blob));
            }
        }
        if let Some(absent) = named.manifests.iter().find(|digest| !self.manifest_link(repository, digest).exists()) {
            return Err(missing(absent));
        }
        let digest = Digest::of(bytes);
        self.put_file(&self.blob_path(&digest), bytes)?;
        self.put_file(&self.manifest_link(repository, &digest), media_type.as_bytes())?;
        if let Some(tag) = tag {
            self.put_file(&self.tag_path(repository, tag), digest.to_string().as_bytes())?;
        }
        self.changed.notify_one();
        Ok(digest)
    }

    /// Removes a tag, or a manifest with the tags that name it.
    pub(crate) fn delete_manifest(&self, repository: &str, reference: &Reference) -> Result<(), Error> {
        let removed = match reference {
            Reference::Tag(tag) => fs::remove_file(self.tag_path(repository, tag)),
            Reference::Digest(digest) => {
                for (_, tag) in entries(&self.repository_dir(repository).join("tags"))? {
                    if fs::read_to_string(&tag).is_ok_and(|named| named == digest.to_string()) {
                        fs::remove_file(tag)?;
                    }
                }
                fs::remove_file(self.manifest_link(repository, digest))
            }
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(Code::ManifestUnknown, "the repository has no such manifest"))
            }
            other => {
                self.changed.notify_one();
                Ok(other?)
            }
        }
    }
}
