//! What a cluster is: its description, its data directory, and what proves that both belong together.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use coracle_values::addresses::{nth, overlap};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::agent::Joined;
use crate::args::Which;
use crate::cni_network::CniArgs;
use crate::files::{self, write_atomically};
use crate::hollow::Hollow;
use crate::ip_family::{self, IpFamily};
use crate::kubeconfig;
use crate::local_node::{FIRST, LocalNode};
use crate::mounts::Mount;
use crate::process::{self, NodeProcess};
use crate::publish;
use crate::registry::{self, DATA, Running};

/// Says whose data a directory has, also when its description is damaged. Written once, before anything else.
pub const MARKER: &str = ".coracle";
pub const DESCRIPTION: &str = "cluster.json";
/// How the administrator reaches a server on the host.
pub const ADMINISTRATOR: &str = "admin.kubeconfig";

/// Where its server runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In a node made of namespaces, by `coracle up`.
    #[default]
    Local,
    /// On the host itself, by `coracle server`.
    Host,
    /// Elsewhere; on the host itself is one of its nodes, by `coracle agent`.
    Agent,
}

impl Kind {
    /// The command that starts it.
    pub fn starts(self) -> &'static str {
        match self {
            Kind::Local => "coracle start",
            Kind::Host => "coracle server",
            Kind::Agent => "coracle agent",
        }
    }
}

/// Most nodes of a local cluster.
pub const MAX_NODES: u8 = 100;

/// A node of a local cluster besides the first, which has the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FurtherNode {
    /// From 2 on; says which name, address and links it has.
    pub number: u8,
    /// Options of its kubelet.
    #[serde(default)]
    pub kubelet: Vec<String>,
    /// What of the host it has at other paths, if not what the cluster says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
}

/// A cluster, kept as `cluster.json` in its data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub dir: PathBuf,
    /// Where its server runs.
    #[serde(default)]
    pub kind: Kind,
    /// The network between host and node of a local cluster.
    pub subnet: Ipv4Net,
    /// Which families of addresses a local cluster has.
    #[serde(default, skip_serializing_if = "IpFamily::is_default")]
    pub ip_family: IpFamily,
    /// The file of static tokens.
    pub token_auth_file: Option<PathBuf>,
    /// The file of the scheduler's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_config: Option<PathBuf>,
    /// Registries to which plain HTTP is spoken.
    pub insecure_registries: Vec<String>,
    /// Options of the API server.
    #[serde(default)]
    pub api_server: Vec<String>,
    /// Options of the kubelet.
    #[serde(default)]
    pub kubelet: Vec<String>,
    /// Its hollow nodes, once something was said of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hollow: Option<Hollow>,
    /// Which plugins connect pods, if the built-in network does not.
    #[serde(default, skip_serializing_if = "CniArgs::is_default")]
    pub cni: CniArgs,
    /// Further nodes of a local cluster, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<FurtherNode>,
    /// Ports of the host that lead to nodes of a local cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<publish::Port>,
    /// What of the host the nodes of a local cluster have at other paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// The port of the host at which a local cluster has a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<u16>,
}

/// A name and a directory that a command is about; a cluster need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The cluster's name.
    pub name: String,
    /// Its data directory, without links.
    pub dir: PathBuf,
    /// The directory that the host's list of clusters has for the name.
    pub listed: Option<PathBuf>,
}

impl Place {
    /// Finds what a command is about: by its directory if it names one, else by the list of clusters.
    ///
    /// # Errors
    /// The directory has the data of a cluster of another name.
    pub fn find(which: &Which, default: &str) -> Result<Place> {
        let named = which.name.as_deref();
        let Some(dir) = &which.data_dir else {
            let name = named.unwrap_or(default).to_owned();
            let listed = registry::find(&name)?;
            let dir = listed.clone().map_or_else(|| files::resolve(&Path::new(DATA).join(&name)), Ok)?;
            return Ok(Place { name, dir, listed });
        };
        let dir = files::resolve(dir)?;
        let found = owner(&dir);
        if let (Some(named), Some(found)) = (named, &found)
            && named != found
        {
            bail!("{} has the data of the cluster {found:?}, not of {named:?}: nothing was changed", dir.display());
        }
        let name = named.map(str::to_owned).or(found).unwrap_or_else(|| default.to_owned());
        let listed = registry::find(&name)?;
        Ok(Place { name, dir, listed })
    }

