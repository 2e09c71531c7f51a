//! The image store: configs and manifests by digest, each layer unpacked once, references in one small file.
//!
//! ```text
//! ROOT/content/sha256/HEX   manifests and configs
//! ROOT/layers/HEX20         an unpacked layer, named by the start of its diff ID
//! ROOT/ingest/              half-made things, emptied at start
//! ROOT/images.json          all images; replaced whole by rename
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::reference::{Reference, is_digest};
use super::unpack::{Hashing, decompress, digest_of, unpack};
use crate::cri::{CriError, Image};

/// Digits of a diff ID that name a layer's directory: short, because many of them share one page of mount options.
const LAYER_NAME: usize = 20;

/// One unpacked layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of its plain tar.
    pub diff_id: String,
    /// Bytes of file content.
    pub size: u64,
}

impl Layer {
    /// Its directory's name below `layers`.
    pub fn directory(&self) -> String {
        layer_name(&self.diff_id)
    }
}

fn layer_name(diff_id: &str) -> String {
    diff_id.trim_start_matches("sha256:").chars().take(LAYER_NAME).collect()
}

/// An image as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the config.
    pub id: String,
    /// References with tags, in full.
    pub tags: BTreeSet<String>,
    /// References with digests.
    pub digests: BTreeSet<String>,
    /// Layers, the lowest first.
    pub layers: Vec<Layer>,
    /// What the image says about running it.
    pub config: RunConfig,
    /// Seconds since the epoch.
    pub created: i64,
}

/// The part of an image's config that containers need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Arguments of the entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value` lines.
    pub env: Vec<String>,
    /// User, as in [`crate::cri::Image`] and with an optional group.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Signal that asks it to stop.
    pub stop_signal: String,
}

/// Layer blob of an image being added.
pub(super) struct LayerSource<'a> {
    /// Digest that the plain tar must have.
    pub diff_id: String,
    /// Opens the blob, compressed or not.
    pub open: Box<dyn FnOnce() -> io::Result<Box<dyn Read>> + Send + 'a>,
}

/// The store.
pub struct ImageStore {
    root: PathBuf,
    images: Mutex<BTreeMap<String, ImageRecord>>,
    /// Held while layers are added or collected.
    changing: Mutex<()>,
    sequence: std::sync::atomic::AtomicU64,
}

