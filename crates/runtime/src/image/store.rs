//! The image store: configs and manifests by digest, each layer unpacked once, references in one small file.
//!
//! ```text
//! ROOT/content/sha256/HEX   manifests and configs
//! ROOT/layers/HEX           an unpacked layer, named by its diff ID
//! ROOT/ingest/              half-made things, emptied at start
//! ROOT/images.json          all images; replaced whole by rename
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_files::{Durability, replace};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::reference::{Reference, is_digest};
use super::room::{Bounded, Room};
use super::share::link_tree;
use super::unpack::{Hashing, decompress, digest_of, unpack};
use crate::cri::{CriError, Image};

/// Digits of a diff ID by which earlier versions named a layer's directory.
const SHORT_NAME: usize = 20;
/// Most layers of one image: overlayfs takes no more.
pub(super) const MAX_LAYERS: usize = 500;

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
    diff_id.trim_start_matches("sha256:").to_owned()
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
    /// Paths of the container that are to be directories of its own. Images that earlier versions stored have none.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// A layer of an image being added.
pub(super) struct LayerSource<'a> {
    /// Digest that the plain tar must have.
    pub diff_id: String,
    /// What is in it.
    pub contents: Contents<'a>,
}

/// Where what is in a layer comes from.
pub(super) enum Contents<'a> {
    /// Opens its blob, compressed or not.
    Blob(Box<dyn FnOnce() -> io::Result<Box<dyn Read>> + Send + 'a>),
    /// Another store on this disk, which has unpacked it and checked its digest.
    Unpacked {
        /// Its directory there.
        directory: PathBuf,
        /// Bytes of its files.
        size: u64,
    },
}

/// The store.
pub struct ImageStore {
    root: PathBuf,
    images: Mutex<BTreeMap<String, ImageRecord>>,
    /// Held while an image is named and while layers are collected.
    changing: Mutex<()>,
    /// Layers of images that are being added.
    pins: Pins,
    sequence: std::sync::atomic::AtomicU64,
}

/// Layers that are not collected, by name: how many images are being added with each, and a lock for unpacking it.
type Pins = Mutex<BTreeMap<String, (usize, Arc<Mutex<()>>)>>;

/// Keeps one layer from being collected.
struct Pin<'a> {
    pins: &'a Pins,
    name: String,
    unpacking: Arc<Mutex<()>>,
}

impl<'a> Pin<'a> {
    fn new(pins: &'a Pins, diff_id: &str) -> Self {
        let name = layer_name(diff_id);
        let mut held = pins.lock();
        let (count, unpacking) = held.entry(name.clone()).or_default();
        *count += 1;
        Self { pins, name, unpacking: unpacking.clone() }
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut held = self.pins.lock();
        if let Some((count, _)) = held.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.name);
            }
        }
    }
}

/// A layer without a name, which goes unless it gets one.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = crate::tree::remove(&self.0);
    }
}