    /// Another directory to which belongs what is on this host under the cluster's name: processes, links, tables. `None`
    /// when it belongs to this one, also after it was moved.
    pub fn elsewhere(&self) -> Option<PathBuf> {
        let running = registry::running(&self.name).filter(|running| running.process.lives());
        let others = [self.listed.clone(), running.map(|running| running.dir)].into_iter().flatten();
        others.into_iter().find(|dir| *dir != self.dir && owner(dir).as_ref() == Some(&self.name))
    }

    /// # Errors
    /// The name belongs to a cluster in another directory.
    pub fn check_name(&self) -> Result<()> {
        let Some(other) = self.elsewhere() else { return Ok(()) };
        bail!(
            "there is a cluster {:?} with its data in {} already, not in {}: take another --name, or remove that one with \
             `coracle down --name {}`",
            self.name,
            other.display(),
            self.dir.display(),
            self.name
        )
    }

    /// Makes the directory, or checks one that is there, and marks it as this cluster's.
    pub fn prepare(&self) -> Result<()> {
        files::private_dir(&self.dir)?;
        if owner(&self.dir).is_none() {
            if !self.has_only(&["pki"]) {
                bail!(
                    "{} is not empty and has no data of a cluster: move what is in it, or name another directory with --data-dir",
                    self.dir.display()
                );
            }
            write_atomically(&self.dir.join(MARKER), format!("{}\n", self.name).as_bytes(), 0o600)?;
        }
        registry::add(&self.name, &self.dir)
    }

    /// Takes back what [`Place::prepare`] did to a directory that was nobody's and has nothing else.
    pub fn forsake(&self) {
        if self.has_data() && self.has_only(&[MARKER]) {
            registry::remove(&self.name);
            let _ = fs::remove_file(self.dir.join(MARKER));
            let _ = fs::remove_dir(&self.dir);
        }
    }

    /// Whether the directory has nothing, or only what an `up` that was killed at its first step left.
    pub fn is_bare(&self) -> bool {
        self.has_only(&[])
    }

    /// The same besides these: what somebody has put there for the cluster to have, as its authority, makes it nobody's yet.
    fn has_only(&self, others: &[&str]) -> bool {
        let unfinished = files::temporary(Path::new(MARKER));
        let is_known = |name: &OsStr| name == unfinished.as_os_str() || others.iter().any(|other| name == *other);
        let entries = fs::read_dir(&self.dir);
        entries.is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_known(&entry.file_name()))))
    }

    /// Whether the directory provably has this cluster's data.
    pub fn has_data(&self) -> bool {
        owner(&self.dir).as_deref() == Some(self.name.as_str())
    }
}

/// The name of the cluster whose data a directory has.
fn owner(dir: &Path) -> Option<String> {
    let name = marked(dir).or_else(|| Some(Cluster::read(dir).ok()??.name));
    name.filter(|name| crate::args::cluster_name(name).is_ok())
}

/// What the marker of a directory says.
fn marked(dir: &Path) -> Option<String> {
    Some(fs::read_to_string(dir.join(MARKER)).ok()?.trim_end().to_owned())
}

impl Cluster {
    /// A new local cluster.
    pub fn new(place: &Place, kind: Kind, subnet: Ipv4Net) -> Cluster {
        Cluster {
            name: place.name.clone(),
            dir: place.dir.clone(),
            kind,
            subnet,
            ip_family: IpFamily::default(),
            token_auth_file: None,
            scheduler_config: None,
            insecure_registries: Vec::new(),
            cni: CniArgs::default(),
            api_server: Vec::new(),
            kubelet: Vec::new(),
            hollow: None,
            nodes: Vec::new(),
            published: Vec::new(),
            mounts: Vec::new(),
            registry: None,
        }
    }