fn internal(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> CriError {
    let what = what.to_string();
    move |error| CriError::Internal(format!("{what}: {error}"))
}

impl ImageStore {
    /// Opens the store, making it when there is none.
    pub fn open(root: &Path) -> io::Result<Self> {
        let _ = fs::remove_dir_all(root.join("ingest"));
        for dir in ["content/sha256", "layers", "ingest"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let path = root.join("images.json");
        let images: BTreeMap<String, ImageRecord> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {error}; remove it and load the images again", path.display()),
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            root: root.to_path_buf(),
            images: Mutex::new(images),
            changing: Mutex::new(()),
            sequence: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Where the layers are.
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// A path for something half-made.
    pub(super) fn ingest_path(&self) -> PathBuf {
        let number = self.sequence.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.root.join("ingest").join(format!("{}-{number}", std::process::id()))
    }

    fn content_path(&self, digest: &str) -> PathBuf {
        self.root.join("content/sha256").join(digest.trim_start_matches("sha256:"))
    }

    pub(super) fn has_layer(&self, diff_id: &str) -> bool {
        self.layers_dir().join(layer_name(diff_id)).is_dir()
    }

    /// Finds an image by ID, reference or short name.
    pub fn find(&self, image: &str) -> Option<ImageRecord> {
        let images = self.images.lock();
        let id = if is_digest(image) { image.to_string() } else { format!("sha256:{image}") };
        if let Some(found) = images.get(&id) {
            return Some(found.clone());
        }
        let reference = Reference::parse(image).ok()?;
        let by_digest = reference.digest.as_ref().map(|digest| format!("{}@{digest}", reference.name()));
        let tagged = reference.to_string();
        images
            .values()
            .find(|record| match &by_digest {
                Some(name) => record.digests.contains(name),
                None => record.tags.contains(&tagged),
            })
            .cloned()
    }

    /// All images.
    pub fn list(&self) -> Vec<ImageRecord> {
        self.images.lock().values().cloned().collect()
    }

    /// Adds an image: unpacks the layers that are missing, then names it.
    pub(super) fn add(
        &self,
        config: &[u8],
        manifest: Option<&[u8]>,
        tags: &[String],
        digests: &[String],
        layers: Vec<LayerSource<'_>>,
    ) -> crate::cri::Result<String> {
        let _changing = self.changing.lock();
        let parsed = parse_config(config)?;
        if parsed.diff_ids.len() != layers.len()
            || parsed.diff_ids.iter().zip(&layers).any(|(id, layer)| *id != layer.diff_id)
        {
            return Err(CriError::Internal("the image's config names other layers than its manifest".into()));
        }
        let mut records = Vec::with_capacity(layers.len());
        let mut unpacked = false;
        for layer in layers {
            let (diff_id, present) = (layer.diff_id.clone(), self.has_layer(&layer.diff_id));
            unpacked |= !present;
            let size = self.add_layer(layer).map_err(internal(format_args!("failed to extract layer {diff_id}")))?;
            records.push(Layer { diff_id, size });
        }
        if unpacked {
            // The name must not become durable before the content.
            let layers = fs::File::open(self.layers_dir()).map_err(internal("opening the layers"))?;
            rustix::fs::syncfs(&layers).map_err(|error| internal("syncing the layers")(error.into()))?;
        }
        let id = digest_of(config);
        let mut contents = vec![(id.clone(), config)];
        contents.extend(manifest.map(|bytes| (digest_of(bytes), bytes)));
        for (digest, bytes) in contents {
            replace(&self.content_path(&digest), bytes).map_err(internal("writing content"))?;
        }
        let mut images = self.images.lock();
        let mut next = images.clone();
        for record in next.values_mut() {
            record.tags.retain(|tag| !tags.contains(tag));
        }
        let record = next.entry(id.clone()).or_default();
        record.id = id.clone();
        record.layers = records;
        record.config = parsed.run;
        record.created = parsed.created;
        record.tags.extend(tags.iter().cloned());
        record.digests.extend(digests.iter().cloned());
        // An image that lost its last name to this one goes, as far as nothing pins it.
        next.retain(|_, record| !record.tags.is_empty() || !record.digests.is_empty());
        self.save(&next)?;
        *images = next;
        Ok(id)
    }

    fn add_layer(&self, layer: LayerSource<'_>) -> io::Result<u64> {
        if !is_digest(&layer.diff_id) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its digest is not sha256"));
        }
        let target = self.layers_dir().join(layer_name(&layer.diff_id));
        let size_file = self.content_path(&layer.diff_id).with_extension("size");
        if target.is_dir() {
            return Ok(fs::read_to_string(&size_file).ok().and_then(|text| text.parse().ok()).unwrap_or(0));
        }
        let temporary = self.ingest_path();
        fs::create_dir(&temporary)?;
        let result = (|| {
            let mut reader = Hashing::new(io::BufReader::with_capacity(1 << 17, decompress((layer.open)()?)?));
            let size = unpack(&mut reader, &temporary)?;
            let (digest, _) = reader.finish()?;
            if digest != layer.diff_id {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("wrong diff id calculated on extraction {digest:?}, want {:?}", layer.diff_id),
                ));
            }
            fs::write(&size_file, size.to_string())?;
            fs::rename(&temporary, &target)?;
            Ok(size)
        })();
        if result.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        result
    }

    fn save(&self, images: &BTreeMap<String, ImageRecord>) -> crate::cri::Result<()> {
        let bytes = serde_json::to_vec(images).map_err(|error| CriError::Internal(error.to_string()))?;
        replace(&self.root.join("images.json"), &bytes).map_err(internal("writing images.json"))
    }

    /// Removes a reference, or with an ID the whole image; then collects layers that nothing uses. `in_use` are
    /// directories of layers that containers hold.
    pub fn remove(&self, image: &str, in_use: &BTreeSet<String>) -> crate::cri::Result<()> {
        let Some(found) = self.find(image) else { return Ok(()) };
        {
            let mut images = self.images.lock();
            let mut next = images.clone();
            if let Some(record) = next.get_mut(&found.id) {
                match Reference::parse(image) {
                    Ok(reference) if !is_digest(image) && record.tags.contains(&reference.to_string()) => {
                        record.tags.remove(&reference.to_string());
                        if record.tags.is_empty() {
                            next.remove(&found.id);
                        }
                    }
                    Ok(reference) if !is_digest(image) && record.digests.contains(&reference.to_string()) => {
                        record.digests.remove(&reference.to_string());
                        if record.tags.is_empty() && record.digests.is_empty() {
                            next.remove(&found.id);
                        }
                    }
                    _ => {
                        next.remove(&found.id);
                    }
                }
            }
            self.save(&next)?;
            *images = next;
        }
        self.collect(in_use);
        Ok(())
    }

    /// Removes layers and content that no image and no container uses.
    pub fn collect(&self, in_use: &BTreeSet<String>) {
        let _changing = self.changing.lock();
        let images = self.list();
        let layers: BTreeSet<String> =
            images.iter().flat_map(|image| &image.layers).map(Layer::directory).chain(in_use.iter().cloned()).collect();
        for entry in fs::read_dir(self.layers_dir()).into_iter().flatten().flatten() {
            if !layers.contains(entry.file_name().to_string_lossy().as_ref()) {
                // Renamed first, so that a crash leaves no half layer under its name.
                let doomed = self.ingest_path();
                if fs::rename(entry.path(), &doomed).is_ok() {
                    let _ = fs::remove_dir_all(doomed);
                }
            }
        }
        let mut kept: BTreeSet<String> = images.iter().map(|image| image.id.clone()).collect();
        kept.extend(images.iter().flat_map(|image| &image.layers).map(|layer| layer.diff_id.clone()));
        kept.extend(
            images.iter().flat_map(|image| &image.digests).filter_map(|name| Some(name.split_once('@')?.1.to_string())),
        );
        for entry in fs::read_dir(self.root.join("content/sha256")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = format!("sha256:{}", name.trim_end_matches(".size"));
            // The size of a layer stays as long as the layer, which a container may hold.
            let of_layer = name.ends_with(".size") && layers.contains(&layer_name(&digest));
            if !kept.contains(&digest) && !of_layer {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Bytes and inodes in use.
    pub fn usage(&self) -> (u64, u64) {
        crate::runtime::disk_usage(&self.root)
    }
}

impl ImageRecord {
    /// As CRI shows it.
    pub fn to_cri(&self) -> Image {
        let user = self.config.user.split(':').next().unwrap_or_default();
        let uid = user.parse().ok();
        Image {
            id: self.id.clone(),
            repo_tags: self.tags.iter().cloned().collect(),
            repo_digests: self.digests.iter().cloned().collect(),
            size: self.layers.iter().map(|layer| layer.size).sum(),
            uid: if user.is_empty() { Some(0) } else { uid },
            username: if uid.is_none() { user.to_string() } else { String::new() },
            created: self.created,
        }
    }

    /// The reference that a container's status shows: one with digest, or the ID.
    pub fn image_ref(&self) -> String {
        self.digests.first().unwrap_or(&self.id).clone()
    }
}

/// What a config says that the store needs.
pub(super) struct ParsedConfig {
    pub diff_ids: Vec<String>,
    run: RunConfig,
    created: i64,
}

/// Reads an image config, checking that it is for this machine.
pub(super) fn parse_config(bytes: &[u8]) -> crate::cri::Result<ParsedConfig> {
    let config: oci_spec::image::ImageConfiguration = serde_json::from_slice(bytes)
        .map_err(|error| CriError::Internal(format!("the image's config cannot be read: {error}")))?;
    let run = config.config().clone().unwrap_or_default();
    Ok(ParsedConfig {
        diff_ids: config.rootfs().diff_ids().iter().map(ToString::to_string).collect(),
        created: config.created().as_deref().map_or(0, parse_time),
        run: RunConfig {
            entrypoint: run.entrypoint().clone().unwrap_or_default(),
            cmd: run.cmd().clone().unwrap_or_default(),
            env: run.env().clone().unwrap_or_default(),
            user: run.user().clone().unwrap_or_default(),
            working_dir: run.working_dir().clone().unwrap_or_default(),
            stop_signal: run.stop_signal().clone().unwrap_or_default(),
        },
    })
}

/// Seconds since the epoch of an RFC 3339 time in UTC; 0 when it is none.
fn parse_time(text: &str) -> i64 {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<i64>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (year, month, day, hour, minute, second) = (next(), next(), next(), next(), next(), next());
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return 0;
    }
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era_days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = era_days + (153 * shifted_month + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + hour * 3_600 + minute * 60 + second
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_times_are_understood() {
        assert_eq!(parse_time("2000-02-29T00:00:00Z"), 951_782_400);
        assert_eq!(parse_time("1970-01-02T00:00:01.5Z"), 86_401);
        assert_eq!(parse_time("nonsense"), 0);
    }
}
