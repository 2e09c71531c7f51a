//! Import of images from archives: `docker save` (docker-archive) and OCI image layouts, plain or compressed.
//!
//! The archive is a stream whose index may come last, so its members are spooled to disk first.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::members::Members;
use super::reference::Reference;
use super::room::{Bounded, Room};
use super::store::{Contents, ImageStore, LayerSource, parse_config};
use super::unpack::{Hashing, decompress};
use crate::cri::{CriError, Result};

/// Most members of an archive.
const MAX_MEMBERS: usize = 100_000;
/// Longest names of all members together.
const MAX_NAMES: usize = 64 << 20;
/// Longest index, manifest or config.
const MAX_JSON: u64 = 8 << 20;
/// Most images of one archive, and levels of indexes.
const MAX_IMAGES: usize = 1000;
const MAX_DEPTH: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Members of the archive on disk, by cleaned name.
struct Spool {
    dir: PathBuf,
    members: HashMap<String, PathBuf>,
    links: HashMap<String, String>,
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = crate::tree::remove(&self.dir);
    }
}

fn invalid(what: impl std::fmt::Display) -> CriError {
    CriError::InvalidArgument(format!("the image archive cannot be read: {what}"))
}

fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts.join("/")
}

impl Spool {
    fn fill(reader: impl Read, dir: PathBuf) -> io::Result<Self> {
        fs::create_dir(&dir)?;
        let mut spool = Self { dir, members: HashMap::new(), links: HashMap::new() };
        let mut room = Room::of(&spool.dir)?;
        let plain = Bounded::new(decompress(io::BufReader::with_capacity(1 << 17, reader))?, room.left()?);
        let mut members = Members::new(plain);
        let mut buffer = vec![0; 1 << 17];
        let (mut count, mut names) = (0, 0);
        let no_archive = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), "it is neither a tar archive nor a gzipped one")
            }
            _ => error,
        };
        while let Some(member) = members.next().map_err(|error| if count == 0 { no_archive(error) } else { error })? {
            count += 1;
            names += member.path.as_os_str().len() + member.link.as_ref().map_or(0, |link| link.as_os_str().len());
            if count > MAX_MEMBERS || names > MAX_NAMES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has too many members"));
            }
            let name = clean(&member.path);
            match (member.kind, &member.link) {
                (tar::EntryType::Regular | tar::EntryType::Continuous, _) => {
                    let file = spool.dir.join(count.to_string());
                    room.copy(&mut members, &mut File::create(&file)?, &mut buffer)?;
                    spool.members.insert(name, file);
                }
                // Old versions of docker share equal layers like this.
                (tar::EntryType::Symlink, Some(target)) => {
                    let base = member.path.parent().unwrap_or(Path::new(""));
                    spool.links.insert(name, clean(&base.join(target)));
                }
                (tar::EntryType::Link, Some(target)) => {
                    spool.links.insert(name, clean(target));
                }
                _ => {}
            }
        }
        Ok(spool)
    }

    fn path(&self, name: &str) -> Result<&Path> {
        let mut name = clean(Path::new(name));
        for _ in 0..8 {
            if let Some(path) = self.members.get(&name) {
                return Ok(path);
            }
            match self.links.get(&name) {
                Some(target) => name = target.clone(),
                None => break,
            }
        }
        Err(invalid(format_args!("it has no member {name:?}")))
    }

    fn json(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name)?;
        let file = File::open(path).map_err(invalid)?;
        if file.metadata().map_err(invalid)?.len() > MAX_JSON {
            return Err(invalid(format_args!("{name} is too large")));
        }
        let mut bytes = Vec::new();
        file.take(MAX_JSON).read_to_end(&mut bytes).map_err(invalid)?;
        Ok(bytes)
    }

    /// A blob of an OCI layout; its digest is checked.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = descriptor.digest().to_string();
        let bytes = self.json(&blob_name(&digest))?;
        let actual = super::unpack::digest_of(&bytes);
        if actual != digest {
            return Err(invalid(format_args!("blob {digest} has digest {actual}")));
        }
        Ok(bytes)
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// An image of an archive, on disk while it is looked at.
pub struct Archived {
    /// What it is called, in full, with tags.
    pub tags: Vec<String>,
    /// Its config.
    pub config: Vec<u8>,
    /// Its manifest, if the archive has one.
    pub manifest: Option<Vec<u8>>,
    /// Its layers, the lowest first, compressed or not, with the digests that they are to have, where those are known.
    pub layers: Vec<(PathBuf, Option<String>)>,
}

/// What is done with each image of an archive.
type Take<'a> = &'a mut dyn FnMut(Archived) -> Result<()>;