    /// The cluster that a command names.
    ///
    /// # Errors
    /// There is none.
    pub fn load(which: &Which) -> Result<Cluster> {
        let place = Place::find(which, DEFAULT_NAME)?;
        Cluster::read(&place.dir)?.with_context(|| {
            let (name, dir) = (&place.name, place.dir.display());
            // `up` alone would make another one there, without a word of what was stored.
            if place.listed.as_ref() == Some(&place.dir) {
                format!(
                    "the cluster {name:?} is not in {dir} any more: if its data were moved, `coracle start --data-dir DIR` \
                     finds them there; `coracle down --name {name}` forgets the cluster"
                )
            } else {
                format!("there is no cluster {name:?} in {dir}; `coracle up` makes one, `coracle ls` lists them")
            }
        })
    }

    /// The cluster of a directory, `None` when it holds none. The directory may have been moved.
    pub fn read(dir: &Path) -> Result<Option<Cluster>> {
        let path = dir.join(DESCRIPTION);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
        };
        let cluster: Cluster = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is not the description of a cluster; `coracle down` removes the cluster", path.display())
        })?;
        // What is on the host is found by the name: a description that was edited, or is another's, must not lead to it.
        let name = marked(dir).unwrap_or(cluster.name);
        crate::args::cluster_name(&name).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Some(Cluster { name, dir: dir.to_owned(), ..cluster }))
    }

    /// The cluster of a further node's directory, as that node sees it: the directory is the node's.
    ///
    /// # Errors
    /// There is none.
    pub fn of_node(dir: &Path) -> Result<Cluster> {
        let whole = dir.parent().and_then(Path::parent).context("the directory of a node is in its cluster's")?;
        let cluster = Cluster::read(whole)?.context("the cluster's description is missing")?;
        Ok(Cluster { dir: dir.to_owned(), ..cluster })
    }

    /// The nodes of a local cluster, the one with the server first.
    pub fn all_nodes(&self) -> Vec<LocalNode<'_>> {
        let numbers = std::iter::once(FIRST).chain(self.nodes.iter().map(|node| node.number));
        numbers.map(|number| LocalNode { cluster: self, number }).collect()
    }

    /// Writes the description.
    pub fn save(&self) -> Result<()> {
        write_atomically(&self.dir.join(DESCRIPTION), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// The name of the node.
    pub fn node_name(&self) -> &str {
        &self.name
    }

    /// The networks between host and nodes of a local cluster. That of IPv4 is there in any case, as a way to the world.
    pub fn networks(&self) -> Vec<IpNet> {
        let v6 = self.ip_family.has_v6().then(|| ip_family::beside(self.subnet).into());
        [Some(self.subnet.into()), v6].into_iter().flatten().collect()
    }

    /// The host's addresses on the bridge, with their networks.
    pub fn gateways(&self) -> Result<Vec<IpNet>> {
        self.networks().into_iter().map(|network| Ok(IpNet::new(nth(network, 1), network.prefix_len())?)).collect()
    }

    /// The bridge on the host.
    pub fn bridge(&self) -> String {
        format!("cb{}", short_hash(&self.name))
    }

    /// The host's end of the node's link.
    pub fn link(&self) -> String {
        format!("cv{}", short_hash(&self.name))
    }

    /// The link to nodes on other networks of a node that is the host itself.
    pub fn overlay(&self) -> String {
        format!("cx{}", short_hash(&self.name))
    }

    /// The nftables table on the host.
    pub fn table(&self) -> String {
        format!("coracle-{}", self.name)
    }

    /// The cgroup below which everything of the cluster runs.
    pub fn cgroup(&self) -> String {
        format!("coracle/{}", self.name)
    }

    /// The context in the kubeconfig.
    pub fn context(&self) -> String {
        if self.name == DEFAULT_NAME { self.name.clone() } else { format!("coracle-{}", self.name) }
    }

    /// Where its API server answers. One on the host says it itself while it runs; this is what was so when it ran last, and
    /// empty if it never did.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Local => {
                format!("https://{}", SocketAddr::new(LocalNode { cluster: self, number: FIRST }.address(), 6443))
            }
            Kind::Host => kubeconfig::server(&self.dir.join(ADMINISTRATOR)).unwrap_or_default(),
            Kind::Agent => Joined::read(&self.dir).ok().flatten().map_or_else(String::new, |joined| joined.server),
        }
    }

    /// The socket of the daemon.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// The cluster's first process, when it lives: PID 1 of a local node, or the server on the host.
    pub fn process(&self) -> Option<NodeProcess> {
        // A directory that was moved while the cluster ran is still this one.
        let here = |running: &Running| running.dir == self.dir || owner(&running.dir).as_ref() != Some(&self.name);
        let known = registry::running(&self.name).filter(here);
        let known = known.map(|running| running.process).filter(NodeProcess::lives);
        known.or_else(|| (self.kind == Kind::Local).then(|| process::search_node(&self.dir, FIRST))?)
    }

    /// Writes down the cluster's first process.
    pub fn set_process(&self, process: NodeProcess) -> Result<()> {
        registry::set_running(&self.name, &Running { process, dir: self.dir.clone() })
    }
}

