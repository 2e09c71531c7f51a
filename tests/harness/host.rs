//! What a cluster makes on the host: links, nftables tables, mounts, cgroups and processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use crate::Cluster;

/// What the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Network links.
    pub links: BTreeSet<String>,
    /// nftables tables.
    pub tables: BTreeSet<String>,
    /// Mount points.
    pub mounts: BTreeSet<String>,
    /// Addresses of the loopback link, and whether packets are forwarded.
    pub settings: BTreeSet<String>,
}

impl Host {
    /// As it is now.
    ///
    /// # Panics
    /// When /proc cannot be read.
    pub fn now() -> Host {
        // Not /sys/class/net, which may show the links of another namespace.
        let links = fs::read_to_string("/proc/self/net/dev").expect("links are listed");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts are listed");
        Host {
            links: links.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect(),
            tables: nftables().expect("tables are listed"),
            mounts: mounts.lines().filter_map(|line| Some(line.split_whitespace().nth(4)?.to_owned())).collect(),
            settings: settings(),
        }
    }

    /// What this has and `other` has not.
    pub fn without(&self, other: &Host) -> Host {
        let minus = |all: &BTreeSet<String>, less: &BTreeSet<String>| all.difference(less).cloned().collect();
        Host {
            links: minus(&self.links, &other.links),
            tables: minus(&self.tables, &other.tables),
            mounts: minus(&self.mounts, &other.mounts),
            settings: minus(&self.settings, &other.settings),
        }
    }

    /// What both have.
    pub fn and(&self, other: &Host) -> Host {
        self.without(&self.without(other))
    }

    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.tables.is_empty() && self.mounts.is_empty() && self.settings.is_empty()
    }
}

/// Kernel parameters that have the value that clusters give them, and local addresses. Another value is nothing that a
/// cluster made, even if it appears meanwhile: then that of another test has gone.
fn settings() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, set) in [("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/send_redirects", "0")] {
        let value = fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
        if value.trim() == set {
            found.insert(format!("{name}={set}"));
        }
    }
    let trie = fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    let mut address = "";
    for line in trie.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(found) => address = found,
            None if line.starts_with("/32 host LOCAL") => drop(found.insert(format!("address {address}"))),
            None => {}
        }
    }
    found
}

/// The names of all nftables tables, by a dump over netlink.
///
/// # Errors
/// The kernel has no nftables, or we may not ask.
pub fn nftables() -> rustix::io::Result<BTreeSet<String>> {
    const GET_TABLE: u16 = 10 << 8 | 1;
    const REQUEST_DUMP: u16 = 0x301;
    const DONE: u16 = 3;
    const TABLE_NAME: u16 = 1;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))?;
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(GET_TABLE.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 12]);
    send(&socket, &request, SendFlags::empty())?;
    let mut names = BTreeSet::new();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= 16 {
            let short = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if short(4) <= DONE || size < 20 || size > rest.len() {
                return Ok(names);
            }
            let mut attributes = &rest[20..size];
            while attributes.len() >= 4 {
                let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
                let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
                let Some(value) = attributes.get(4..length) else { break };
                if kind == TABLE_NAME {
                    names.insert(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
                }
                attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The cgroups whose path has the cluster's name.
pub fn cgroups_of(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &mut |path| {
        if path.contains(&cluster.name) {
            found.push(path.to_owned());
        }
    });
    found
}

fn walk(directory: &Path, depth: usize, see: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            see(&entry.path().to_string_lossy());
            walk(&entry.path(), depth - 1, see);
        }
    }
}

/// The processes of a cluster, by their command line or cgroup.
pub fn processes_of(cluster: &Cluster) -> Vec<(i32, String)> {
    let data = cluster.data.to_string_lossy().into_owned();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let about = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        // Its guard only waits to remove it.
        let guard = line.contains(" guard ");
        (!guard && (line.contains(&data) || cgroup.contains(&format!("/{}", cluster.name)))).then_some((pid, line))
    };
    pids.filter_map(about).collect()
}