impl ImageStore {
    /// Imports every image of an archive and answers with the references it loaded. `name` names an image that
    /// the archive gives no reference. Blocks; the reader is read to the end of the archive.
    pub fn import(&self, reader: impl Read, name: Option<&str>) -> Result<Vec<String>> {
        let mut loaded = Vec::new();
        self.read_archive(reader, name, &mut |image| {
            self.add_archived(&image)?;
            loaded.extend(image.tags);
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Reads an archive, and does something with every image of it; nothing of it stays. Blocks.
    ///
    /// # Errors
    /// It is none, or what is done fails.
    pub fn read_archive(&self, reader: impl Read, name: Option<&str>, take: Take<'_>) -> Result<()> {
        let spool = Spool::fill(reader, self.ingest_path()).map_err(invalid)?;
        if spool.members.contains_key("manifest.json") {
            read_docker(&spool, name, take)
        } else if spool.members.contains_key("index.json") {
            read_layout(&spool, name, take)
        } else {
            Err(invalid("it has neither manifest.json (docker save) nor index.json (OCI layout)"))
        }
    }

    fn add_archived(&self, image: &Archived) -> Result<()> {
        let diff_ids = parse_config(&image.config)?.diff_ids;
        let layers = diff_ids.into_iter().zip(&image.layers).map(|(diff_id, (path, digest))| LayerSource {
            diff_id,
            contents: Contents::Blob(Box::new(move || open(path, digest.as_deref()))),
        });
        let mut digests = Vec::new();
        if let Some(manifest) = &image.manifest {
            let digest = super::unpack::digest_of(manifest);
            for tag in &image.tags {
                digests.push(format!("{}@{digest}", Reference::parse(tag).map_err(invalid)?.name()));
            }
        }
        self.add(&image.config, image.manifest.as_deref(), &image.tags, &digests, layers.collect()).map(drop)
    }
}

fn read_docker(spool: &Spool, name: Option<&str>, take: Take<'_>) -> Result<()> {
    let images: Vec<DockerImage> = serde_json::from_slice(&spool.json("manifest.json")?).map_err(invalid)?;
    for image in images.into_iter().take(MAX_IMAGES) {
        let config = spool.json(&image.config)?;
        let count = parse_config(&config)?.diff_ids.len();
        let tags = names(image.repo_tags.unwrap_or_default().iter().map(String::as_str), name)?;
        let layers = image.layers.iter().take(count).map(|member| Ok((spool.path(member)?.to_path_buf(), None)));
        let layers = layers.collect::<Result<_>>()?;
        take(Archived { tags, config, manifest: None, layers })?;
    }
    Ok(())
}

fn read_layout(spool: &Spool, name: Option<&str>, take: Take<'_>) -> Result<()> {
    let index: ImageIndex = serde_json::from_slice(&spool.json("index.json")?).map_err(invalid)?;
    for descriptor in index.manifests().iter().take(MAX_IMAGES) {
        let annotations = descriptor.annotations().clone().unwrap_or_default();
        let given = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .iter()
            .find_map(|key| annotations.get(*key))
            // The annotation may be a mere tag, which names no image.
            .filter(|name| name.contains(['/', ':']) || name.contains('@'));
        let tags = names(given.iter().map(|name| name.as_str()), name)?;
        let manifest = spool_manifest(spool, descriptor, 0)?;
        let parsed: ImageManifest = serde_json::from_slice(&manifest).map_err(invalid)?;
        let config = spool.blob(parsed.config())?;
        if parse_config(&config)?.diff_ids.len() != parsed.layers().len() {
            return Err(invalid("its config names other layers than its manifest"));
        }
        let mut layers = Vec::new();
        for layer in parsed.layers() {
            let digest = layer.digest().to_string();
            layers.push((spool.path(&blob_name(&digest))?.to_path_buf(), Some(digest)));
        }
        take(Archived { tags, config, manifest: Some(manifest), layers })?;
    }
    Ok(())
}

/// Completes the references of one image.
fn names<'a>(given: impl Iterator<Item = &'a str>, fallback: Option<&'a str>) -> Result<Vec<String>> {
    let mut all: Vec<&str> = given.collect();
    if all.is_empty() {
        all.extend(fallback);
    }
    if all.is_empty() {
        return Err(invalid("it names no image: say by --tag what it is called"));
    }
    all.iter().map(|name| Ok(Reference::parse(name).map_err(invalid)?.to_string())).collect()
}

fn open(path: &Path, digest: Option<&str>) -> io::Result<Box<dyn Read>> {
    if let Some(digest) = digest {
        let (actual, _) = Hashing::new(File::open(path)?).finish()?;
        if actual != digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("blob {digest} has digest {actual}")));
        }
    }
    Ok(Box::new(File::open(path)?))
}

/// The manifest for this machine that a descriptor leads to.
fn spool_manifest(spool: &Spool, descriptor: &Descriptor, depth: usize) -> Result<Vec<u8>> {
    let bytes = spool.blob(descriptor)?;
    if !is_index(&bytes) {
        return Ok(bytes);
    }
    if depth >= MAX_DEPTH {
        return Err(invalid("its indexes are nested too deeply"));
    }
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(invalid)?;
    let present = |found: &&Descriptor| spool.path(&blob_name(found.digest().as_ref())).is_ok();
    let found = index.manifests().iter().filter(present).find(|found| is_for_us(found));
    let found = found.ok_or_else(|| invalid(format_args!("it has no image for {}", platform())))?;
    spool_manifest(spool, found, depth + 1)
}

/// Whether the JSON is an index (or Docker's manifest list) rather than a manifest.
pub(super) fn is_index(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        manifests: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Shape>(bytes).is_ok_and(|shape| shape.manifests.is_some())
}

/// The architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `linux/amd64`.
pub(super) fn platform() -> String {
    format!("linux/{}", architecture())
}

/// Whether a manifest in an index is for this machine; one that does not say counts as such.
pub(super) fn is_for_us(descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_none_or(|platform| {
        platform.os().to_string() == "linux" && platform.architecture().to_string() == architecture()
    })
}