/// The name of a cluster whose user names none.
pub const DEFAULT_NAME: &str = "coracle";

/// A network of the list that no route of the host touches. The search starts at a place that depends on the
/// name, so that a stopped cluster usually finds its network free again.
pub fn free_subnet(name: &str, family: IpFamily) -> Result<Ipv4Net> {
    let start = hash(name) as u8;
    for step in 0..=255 {
        let subnet = Ipv4Net::new(Ipv4Addr::new(10, 90, start.wrapping_add(step), 0), 24)?;
        if is_free(subnet, family)? {
            return Ok(subnet);
        }
    }
    bail!(
        "every network of 10.90.0.0/16 is in use on this host: remove clusters with `coracle down`, or free a /24 of it"
    )
}

/// Whether no route of the host touches a network, or the one of IPv6 beside it.
pub fn is_free(subnet: Ipv4Net, family: IpFamily) -> Result<bool> {
    let table = fs::read_to_string("/proc/net/route").context("failed to read /proc/net/route")?;
    if table.lines().skip(1).filter_map(parse_route).any(|route| overlap(route.into(), subnet.into())) {
        return Ok(false);
    }
    if !family.has_v6() {
        return Ok(true);
    }
    let table = fs::read_to_string("/proc/net/ipv6_route").context(
        "failed to read /proc/net/ipv6_route: does this kernel have IPv6? It may have been started with ipv6.disable=1",
    )?;
    let own = ip_family::beside(subnet);
    Ok(!table.lines().filter_map(parse_route_of_v6).any(|route| overlap(route.into(), own.into())))
}

/// Destination and the length of its prefix are the first two fields.
fn parse_route_of_v6(line: &str) -> Option<Ipv6Net> {
    let mut fields = line.split_ascii_whitespace();
    let destination = u128::from_str_radix(fields.next()?, 16).ok()?;
    let prefix = u8::from_str_radix(fields.next()?, 16).ok()?;
    (prefix != 0).then(|| Ipv6Net::new(destination.into(), prefix).ok())?
}

fn parse_route(line: &str) -> Option<Ipv4Net> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let (destination, mask) = (number(fields.get(1)?)?, number(fields.get(7)?)?);
    // The default route covers everything and takes nothing.
    (mask != 0).then(|| Ipv4Net::with_netmask(destination.into(), mask.into()).ok())?
}

/// Link names have 15 letters at most: a short digest of the cluster's name instead of the name.
pub(crate) fn short_hash(text: &str) -> String {
    format!("{:010x}", hash(text) >> 24)
}

