//! What is written down about a local cluster, and how its process is found.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::args::Which;

/// A local cluster, kept as `cluster.json` in its data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub dir: PathBuf,
    /// The network between host and node.
    pub subnet: Ipv4Net,
    /// The file of static tokens.
    pub token_auth_file: Option<PathBuf>,
    /// Registries to which plain HTTP is spoken.
    pub insecure_registries: Vec<String>,
}

/// The process that is PID 1 of a node, and when it started: a PID alone may be somebody else's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProcess {
    /// Its PID on the host.
    pub pid: i32,
    /// Its start time in clock ticks since boot, from /proc/PID/stat.
    pub started: u64,
}

impl Cluster {
    /// The cluster that a command names.
    ///
    /// # Errors
    /// There is none.
    pub fn load(which: &Which) -> Result<Cluster> {
        let dir = which.dir();
        Cluster::read(&dir)?.with_context(|| {
            format!("there is no cluster {:?} in {}; `coracle up` makes one", which.name, dir.display())
        })
    }

    /// The cluster of a directory, `None` when it holds none.
    pub fn read(dir: &Path) -> Result<Option<Cluster>> {
        let path = dir.join("cluster.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
        };
        let cluster = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is not the description of a cluster; `coracle down` removes the cluster", path.display())
        })?;
        Ok(Some(cluster))
    }

    /// Writes the description.
    pub fn save(&self) -> Result<()> {
        write_atomically(&self.dir.join("cluster.json"), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// The name of the node.
    pub fn node_name(&self) -> &str {
        &self.name
    }

    /// The host's address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + 1)
    }

    /// The node's address.
    pub fn node_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + 2)
    }

    /// The bridge on the host.
    pub fn bridge(&self) -> String {
        format!("cb{}", short_hash(&self.name))
    }

    /// The host's end of the node's link.
    pub fn link(&self) -> String {
        format!("cv{}", short_hash(&self.name))
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
        if self.name == "coracle" { self.name.clone() } else { format!("coracle-{}", self.name) }
    }

    /// The socket of the daemon.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// The node's first process, when it lives.
    pub fn process(&self) -> Option<NodeProcess> {
        let bytes = fs::read(self.dir.join("node.json")).ok()?;
        let process: NodeProcess = serde_json::from_slice(&bytes).ok()?;
        (start_time(process.pid) == Some(process.started)).then_some(process)
    }

    /// The same by its command line: for a data directory that was removed by hand while the node ran.
    pub fn search_process(&self) -> Option<NodeProcess> {
        let line = [b"coracle\0node-init\0--inside\0--data-dir\0", self.dir.as_os_str().as_bytes(), b"\0"].concat();
        let mut pids =
            fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|own| own == line))?;
        Some(NodeProcess { pid, started: start_time(pid)? })
    }

    /// One command at a time changes a cluster.
    pub fn lock(dir: &Path) -> Result<fs::File> {
        let path = lock_path(dir);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
        }
        let file = fs::File::create(&path).with_context(|| format!("failed to open {}", path.display()))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

/// Beside the data directory, so that `down` can remove that one while it holds the lock.
pub fn lock_path(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// When a process started, in clock ticks since boot; `None` when there is none.
pub fn start_time(pid: i32) -> Option<u64> {
    start_time_in(&fs::File::open("/proc").ok()?, pid)
}

/// The same by way of an open proc file system.
pub fn start_time_in(proc: &fs::File, pid: i32) -> Option<u64> {
    let file = rustix::fs::openat(proc, format!("{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = std::io::read_to_string(fs::File::from(file)).ok()?;
    // The command may hold spaces and parentheses; fields are counted behind its end.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let gone = matches!(fields.first(), Some(&("Z" | "X")));
    fields.get(19).filter(|_| !gone)?.parse().ok()
}

/// A network of the list that no route of the host touches. The search starts at a place that depends on the
/// name, so that a stopped cluster usually finds its network free again.
pub fn free_subnet(name: &str) -> Result<Ipv4Net> {
    let start = hash(name) as u8;
    for step in 0..=255 {
        let subnet = Ipv4Net::new(Ipv4Addr::new(10, 90, start.wrapping_add(step), 0), 24)?;
        if is_free(subnet)? {
            return Ok(subnet);
        }
    }
    bail!(
        "every network of 10.90.0.0/16 is in use on this host: remove clusters with `coracle down`, or free a /24 of it"
    )
}

/// Whether no route of the host touches a network.
pub fn is_free(subnet: Ipv4Net) -> Result<bool> {
    let table = fs::read_to_string("/proc/net/route").context("failed to read /proc/net/route")?;
    Ok(!table.lines().skip(1).filter_map(parse_route).any(|route| route.contains(&subnet) || subnet.contains(&route)))
}

fn parse_route(line: &str) -> Option<Ipv4Net> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let (destination, mask) = (number(fields.get(1)?)?, number(fields.get(7)?)?);
    // The default route covers everything and takes nothing.
    (mask != 0).then(|| Ipv4Net::with_netmask(destination.into(), mask.into()).ok())?
}

/// Link names have 15 letters at most: a short digest of the cluster's name instead of the name.
fn short_hash(text: &str) -> String {
    format!("{:010x}", hash(text) >> 24)
}

/// FNV-1a, with its bits mixed once more: short names differ in few bits.
fn hash(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 33)
}

/// Replaces a file's content at once.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_from_the_kernels_table() {
        let line = "eth0\t00005A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(parse_route(line).unwrap().to_string(), "10.90.0.0/24");
        assert_eq!(parse_route("eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"), None);
    }

    #[test]
    fn link_names_fit_the_kernels_limit() {
        assert!(format!("cb{}", short_hash("a-name-of-thirty-letters-12345")).len() <= 15);
    }

    #[test]
    fn a_process_has_a_start_time_and_a_missing_one_has_none() {
        assert!(start_time(std::process::id() as i32).is_some());
        assert!(start_time(i32::MAX).is_none());
    }
}
