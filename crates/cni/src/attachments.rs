//! The attachments of a node's pods, from the first call of a plugin to the last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, RwLock, watch};

use crate::capabilities::{self, BANDWIDTH, IP_RANGES, PORT_MAPPINGS, Pod};
use crate::chain::{self, Chain};
use crate::config::NetworkConfig;
use crate::folder::Folder;
use crate::netns;
use crate::plugin;
use crate::record::{Record, Records};
use crate::result;

/// The link of a pod.
const LINK: &str = "eth0";
/// Why no pod can be connected, in the words that CRI runtimes have for it.
const NOT_INITIALIZED: &str = "cni plugin not initialized";
/// How often the folder and the plugins are looked at anyway, while pods can be connected and while they cannot.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How soon DEL is tried again for a pod that nobody else knows, doubled up to the maximum.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// Most of those; beyond it no pod is connected until some are gone.
const MAX_ABANDONED: usize = 256;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct CniConfig {
    /// The folder of configurations (`/etc/cni/net.d`).
    pub conf_dir: PathBuf,
    /// The folders of plugins (`/opt/cni/bin`), in the order in which they are looked into.
    pub bin_dirs: Vec<PathBuf>,
    /// Where attachments are written down and namespaces have their paths.
    pub state: PathBuf,
}

/// A pod that was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its addresses, at most one of a family.
    pub addresses: Vec<IpAddr>,
    /// Host ports are asked for, and no plugin of the chain makes them (capability `portMappings`).
    pub lacks_host_ports: bool,
    /// Its traffic is to be limited, and no plugin of the chain does it (capability `bandwidth`).
    pub lacks_bandwidth: bool,
}

/// The plugins of a node, and the pods that they connect.
pub struct Cni {
    config: CniConfig,
    records: Records,
    known: Mutex<BTreeMap<String, Record>>,
    /// Sandboxes that the runtime knows no more, whose attachments are still to go.
    abandoned: Mutex<BTreeSet<String>>,
    abandons: Notify,
    /// One call at a time for a sandbox.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// ADD and DEL read, GC writes.
    gc: RwLock<()>,
    /// The chain by which pods are connected.
    network: watch::Sender<Option<Arc<NetworkConfig>>>,
    not_ready: watch::Sender<Option<String>>,
}