/// FNV-1a, with its bits mixed once more: short names differ in few bits.
fn hash(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path, name: &str) -> Place {
        Place { name: name.into(), dir: dir.to_owned(), listed: None }
    }

    #[test]
    fn routes_are_read_from_the_kernels_table() {
        let line = "eth0\t00005A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(parse_route(line).unwrap().to_string(), "10.90.0.0/24");
        let line = "fd000010009000170000000000000000 40 00000000000000000000000000000000 00 0 00000100 1 0 1 cb0";
        assert_eq!(parse_route_of_v6(line).unwrap().to_string(), "fd00:10:90:17::/64");
        assert_eq!(parse_route("eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"), None);
    }

    #[test]
    fn link_names_fit_the_kernels_limit() {
        assert!(format!("cb{}", short_hash("a-name-of-thirty-letters-12345")).len() <= 15);
    }

    #[test]
    fn a_directory_that_only_looks_like_a_clusters_is_not_one() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["images", "store", "pki", "log", "run", "kubelet"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        assert!(!place(dir.path(), "a").has_data());
        fs::write(dir.path().join(MARKER), "a\n").unwrap();
        assert!(place(dir.path(), "a").has_data());
        assert!(!place(dir.path(), "b").has_data());
    }

    #[test]
    fn what_an_up_that_was_killed_at_once_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path(), "a");
        assert!(place.is_bare());
        fs::write(dir.path().join(".coracle.tmp"), "").unwrap();
        assert!(place.is_bare() && !place.has_data());
        fs::create_dir(dir.path().join("pki")).unwrap();
        assert!(!place.is_bare() && place.has_only(&["pki"]), "somebody's authority, to be kept");
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!place.is_bare());
    }

    #[test]
    fn a_directory_that_was_marked_for_nothing_is_forsaken_and_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir.path().join("data"), "forsaken-by-a-test");
        fs::create_dir(&place.dir).unwrap();
        fs::write(place.dir.join(MARKER), "forsaken-by-a-test\n").unwrap();
        fs::create_dir(place.dir.join("store")).unwrap();
        place.forsake();
        assert!(place.has_data());
        fs::remove_dir(place.dir.join("store")).unwrap();
        place.forsake();
        assert!(!place.dir.exists());
    }

    #[test]
    fn where_a_server_on_the_host_answered_is_known_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::new(&place(dir.path(), "a"), Kind::Host, "10.90.7.0/24".parse().unwrap());
        assert_eq!(cluster.url(), "");
        let config = serde_json::json!({"clusters": [{"name": "a", "cluster": {"server": "https://192.0.2.1:6443"}}]});
        fs::write(dir.path().join(ADMINISTRATOR), config.to_string()).unwrap();
        assert_eq!(cluster.url(), "https://192.0.2.1:6443");
    }

    #[test]
    fn a_damaged_description_does_not_hide_whose_data_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MARKER), "a\n").unwrap();
        fs::write(dir.path().join(DESCRIPTION), "{").unwrap();
        assert!(place(dir.path(), "a").has_data());
        let error = Cluster::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("cluster.json") && error.contains("coracle down"), "{error}");
    }

    #[test]
    fn a_description_does_not_lead_to_another_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path(), "a");
        let mut cluster = Cluster::new(&place, Kind::Local, "10.90.7.0/24".parse().unwrap());
        for name in ["b", "../../b"] {
            cluster.name = name.into();
            fs::write(dir.path().join(DESCRIPTION), serde_json::to_vec(&cluster).unwrap()).unwrap();
            fs::write(dir.path().join(MARKER), "a\n").unwrap();
            assert_eq!(Cluster::read(dir.path()).unwrap().unwrap().name, "a");
            fs::remove_file(dir.path().join(MARKER)).unwrap();
            assert_eq!(Cluster::read(dir.path()).is_ok_and(|found| found.unwrap().name == "b"), name == "b");
        }
        assert!(!place.has_data());
    }

    #[test]
    fn a_name_that_is_not_the_directorys_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MARKER), "a\n").unwrap();
        let which = |name: Option<&str>| Which { name: name.map(Into::into), data_dir: Some(dir.path().to_owned()) };
        assert!(Place::find(&which(Some("b")), DEFAULT_NAME).unwrap_err().to_string().contains("nothing was changed"));
        assert_eq!(Place::find(&which(None), DEFAULT_NAME).unwrap().name, "a");
    }
}