fn internal(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> CriError {
    let what = what.to_string();
    move |error| CriError::Internal(format!("{what}: {error}"))
}

impl ImageStore {
    /// Opens the store, making it when there is none.
    pub fn open(root: &Path) -> io::Result<Self> {
        crate::tree::remove(&root.join("ingest"))?;
        for dir in ["content/sha256", "layers", "ingest"] {
            fs::create_dir_all(root.join(dir))?;
        }
        // Layers have setuid files, which other users of the node must not run.
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
        let mut images = read_images(root)?;
        let layers = root.join("layers");
        lengthen_names(&layers, &images)?;
        images.retain(|id, image| {
            let whole = image.layers.iter().all(|layer| layers.join(layer.directory()).is_dir());
            if !whole {
                tracing::warn!(%id, tags = ?image.tags, "an image lacks a layer; load or pull it again");
            }
            whole
        });
        Ok(Self {
            root: root.to_path_buf(),
            images: Mutex::new(images),
            changing: Mutex::new(()),
            pins: Pins::default(),
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

    /// Keeps the layers of an image from being collected.
    pub(super) fn pin(&self, record: &ImageRecord) -> impl Sized + '_ {
        record.layers.iter().map(|layer| Pin::new(&self.pins, &layer.diff_id)).collect::<Vec<_>>()
    }

    /// A config or manifest.
    pub(super) fn content(&self, digest: &str) -> io::Result<Vec<u8>> {
        fs::read(self.content_path(digest))
    }

    fn content_path(&self, digest: &str) -> PathBuf {
        self.root.join("content/sha256").join(digest.trim_start_matches("sha256:"))
    }

    pub(super) fn has_layer(&self, diff_id: &str) -> bool {
        is_digest(diff_id) && self.layers_dir().join(layer_name(diff_id)).is_dir()
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
        let parsed = parse_config(config)?;
        if layers.len() > MAX_LAYERS {
            return Err(CriError::Internal(format!("the image has more than {MAX_LAYERS} layers")));
        }
        if let Some(bad) = parsed.diff_ids.iter().find(|diff_id| !is_digest(diff_id)) {
            return Err(CriError::Internal(format!("the image's config names a layer {bad:?}, which is no digest")));
        }
        if parsed.diff_ids.len() != layers.len()
            || parsed.diff_ids.iter().zip(&layers).any(|(id, layer)| *id != layer.diff_id)
        {
            return Err(CriError::Internal("the image's config names other layers than its manifest".into()));
        }
        let pins: Vec<Pin<'_>> = layers.iter().map(|layer| Pin::new(&self.pins, &layer.diff_id)).collect();
        let records = self.unpack_missing(layers, &pins)?;
        let _changing = self.changing.lock();
        let id = digest_of(config);
        let mut contents = vec![(id.clone(), config)];
        contents.extend(manifest.map(|bytes| (digest_of(bytes), bytes)));
        for (digest, bytes) in contents {
            replace(&self.content_path(&digest), bytes, 0o600, Durability::Whole)
                .map_err(internal("writing content"))?;
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

    /// Unpacks the layers that are missing and names them once they are all on the disk.
    fn unpack_missing(&self, layers: Vec<LayerSource<'_>>, pins: &[Pin<'_>]) -> crate::cri::Result<Vec<Layer>> {
        // Whoever comes second finds layers there. Everybody takes their turns in one order, so that no two wait for
        // each other.
        let turns: BTreeMap<&str, &Mutex<()>> = pins.iter().map(|pin| (pin.name.as_str(), &*pin.unpacking)).collect();
        let _turns: Vec<_> = turns.values().map(|turn| turn.lock()).collect();
        let mut records = Vec::with_capacity(layers.len());
        let mut fresh: BTreeMap<PathBuf, Unpacked> = BTreeMap::new();
        for layer in layers {
            let diff_id = layer.diff_id.clone();
            let target = self.layers_dir().join(layer_name(&diff_id));
            let size = if target.is_dir() || fresh.contains_key(&target) {
                let text = fs::read_to_string(self.size_file(&diff_id));
                text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
            } else {
                let unpacked = Unpacked(self.ingest_path());
                let size = self
                    .unpack(layer, &unpacked.0)
                    .map_err(internal(format_args!("failed to extract layer {diff_id}")))?;
                fresh.insert(target, unpacked);
                size
            };
            records.push(Layer { diff_id, size });
        }
        if !fresh.is_empty() {
            // A name must not become durable before the content: it is believed without another look.
            let synced = fs::File::open(self.layers_dir()).and_then(|layers| Ok(rustix::fs::syncfs(layers)?));
            synced.map_err(internal("syncing the layers"))?;
        }
        for (target, unpacked) in fresh {
            fs::rename(&unpacked.0, target).map_err(internal("naming a layer"))?;
        }
        Ok(records)
    }

    fn size_file(&self, diff_id: &str) -> PathBuf {
        self.content_path(diff_id).with_extension("size")
    }

    /// Unpacks a layer into a new directory and checks its digest; answers with the bytes of its files.
    fn unpack(&self, layer: LayerSource<'_>, directory: &Path) -> io::Result<u64> {
        fs::create_dir(directory)?;
        let open = match layer.contents {
            Contents::Blob(open) => open,
            Contents::Unpacked { directory: other, size } => {
                link_tree(&other, directory)?;
                fs::write(self.size_file(&layer.diff_id), size.to_string())?;
                return Ok(size);
            }
        };
        let mut room = Room::of(directory)?;
        let plain = Bounded::new(decompress(open()?)?, room.left()?);
        let mut reader = Hashing::new(io::BufReader::with_capacity(1 << 17, plain));
        let size = unpack(&mut reader, directory, &mut room)?;
        let (digest, _) = reader.finish()?;
        if digest != layer.diff_id {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("wrong diff id calculated on extraction {digest:?}, want {:?}", layer.diff_id),
            ));
        }
        fs::write(self.size_file(&layer.diff_id), size.to_string())?;
        Ok(size)
    }

    fn save(&self, images: &BTreeMap<String, ImageRecord>) -> crate::cri::Result<()> {
        let bytes = serde_json::to_vec(images).map_err(|error| CriError::Internal(error.to_string()))?;
        replace(&self.root.join("images.json"), &bytes, 0o600, Durability::Whole)
            .map_err(internal("writing images.json"))
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
        for doomed in self.unname_unused(in_use) {
            if let Err(error) = crate::tree::remove(&doomed) {
                tracing::warn!(path = %doomed.display(), %error, "a layer that nothing uses cannot be removed");
            }
        }
    }

    /// Renames layers and removes content that nothing uses; answers with where the layers are now. They are renamed
    /// first, so that a crash leaves no half layer under its name.
    fn unname_unused(&self, in_use: &BTreeSet<String>) -> Vec<PathBuf> {
        let _changing = self.changing.lock();
        let pins = self.pins.lock();
        let images = self.list();
        let mut layers: BTreeSet<String> =
            images.iter().flat_map(|image| &image.layers).map(Layer::directory).collect();
        layers.extend(pins.keys().cloned());
        // A container that was made by an earlier version knows the start of the name only.
        let held = |name: &str| layers.contains(name) || in_use.iter().any(|used| name.starts_with(used.as_str()));
        let mut doomed = Vec::new();
        for entry in fs::read_dir(self.layers_dir()).into_iter().flatten().flatten() {
            if !held(&entry.file_name().to_string_lossy()) {
                let path = self.ingest_path();
                if fs::rename(entry.path(), &path).is_ok() {
                    doomed.push(path);
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
            let of_layer = name.ends_with(".size") && held(&layer_name(&digest));
            if !kept.contains(&digest) && !of_layer {
                let _ = fs::remove_file(entry.path());
            }
        }
        doomed
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
            volumes: run.volumes().clone().unwrap_or_default(),
        },
    })
}

/// Seconds since the epoch of an RFC 3339 time; 0 when it is none.
fn parse_time(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second().max(0))
}

/// Gives layers of an earlier version, which were named by the start of their digest, their full names. A start that
/// two layers share says which of them is there only by chance: it goes, and their images are to be loaded again.
fn lengthen_names(layers: &Path, images: &BTreeMap<String, ImageRecord>) -> io::Result<()> {
    let names: BTreeSet<String> = images.values().flat_map(|image| &image.layers).map(Layer::directory).collect();
    for entry in fs::read_dir(layers)? {
        let entry = entry?;
        let short = entry.file_name().to_string_lossy().into_owned();
        if short.len() != SHORT_NAME {
            continue;
        }
        let mut full = names.iter().filter(|name| name.starts_with(&short));
        match (full.next(), full.next()) {
            (Some(name), None) if !layers.join(name).exists() => fs::rename(entry.path(), layers.join(name))?,
            _ => crate::tree::remove(&entry.path())?,
        }
    }
    Ok(())
}

/// Writes a file whole or not at all.
/// The images that the store in a directory has named.
pub(super) fn read_images(root: &Path) -> io::Result<BTreeMap<String, ImageRecord>> {
    let path = root.join("images.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {error}; remove it and load the images again", path.display()),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_testing::is_root;

    #[test]
    fn creation_times_are_understood() {
        assert_eq!(parse_time("2000-02-29T00:00:00Z"), 951_782_400);
        assert_eq!(parse_time("1970-01-02T00:00:01.5Z"), 86_401);
        assert_eq!(parse_time("1970-01-02T01:30:00+01:30"), 86_400);
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), 0);
        assert_eq!(parse_time("nonsense"), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_config_makes_it_panic(text in "\\{(\"(rootfs|config|created|architecture|os|diff_ids|User|Env)\": ?(null|1|\"[a-z:T0-9-]{0,12}\"|\\[\"[a-z:0]{0,9}\"\\]|\\{\\}),?){0,5}\\}?") {
            let _ = parse_config(text.as_bytes());
            let _ = parse_time(&text);
        }
    }

    /// An image of one layer with one file, as `docker save` writes it; answers with the layer's diff ID, too.
    fn archive(name: &str, content: impl Read, size: u64) -> (String, Vec<u8>) {
        let append = |builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &mut dyn Read, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_size(size);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content).unwrap();
        };
        let mut layer = tar::Builder::new(Vec::new());
        append(&mut layer, "file", &mut content.take(size), size);
        let layer = layer.into_inner().unwrap();
        let diff_id = digest_of(&layer);
        let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [&diff_id]}});
        let manifest = serde_json::json!([{"Config": "c", "RepoTags": [name], "Layers": ["l"]}]);
        let mut whole = tar::Builder::new(Vec::new());
        for (path, bytes) in [
            ("c", config.to_string().as_bytes()),
            ("l", &zstd::encode_all(&layer[..], 1).unwrap()),
            ("manifest.json", manifest.to_string().as_bytes()),
        ] {
            append(&mut whole, path, &mut &*bytes, bytes.len() as u64);
        }
        (diff_id, whole.into_inner().unwrap())
    }

    #[test]
    fn two_layers_whose_digests_begin_alike_are_two_layers() {
        let dir = tempfile::tempdir().unwrap();
        let start = "0".repeat(40);
        fs::create_dir_all(dir.path().join("layers").join(&start[..SHORT_NAME])).unwrap();
        fs::create_dir(dir.path().join("layers").join(format!("{start}{}", "a".repeat(24)))).unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        assert!(store.has_layer(&format!("sha256:{start}{}", "a".repeat(24))));
        assert!(!store.has_layer(&format!("sha256:{start}{}", "b".repeat(24))));
    }

    #[test]
    fn layers_with_short_names_of_an_earlier_version_are_found_unless_they_are_ambiguous() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |digits: &str| Layer { diff_id: format!("sha256:{digits:0<64}"), size: 1 };
        let image = |id: &str, layers: Vec<Layer>| {
            let tags = BTreeSet::from([format!("docker.io/library/{id}:1")]);
            (id.to_owned(), ImageRecord { id: id.into(), tags, layers, ..Default::default() })
        };
        let twin = format!("{}1", "c".repeat(20));
        let images = BTreeMap::from([
            image("good", vec![layer("a"), layer("b")]),
            image("one", vec![layer(&"c".repeat(20))]),
            image("other", vec![layer(&twin)]),
        ]);
        for layer in images.values().flat_map(|image| &image.layers) {
            fs::create_dir_all(dir.path().join("layers").join(&layer.directory()[..SHORT_NAME])).unwrap();
        }
        fs::write(dir.path().join("images.json"), serde_json::to_vec(&images).unwrap()).unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        assert_eq!(store.list().into_iter().map(|image| image.id).collect::<Vec<_>>(), ["good"]);
        assert!(store.has_layer(&layer("a").diff_id) && !store.has_layer(&layer(&twin).diff_id));
        // A container of the earlier version holds its layers by their short names.
        store.remove("good:1", &BTreeSet::from([layer("a").directory()[..SHORT_NAME].to_owned()])).unwrap();
        assert!(store.has_layer(&layer("a").diff_id) && !store.has_layer(&layer("b").diff_id));
    }

    #[test]
    fn a_layer_of_an_image_that_is_being_added_is_not_collected() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700, "of no use to others");
        let (diff_id, bytes) = archive("a:1", io::repeat(1), 10);
        store.import(&bytes[..], None).unwrap();
        let pin = Pin::new(&store.pins, &diff_id);
        store.remove("a:1", &BTreeSet::new()).unwrap();
        assert!(store.has_layer(&diff_id));
        drop(pin);
        store.collect(&BTreeSet::new());
        assert!(!store.has_layer(&diff_id) && store.pins.lock().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
    }

    #[test]
    fn a_layer_that_is_no_digest_names_nothing_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        assert!(!store.has_layer("sha256:../content"));
        let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:../../x"]}});
        let open: Box<dyn FnOnce() -> io::Result<Box<dyn Read>> + Send> = Box::new(|| Ok(Box::new(io::empty())));
        let layers = vec![LayerSource { diff_id: "sha256:../../x".into(), contents: Contents::Blob(open) }];
        let error = store.add(config.to_string().as_bytes(), None, &[], &[], layers).unwrap_err().to_string();
        assert!(error.contains("no digest"), "{error}");
    }

    #[test]
    fn images_with_a_layer_in_common_can_be_added_at_once() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for name in ["a:1", "b:1", "c:1", "d:1"] {
                let store = &store;
                scope.spawn(move || store.import(&archive(name, io::repeat(1), 1 << 16).1[..], None).unwrap());
            }
        });
        assert_eq!(store.list()[0].tags.len(), 4);
        assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
    }

    #[test]
    fn a_small_image_that_becomes_large_leaves_the_disk_its_reserve() {
        if !is_root() {
            return;
        }
        let thread = std::thread::spawn(|| {
            crate::sys::unshare(libc::CLONE_NEWNS).unwrap();
            crate::sys::mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, b"").unwrap();
            let dir = tempfile::tempdir().unwrap();
            crate::sys::mount("tmpfs", &dir.path().to_string_lossy(), "tmpfs", 0, b"size=64m").unwrap();
            let store = ImageStore::open(dir.path()).unwrap();
            let (_, bytes) = archive("a:1", io::repeat(0), 128 << 20);
            assert!(bytes.len() < 1 << 20);
            let error = store.import(&bytes[..], None).unwrap_err().to_string();
            assert!(error.contains("larger than") && error.contains("all the room there is"), "{error}");
            assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
            // An archive that is itself too large for the disk is not spooled to its end.
            let mut header = tar::Header::new_gnu();
            header.set_path("blob").unwrap();
            header.set_size(1 << 40);
            header.set_mode(0o644);
            header.set_cksum();
            let endless = header.as_bytes().chain(io::repeat(0));
            let error = store.import(endless, None).unwrap_err().to_string();
            assert!(error.contains("room"), "{error}");
            assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
            store.import(&archive("b:1", io::repeat(7), 8).1[..], None).expect("what fits is loaded");
        });
        thread.join().unwrap();
    }
}