impl Cni {
    /// Reads what an earlier process wrote down; connects nothing yet.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(config: CniConfig) -> Result<Arc<Cni>> {
        let at = || format!("failed to open {}", config.state.display());
        let records = Records::open(&config.state).with_context(at)?;
        let known = records.all().with_context(at)?;
        let known = known.into_iter().map(|record| (record.sandbox.clone(), record)).collect();
        Ok(Arc::new(Cni {
            config,
            records,
            known: Mutex::new(known),
            abandoned: Mutex::default(),
            abandons: Notify::new(),
            busy: Mutex::default(),
            gc: RwLock::new(()),
            network: watch::Sender::new(None),
            not_ready: watch::Sender::new(Some(NOT_INITIALIZED.into())),
        }))
    }

    /// Why no pod can be connected; none when they can.
    pub fn not_ready(&self) -> watch::Receiver<Option<String>> {
        self.not_ready.subscribe()
    }

    /// Whether a sandbox has an attachment, or may have one.
    pub fn has(&self, sandbox: &str) -> bool {
        self.known.lock().contains_key(sandbox)
    }

    /// Whether anything has.
    pub fn is_empty(&self) -> bool {
        self.known.lock().is_empty()
    }

    /// Whether the chain asks for the node's ranges of pod addresses.
    pub fn takes_ranges(&self) -> bool {
        self.network.borrow().as_ref().is_some_and(|network| network.takes(IP_RANGES))
    }

    /// Follows the folder of configurations, for ever.
    pub async fn follow(self: Arc<Self>) {
        let folder = Folder::watch(&self.config.conf_dir);
        let mut told = None;
        loop {
            let path = self.config.conf_dir.clone();
            let read = tokio::task::spawn_blocking(move || NetworkConfig::first_of(&path)).await;
            let read = read.unwrap_or_else(|error| Err(error.to_string()));
            let found = self.usable(read).await;
            let not_ready = found.as_ref().err().cloned();
            if told.as_ref() != Some(&not_ready) {
                match &not_ready {
                    Some(why) => tracing::warn!("no pod can be connected: {why} ({})", self.config.conf_dir.display()),
                    None => tracing::info!("plugins of {} connect pods", self.config.conf_dir.display()),
                }
                told = Some(not_ready.clone());
            }
            let found = found.ok().map(Arc::new);
            let is_new = *self.network.borrow() != found;
            self.network.send_if_modified(|network| is_new.then(|| *network = found.clone()).is_some());
            self.not_ready.send_if_modified(|known| {
                *known != not_ready && {
                    *known = not_ready.clone();
                    true
                }
            });
            if let Some(network) = found.filter(|_| is_new) {
                for (plugin, capability) in capabilities::unknown(&network) {
                    tracing::warn!(plugin, capability, "the plugin is given nothing of this capability");
                }
                self.collect(&network).await;
            }
            folder.changed(if not_ready.is_none() { LOOK } else { LOOK_SOON }).await;
        }
    }

    /// A configuration by which pods can be connected now.
    async fn usable(&self, read: Result<Option<NetworkConfig>, String>) -> Result<NetworkConfig, String> {
        let network = match read {
            Ok(Some(network)) => network,
            Ok(None) => return Err(NOT_INITIALIZED.into()),
            Err(error) => return Err(format!("{NOT_INITIALIZED}: {error}")),
        };
        let path = &self.config.bin_dirs;
        for plugin in &network.plugins {
            if plugin::find(plugin.kind(), path).is_none() {
                return Err(plugin::not_found(plugin.kind(), path));
            }
        }
        chain::status(&network, path).await.map_err(|error| format!("{error:#}"))?;
        Ok(network)
    }

    /// Tells plugins which attachments there are, so that they forget others.
    async fn collect(&self, network: &NetworkConfig) {
        let _alone = self.gc.write().await;
        let valid: Vec<_> = {
            let known = self.known.lock();
            let own = known.values().filter(|record| record.network.name == network.name);
            own.map(|record| json!({"containerID": record.sandbox, "ifname": record.link})).collect()
        };
        for error in chain::gc(network, &self.config.bin_dirs, &valid).await {
            tracing::warn!("plugins keep what no pod has any more: {error:#}");
        }
    }

    /// Connects the namespace of a sandbox. What fails is taken back, at once or later. Again for the same sandbox, it answers
    /// the same.
    ///
    /// # Errors
    /// There is no chain, a plugin refuses, or the pod asks for what cannot be.
    pub async fn add(self: &Arc<Self>, sandbox: &str, pod: Pod, ranges: Vec<IpNet>, netns: OwnedFd) -> Result<Added> {
        let (cni, sandbox) = (self.clone(), sandbox.to_owned());
        // Whoever asked may go; plugins are not left halfway.
        tokio::spawn(async move {
            let busy = cni.alone(&sandbox);
            let _alone = busy.lock().await;
            let _no_gc = cni.gc.read().await;
            let added = cni.add_alone(&sandbox, &pod, &ranges, netns).await;
            if added.is_err() && cni.has(&sandbox) {
                cni.abandon([sandbox.clone()]);
            }
            added
        })
        .await?
    }

    async fn add_alone(&self, sandbox: &str, pod: &Pod, ranges: &[IpNet], netns: OwnedFd) -> Result<Added> {
        let network = self.network.borrow().clone().context(NOT_INITIALIZED)?;
        let lacks = |capability: &str, asked: bool| asked && !network.takes(capability);
        let capabilities = pod.capabilities(ranges).map_err(anyhow::Error::msg)?;
        let has = |capability: &str| capabilities.contains_key(capability);
        let lacks_host_ports = lacks(PORT_MAPPINGS, has(PORT_MAPPINGS));
        let lacks_bandwidth = lacks(BANDWIDTH, has(BANDWIDTH));
        let added = |addresses| Added { addresses, lacks_host_ports, lacks_bandwidth };
        let known = self.known.lock().get(sandbox).cloned();
        if let Some(known) = known {
            if known.result.is_some() && netns::is_there(&self.records.netns(sandbox)?) {
                return Ok(added(known.addresses));
            }
            self.del_alone(&known).await?;
        }
        if self.abandoned.lock().len() >= MAX_ABANDONED {
            bail!("plugins refuse to take back what they did for {MAX_ABANDONED} pods that are gone, as the log says");
        }
        let mut record = Record {
            sandbox: sandbox.to_owned(),
            network: (*network).clone(),
            path: self.config.bin_dirs.clone(),
            link: LINK.to_owned(),
            args: pod.args(sandbox).map_err(anyhow::Error::msg)?,
            capabilities,
            result: None,
            addresses: Vec::new(),
        };
        let path = self.records.netns(sandbox)?;
        self.known.lock().insert(sandbox.to_owned(), record.clone());
        let (records, first) = (self.records.clone(), record.clone());
        tokio::task::spawn_blocking(move || {
            records.save(&first)?;
            netns::unbind(&path)?;
            netns::bind(netns.as_fd(), &path)
        })
        .await?
        .context("failed to prepare the call of plugins")?;
        let result = self.chain(&record)?.add().await?;
        let name = &record.network.name;
        record.addresses = result::addresses(&result, LINK)
            .map_err(|error| anyhow::anyhow!("the result of the CNI network {name:?} cannot be used: {error}"))?;
        record.result = Some(result);
        self.records.save(&record).context("failed to write down what plugins did")?;
        self.known.lock().insert(sandbox.to_owned(), record.clone());
        Ok(added(record.addresses))
    }

    /// The addresses that a sandbox has, which are its own until [`Cni::del`] begins.
    pub fn addresses_of(&self, sandbox: &str) -> Vec<IpAddr> {
        self.known.lock().get(sandbox).map(|record| record.addresses.clone()).unwrap_or_default()
    }

    /// Has the plugins take back what they did for a sandbox; answers with its addresses. Nothing is left of it then.
    ///
    /// # Errors
    /// A plugin refuses. The next call tries again, unless nobody knows the sandbox: that is tried until it succeeds.
    pub async fn del(self: &Arc<Self>, sandbox: &str) -> Result<Vec<IpAddr>> {
        let addresses = match self.known.lock().get(sandbox) {
            Some(_) if self.abandoned.lock().contains(sandbox) => return Ok(Vec::new()),
            Some(record) => record.addresses.clone(),
            None => return Ok(Vec::new()),
        };
        let (cni, sandbox) = (self.clone(), sandbox.to_owned());
        tokio::spawn(async move { cni.del_known(&sandbox).await }).await??;
        Ok(addresses)
    }

    async fn del_known(&self, sandbox: &str) -> Result<()> {
        let busy = self.alone(sandbox);
        let _alone = busy.lock().await;
        let _no_gc = self.gc.read().await;
        let record = self.known.lock().get(sandbox).cloned();
        match record {
            Some(record) => self.del_alone(&record).await,
            None => Ok(()),
        }
    }

    async fn del_alone(&self, record: &Record) -> Result<()> {
        let sandbox = &record.sandbox;
        self.records.settled(sandbox).await?;
        if let Err(error) = self.chain(record)?.del().await {
            // What was wrong with the chain may have been mended since.
            let Some(mended) = self.mended(record) else { return Err(error) };
            self.chain(&mended)?.del().await?;
        }
        let (records, name) = (self.records.clone(), sandbox.clone());
        tokio::task::spawn_blocking(move || {
            netns::unbind(&records.netns(&name)?)?;
            records.remove(&name)
        })
        .await?
        .context("failed to forget what plugins did")?;
        self.known.lock().remove(sandbox);
        Ok(())
    }

    /// The attachment with the chain that its network has now, if that is another one.
    fn mended(&self, record: &Record) -> Option<Record> {
        let network = self.network.borrow().clone().filter(|network| network.name == record.network.name)?;
        let mended = Record { network: (*network).clone(), path: self.config.bin_dirs.clone(), ..record.clone() };
        (mended != *record).then_some(mended)
    }

    fn chain<'a>(&'a self, record: &'a Record) -> Result<Chain<'a>> {
        let path = self.records.netns(&record.sandbox)?;
        let netns = if netns::is_there(&path) { path.display().to_string() } else { String::new() };
        Ok(Chain { records: &self.records, record, netns })
    }

    /// Tells which sandboxes live, once at start; answers with their addresses. What others had is taken back later.
    pub fn retain(self: &Arc<Self>, live: &[String]) -> Vec<IpAddr> {
        let known: Vec<Record> = self.known.lock().values().cloned().collect();
        let (kept, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|record| live.contains(&record.sandbox));
        self.abandon(gone.into_iter().map(|record| record.sandbox));
        let addresses = kept.iter().flat_map(|record| record.addresses.clone()).collect();
        let cni = self.clone();
        tokio::spawn(async move {
            for record in kept {
                cni.check(&record.sandbox).await;
            }
        });
        let cni = self.clone();
        tokio::spawn(async move { cni.clear().await });
        addresses
    }

    /// Has the plugins look at an attachment of a pod that lives. It stays as it is: a plugin that finds fault with it says so
    /// in the log.
    async fn check(&self, sandbox: &str) {
        let busy = self.alone(sandbox);
        let _alone = busy.lock().await;
        let record = self.known.lock().get(sandbox).filter(|record| record.result.is_some()).cloned();
        let Some(record) = record else { return };
        let checked = async {
            self.records.settled(sandbox).await?;
            let chain = self.chain(&record)?;
            if chain.netns.is_empty() { Ok(()) } else { chain.check().await }
        };
        if let Err(error) = checked.await {
            tracing::warn!(sandbox, pod = record.args, "a pod may not be connected any more: {error:#}");
        }
    }

    fn abandon(&self, sandboxes: impl IntoIterator<Item = String>) {
        self.abandoned.lock().extend(sandboxes);
        self.abandons.notify_one();
    }

    /// Takes back what is left of sandboxes that nobody knows, until it is done, for ever.
    async fn clear(self: Arc<Self>) {
        let mut pause = RETRY;
        loop {
            let left: Vec<String> = self.abandoned.lock().iter().cloned().collect();
            let mut failed = false;
            for sandbox in left {
                match self.del_known(&sandbox).await {
                    Ok(()) => {
                        self.abandoned.lock().remove(&sandbox);
                    }
                    Err(error) => {
                        failed = true;
                        tracing::warn!(sandbox, "what plugins did for a pod that is gone is still there: {error:#}");
                    }
                }
            }
            if failed {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY);
            } else {
                self.abandons.notified().await;
                pause = RETRY;
            }
        }
    }

    /// Takes back everything that plugins did, of a node that ends for good; answers with what failed.
    pub async fn remove_all(state: &Path) -> Result<Vec<anyhow::Error>> {
        if !state.exists() {
            return Ok(Vec::new());
        }
        let config = CniConfig { conf_dir: PathBuf::new(), bin_dirs: Vec::new(), state: state.to_owned() };
        let cni = Cni::open(config)?;
        let known: Vec<String> = cni.known.lock().keys().cloned().collect();
        let mut failed = Vec::new();
        for sandbox in known {
            failed.extend(cni.del_known(&sandbox).await.err());
        }
        Ok(failed)
    }

    /// The lock of a sandbox.
    fn alone(&self, sandbox: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock();
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        busy.entry(sandbox.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests;
