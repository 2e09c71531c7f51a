//! Pods that plugins of the Container Network Interface connect instead of the built-in network.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use clap::Args as ClapArgs;
use coracle_client::{EventRecorder, EventType};
use coracle_cni::{Cni, CniConfig, HostPort, Pod};
use coracle_network::ForeignPods;
use coracle_runtime::cri::{PodSandboxConfig, SandboxNetwork};
use coracle_values::addresses::{Family, Ranges};
use k8s_openapi::api::core::v1::ObjectReference;
use rustix::mount::mount_bind;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::sandbox_network::PATIENCE;

/// Where plugins usually are.
const BIN_DIR: &str = "/opt/cni/bin";
/// Where plugins keep what they know of pods.
const PLUGINS_STATE: &str = "/var/lib/cni";

/// Which plugins connect pods.
#[derive(ClapArgs, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CniArgs {
    /// The folder of CNI configurations, of which the first by name says which plugins connect pods, instead of the built-in
    /// network; it need not be there yet [default: the built-in network connects pods]
    #[arg(long = "cni-conf-dir", value_name = "DIR", value_parser = absolute)]
    pub conf_dir: Option<PathBuf>,
    /// The folders of CNI plugins [default: /opt/cni/bin]
    #[arg(long = "cni-bin-dir", value_name = "DIRS", value_delimiter = ',', value_parser = absolute, requires = "conf_dir")]
    #[serde(default)]
    pub bin_dirs: Vec<PathBuf>,
}

/// A local node has other directories than who starts it.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("it is named by its whole path".into()) }
}

impl CniArgs {
    /// The built-in network connects pods.
    pub fn is_default(&self) -> bool {
        self.conf_dir.is_none()
    }

    /// As they are given.
    pub fn arguments(&self) -> Vec<String> {
        let conf_dir = self.conf_dir.iter().map(|dir| format!("--cni-conf-dir={}", dir.display()));
        conf_dir.chain(self.bin_dirs.iter().map(|dir| format!("--cni-bin-dir={}", dir.display()))).collect()
    }

    /// The plugins, if they are to connect pods. What a local node's plugins know of pods is kept in `dir`, as they are of that
    /// node alone.
    ///
    /// # Errors
    /// What an earlier process wrote down cannot be read.
    pub fn open(&self, dir: &Path, in_node: bool) -> Result<Option<Arc<Cni>>> {
        let Some(conf_dir) = self.conf_dir.clone() else { return Ok(None) };
        if in_node {
            own_state(&dir.join("cni"))?;
        }
        let bin_dirs = if self.bin_dirs.is_empty() { vec![BIN_DIR.into()] } else { self.bin_dirs.clone() };
        Cni::open(CniConfig { conf_dir, bin_dirs, state: state(dir) }).map(Some)
    }
}

/// Where attachments are written down.
pub fn state(dir: &Path) -> PathBuf {
    dir.join("run/cni")
}

/// Pods that were connected before the built-in network was, if there are some.
///
/// # Errors
/// What is written down of them cannot be read.
pub fn earlier(dir: &Path) -> Result<Option<Arc<Cni>>> {
    if !state(dir).exists() {
        return Ok(None);
    }
    let cni = Cni::open(CniConfig { conf_dir: PathBuf::new(), bin_dirs: Vec::new(), state: state(dir) })?;
    Ok(Some(cni).filter(|cni| !cni.is_empty()))
}

/// Has plugins of this node alone write to a directory of it.
fn own_state(dir: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let make = |dir: &Path| {
        std::fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let found = std::fs::metadata(dir)?;
        anyhow::Ok((found.dev(), found.ino()))
    };
    if make(dir)? == make(Path::new(PLUGINS_STATE))? {
        return Ok(());
    }
    mount_bind(dir, PLUGINS_STATE).with_context(|| format!("failed to mount {} on {PLUGINS_STATE}", dir.display()))
}

/// Plugins, as the runtime wants them.
pub struct Plugins {
    /// What asks them.
    pub cni: Arc<Cni>,
    /// Who serves services to their pods.
    pub pods: Arc<ForeignPods>,
    /// The node's ranges of pod addresses, for plugins that are told.
    pub range: watch::Receiver<Option<Ranges>>,
    /// The family whose address a pod names first.
    pub primary: Family,
    /// Tells pods what no plugin does for them.
    pub recorder: EventRecorder,
}

impl Plugins {
    /// The node's ranges, when a plugin asks for them.
    async fn ranges(&self) -> Result<Vec<ipnet::IpNet>> {
        if !self.cni.takes_ranges() {
            return Ok(Vec::new());
        }
        let mut range = self.range.clone();
        let known = tokio::time::timeout(PATIENCE, range.wait_for(Option::is_some)).await;
        let known = *known.context("the node has no range of pod addresses yet, for which a plugin asks")??;
        Ok(known.iter().flat_map(|ranges| ranges.iter().collect::<Vec<_>>()).collect())
    }

