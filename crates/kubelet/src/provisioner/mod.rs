//! Volumes made of directories of the node, for claims of the class `standard` and of others that name this provisioner.
//! <https://kubernetes.io/docs/concepts/storage/dynamic-provisioning/>
//!
//! Every node makes the volumes of the claims whose pods the scheduler put there, as a distributed external-provisioner does:
//! first the directory `pvc-UID`, then the volume object that leads to it. Whatever a volume says of its path, only the
//! directory of its own name is ever removed, and only once the volume is released. Killed at any moment, the provisioner goes
//! on from what it finds: a volume is not made twice, and a directory without a volume is removed if it is empty.
//!
//! A directory takes what the disk has, unless its file system keeps count (`volumes::quota`).

mod claim;
mod delete;
mod directory;
mod resize;
mod volume;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use coracle_client::{
    Event, EventRecorder, Informer, Informers, ObjectKey, WorkQueue, is_conflict, is_not_found, user_agent,
};
use coracle_matching::claims::claim_of;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::Api;
use kube::{Client, ResourceExt};

use directory::Directories;
pub(crate) use directory::directory_of;
pub(crate) use volume::{is_ours, where_it_is};

/// What classes name to have their volumes made here.
pub const PROVISIONER: &str = "coracle.io/local-directory";
/// The service account that the provisioner is, in `kube-system`.
pub const ACCOUNT: &str = "local-directory-provisioner";
const WORKERS: usize = 4;
/// How soon what another writer was faster with is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// What the provisioner needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node whose directories are used.
    pub node_name: String,
    /// Whether it takes claims that any node may make a volume for. It must be allowed to write into claims then.
    pub selects_itself: bool,
    /// The kubelet's directory, in which those of the volumes are. Only root may look into them.
    pub root_dir: PathBuf,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// A claim, which may want a volume or a larger one.
    Claim(ObjectKey),
    /// A volume, which may be released.
    Volume(String),
    /// The name of a volume whose claim is gone, or that is there when the provisioner starts.
    Leftover(String),
}

struct Provisioner {
    client: Client,
    node_name: String,
    selects_itself: bool,
    directories: Directories,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
    recorder: EventRecorder,
    queue: WorkQueue<Key>,
}

/// Makes and removes volumes until it is dropped.
///
/// # Errors
/// The directory of the volumes cannot be made.
pub async fn run(client: Client, config: Config) -> Result<()> {
    let client = user_agent(client, ACCOUNT);
    let directories = Directories::of_kubelet(&config.root_dir);
    directories.open().context("failed to make the directory of volumes")?;
    let informers = Informers::new(client.clone());
    let this_node = format!("metadata.name={}", config.node_name);
    let provisioner = Arc::new(Provisioner {
        recorder: EventRecorder::new(client.clone(), PROVISIONER, &config.node_name),
        node_name: config.node_name,
        selects_itself: config.selects_itself,
        directories,
        claims: informers.all(),
        volumes: informers.all(),
        classes: informers.all(),
        nodes: Informer::with_selectors(Api::all(client.clone()), None, Some(this_node), Vec::new()),
        queue: WorkQueue::new(),
        client,
    });
    provisioner.subscribe();
    provisioner.nodes.start();
    provisioner.claims.synced().await;
    provisioner.volumes.synced().await;
    provisioner.classes.synced().await;
    provisioner.nodes.synced().await;
    for name in provisioner.directories.names().context("failed to read the directory of volumes")? {
        provisioner.queue.add(Key::Leftover(name));
    }
    let (queue, p) = (provisioner.queue.clone(), provisioner.clone());
    coracle_client::run(queue, WORKERS, move |key| {
        let provisioner = p.clone();
        async move { provisioner.reconcile(key).await }
    })
    .await;
    Ok(())
}

impl Provisioner {
    fn subscribe(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.claims.subscribe(move |event| match event {
            Event::Added(claim) | Event::Updated { new: claim, .. } => queue.add(Key::Claim(ObjectKey::of(&**claim))),
            Event::Deleted(claim) => queue.add(Key::Leftover(volume::name(claim))),
        });
        let (queue, claims) = (self.queue.clone(), self.claims.store());
        self.volumes.subscribe(move |event| {
            let (Event::Added(volume) | Event::Updated { new: volume, .. } | Event::Deleted(volume)) = event;
            if !volume::is_ours(volume) {
                return;
            }
            queue.add(Key::Volume(volume.name_any()));
            let claim = claim_of(volume).map(|claim| {
                ObjectKey::new(claim.namespace.clone().unwrap_or_default(), claim.name.clone().unwrap_or_default())
            });
            claim.filter(|key| claims.get_key(key).is_some()).into_iter().for_each(|key| queue.add(Key::Claim(key)));
        });
        // A claim may come before its class, and before the node is there.
        let (queue, claims) = (self.queue.clone(), self.claims.store());
        let all_again = move || claims.list().iter().for_each(|claim| queue.add(Key::Claim(ObjectKey::of(&**claim))));
        let again = all_again.clone();
        self.classes.subscribe(move |event| {
            if let Event::Added(class) = event
                && class.provisioner == PROVISIONER
            {
                again();
            }
        });
        self.nodes.subscribe(move |event| {
            if let Event::Added(_) = event {
                all_again();
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<Option<Duration>> {
        let done = match &key {
            Key::Claim(key) => self.sync_claim(key).await,
            Key::Volume(name) => self.sync_volume(name).await,
            Key::Leftover(name) => self.remove_leftover(name).await,
        };
        match done {
            Err(error) => match error.downcast_ref::<kube::Error>() {
                Some(found) if is_conflict(found) || is_not_found(found) => Ok(Some(AGAIN)),
                _ => Err(error),
            },
            done => done.map(|()| None),
        }
    }

    fn volumes_api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    /// The node, once it is registered.
    fn node(&self) -> Option<Arc<Node>> {
        self.nodes.store().get("", &self.node_name)
    }
}
