//! The registry of a local cluster (`up --registry`): part of the server's daemon, and on the host at a port of its own.
//!
//! On the host it is at 127.0.0.1 alone, by plain HTTP and without credentials, as clients expect of localhost; its socket
//! comes as those of published ports. To nodes it has no port at all: all of them are on the host, so each opens the directory and asks
//! within its own process, only to read. So neither pods nor whoever is on the network reach it.

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use coracle_client::Backoff;
use coracle_registry::{Access, Config, Registry, serve_connection};
use coracle_runtime::cri::{CriError, Result as CriResult};
use coracle_runtime::{Archived, LocalRegistry, Reference, Room, Runtime};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::cluster::Cluster;

/// Where KEP-1755 says that tools look.
const NAMESPACE: &str = "kube-public";
const HOSTING: &str = "local-registry-hosting";
/// Who writes that.
const MANAGER: &str = "coracle-registry";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const IMAGE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry that is open.
#[derive(Clone)]
pub struct Open {
    pub registry: Arc<Registry>,
    pub port: u16,
    /// What it is called besides localhost.
    name: String,
}

/// Opens the registry of a cluster whose data are in a directory, if it is to have one.
///
/// # Errors
/// The directory cannot be made.
pub fn open(cluster: &Cluster, dir: &Path) -> Result<Option<Open>> {
    let Some(port) = cluster.registry else { return Ok(None) };
    let dir = dir.join("registry");
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    let room = Room::of(&dir)?;
    let name = format!("{}-registry", cluster.name);
    let config = Config { dir, room: Box::new(move || room.left()), hosts: vec![name.clone()] };
    let registry = Registry::open(config).context("failed to open the registry")?;
    Ok(Some(Open { registry: Arc::new(registry), port, name }))
}

impl Open {
    /// How the runtime of a node reaches it.
    pub fn for_nodes(&self) -> LocalRegistry {
        let registry = self.registry.clone();
        let names = ["localhost", "127.0.0.1", &self.name].map(|name| format!("{name}:{}", self.port));
        let serve = Arc::new(move |stream| {
            tokio::spawn(serve_connection(registry.clone(), stream, Access::Read));
        });
        LocalRegistry { names: names.into(), serve }
    }

    /// Stores the images of an archive; answers with what pods call them. Blocks.
    ///
    /// # Errors
    /// The archive cannot be read, or the disk has no room.
    pub fn push_archive(&self, runtime: &Runtime, reader: impl Read, name: Option<&str>) -> Result<Vec<String>> {
        self.push_each(|take| runtime.read_archive(reader, name, take))
    }

    /// Stores an image that the node has; answers as [`Open::push_archive`].
    ///
    /// # Errors
    /// There is no such image, or the disk has no room.
    pub fn push_stored(&self, runtime: &Runtime, image: &str) -> Result<Vec<String>> {
        self.push_each(|take| runtime.export(image, take))
    }

    fn push_each(
        &self,
        read: impl FnOnce(&mut dyn FnMut(Archived) -> CriResult<()>) -> CriResult<()>,
    ) -> Result<Vec<String>> {
        let (mut pushed, mut failed) = (Vec::new(), None);
        let result = read(&mut |image| match self.push(&image) {
            Ok(names) => {
                pushed.extend(names);
                Ok(())
            }
            Err(error) => {
                let text = format!("{error:#}");
                failed = Some(error);
                Err(CriError::Internal(text))
            }
        });
        match failed {
            Some(error) => Err(error),
            None => result.map(|()| pushed).map_err(|error| anyhow!(error)),
        }
    }

    fn push(&self, image: &Archived) -> Result<Vec<String>> {
        let mut pushed = Vec::new();
        for tag in &image.tags {
            let reference = Reference::parse(tag).map_err(|error| anyhow!(error))?;
            let (repository, tag) = (repository(&reference), reference.tag.as_deref().unwrap_or("latest"));
            let mut layers = Vec::new();
            for (path, _) in &image.layers {
                let mut file = std::fs::File::open(path)?;
                let (digest, size) = self.registry.put_blob(repository, &mut file)?;
                layers.push(descriptor(&layer_type(path)?, &digest, size));
            }
            let (digest, size) = self.registry.put_blob(repository, &mut &image.config[..])?;
            let made = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(IMAGE, &digest, size),
                "layers": layers})
            .to_string();
            let manifest = image.manifest.as_deref().unwrap_or(made.as_bytes());
            self.registry.put_manifest(repository, Some(tag), &media_type(manifest), manifest)?;
            pushed.push(format!("localhost:{}/{repository}:{tag}", self.port));
        }
        Ok(pushed)
    }
}

/// What an image is called in the registry: without the registry that it names, and those of Docker's own without theirs.
fn repository(reference: &Reference) -> &str {
    let path = reference.path.as_str();
    match reference.domain.as_str() {
        "docker.io" => path.strip_prefix("library/").unwrap_or(path),
        _ => path,
    }
}

fn descriptor(media_type: &str, digest: &coracle_registry::Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

/// The media type of a layer, by how it begins.
fn layer_type(path: &PathBuf) -> Result<String> {
    let mut begin = Vec::new();
    std::fs::File::open(path)?.take(4).read_to_end(&mut begin)?;
    Ok(match begin.as_slice() {
        [0x1f, 0x8b, ..] => format!("{LAYER}+gzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => format!("{LAYER}+zstd"),
        _ => LAYER.to_owned(),
    })
}

/// What a manifest says that it is.
fn media_type(manifest: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let typed = serde_json::from_slice::<Typed>(manifest).ok();
    typed.and_then(|typed| typed.media_type).unwrap_or_else(|| MANIFEST.to_owned())
}

/// Serves the host, on a thread of its own, as no push may hold up the API server.
///
/// # Errors
/// The thread ends.
pub async fn serve(registry: Arc<Registry>, socket: OwnedFd) -> Result<()> {
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, ended) = oneshot::channel();
    let work = move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            coracle_registry::serve(registry, listener).await
        });
        drop(sender.send(served));
    };
    std::thread::Builder::new().name("registry".into()).spawn(work)?;
    ended.await.context("the thread of the registry ended")?
}

/// Writes down for tools where the registry is (KEP-1755).
pub async fn tell(client: kube::Client, port: u16) {
    let hosting = format!("host: \"localhost:{port}\"\n");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": HOSTING, "namespace": NAMESPACE},
        "data": {"localRegistryHosting.v1": hosting}});
    let maps = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    while let Err(error) = maps.patch(HOSTING, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&map)).await {
        tracing::debug!("failed to tell where the registry is: {error}");
        backoff.sleep().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_keep_their_names_without_their_registry() {
        for (name, expected) in [
            ("web:1", "web"),
            ("org/web:1", "org/web"),
            ("quay.io/org/web:1", "org/web"),
            ("localhost:5000/library/web", "library/web"),
        ] {
            assert_eq!(repository(&Reference::parse(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn a_manifest_is_what_it_says_that_it_is() {
        assert_eq!(media_type(br#"{"mediaType":"application/x"}"#), "application/x");
        assert_eq!(media_type(b"{}"), MANIFEST);
    }
}