    fn tell(&self, pod: &PodSandboxConfig, reason: &str, message: &str) {
        let pod = &pod.metadata;
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        };
        self.recorder.record(reference, EventType::Warning, reason, message);
    }
}

fn described(pod: &PodSandboxConfig) -> Pod {
    let port = |port: &coracle_runtime::cri::PortMapping| HostPort {
        protocol: port.protocol.clone(),
        container_port: port.container_port,
        host_port: port.host_port,
        host_ip: port.host_ip.clone(),
    };
    let dns = pod.dns_config.as_ref();
    Pod {
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        annotations: pod.annotations.clone(),
        host_ports: pod.port_mappings.iter().map(port).collect(),
        dns: dns.map(|dns| (dns.servers.clone(), dns.searches.clone(), dns.options.clone())),
    }
}

#[async_trait]
impl SandboxNetwork for Plugins {
    async fn attach(&self, sandbox_id: &str, pod: &PodSandboxConfig, netns: BorrowedFd<'_>) -> Result<Vec<IpAddr>> {
        ForeignPods::loopback(netns).await?;
        let netns = netns.try_clone_to_owned()?;
        let added = self.cni.add(sandbox_id, described(pod), self.ranges().await?, netns).await?;
        if added.lacks_host_ports {
            self.tell(
                pod,
                "HostPortNotSupported",
                "host ports lead nowhere: no CNI plugin of this node has the capability portMappings",
            );
        }
        if added.lacks_bandwidth {
            self.tell(
                pod,
                "BandwidthNotSupported",
                "traffic is not limited: no CNI plugin of this node has the capability bandwidth",
            );
        }
        let mut addresses = added.addresses;
        addresses.sort_by_key(|address| Family::of(*address) != self.primary);
        self.pods.attached(&addresses)?;
        Ok(addresses)
    }

    async fn detach(&self, sandbox_id: &str) -> Result<Vec<IpAddr>> {
        // Before a plugin may give them to another pod.
        self.pods.detached(&self.cni.addresses_of(sandbox_id));
        self.cni.del(sandbox_id).await
    }

    async fn retain(&self, live: &[String]) -> Result<Vec<IpAddr>> {
        let addresses = self.cni.retain(live);
        self.pods.attached(&addresses)?;
        Ok(addresses)
    }
}

/// A network that connects pods now, and plugins that connected some before, which they take back.
pub struct After<N> {
    /// What connects pods.
    pub network: N,
    /// What did.
    pub cni: Option<Arc<Cni>>,
}

#[async_trait]
impl<N: SandboxNetwork> SandboxNetwork for After<N> {
    async fn attach(&self, sandbox_id: &str, pod: &PodSandboxConfig, netns: BorrowedFd<'_>) -> Result<Vec<IpAddr>> {
        self.network.attach(sandbox_id, pod, netns).await
    }

    async fn detach(&self, sandbox_id: &str) -> Result<Vec<IpAddr>> {
        if let Some(cni) = self.cni.as_ref().filter(|cni| cni.has(sandbox_id)) {
            cni.del(sandbox_id).await?;
        }
        self.network.detach(sandbox_id).await
    }

    async fn retain(&self, live: &[String]) -> Result<Vec<IpAddr>> {
        if let Some(cni) = &self.cni {
            cni.retain(live);
        }
        self.network.retain(live).await
    }
}

/// Has plugins take back all that they did on a host whose node ends for good.
///
/// # Errors
/// Some of it is left.
pub fn remove(dir: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = runtime.block_on(Cni::remove_all(&state(dir)))?;
    match failed.first() {
        None => Ok(()),
        Some(first) => bail!("{} pods, of which the first: {first:#}", failed.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        cni: CniArgs,
    }

    #[test]
    fn folders_are_given_on_as_they_were_given() {
        let parse = |arguments: &[&str]| {
            Alone::try_parse_from(["coracle"].iter().chain(arguments))
                .map(|all| all.cni)
                .map_err(|error| error.to_string())
        };
        assert!(parse(&[]).unwrap().is_default());
        let all = parse(&["--cni-conf-dir", "/etc/cni/net.d", "--cni-bin-dir", "/a,/b"]).unwrap();
        assert_eq!(all.arguments(), ["--cni-conf-dir=/etc/cni/net.d", "--cni-bin-dir=/a", "--cni-bin-dir=/b"]);
        let again: Vec<String> = all.arguments();
        assert_eq!(parse(&again.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), all);
        assert!(parse(&["--cni-conf-dir", "net.d"]).unwrap_err().contains("whole path"));
        assert!(parse(&["--cni-bin-dir", "/a"]).is_err());
    }
}
