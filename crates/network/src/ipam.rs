//! Addresses of sandboxes: one file an address, named after it and holding the sandbox's ID and its host ports,
//! so that they survive the daemon.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coracle_files::{Durability, replace};
use coracle_values::addresses::{Family, nth, size};
use ipnet::IpNet;

use crate::HostPort;

/// What an address is for.
struct Taken {
    sandbox: String,
    ports: Vec<HostPort>,
}

impl Taken {
    /// The sandbox in the first line, then a line a port: protocol, the pod's port, the node's, the node's address.
    fn read(path: &Path) -> Result<Taken> {
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let mut lines = text.lines();
        let sandbox = lines.next().unwrap_or_default().to_owned();
        let port = |line: &str| -> Option<HostPort> {
            let mut words = line.split(' ');
            Some(HostPort {
                protocol: words.next()?.to_owned(),
                container_port: words.next()?.parse().ok()?,
                host_port: words.next()?.parse().ok()?,
                host_ip: words.next()?.to_owned(),
            })
        };
        Ok(Taken { sandbox, ports: lines.filter_map(port).collect() })
    }

    fn text(&self) -> String {
        let ports = self.ports.iter().map(|port| {
            let HostPort { protocol, container_port, host_port, host_ip } = port;
            format!("\n{protocol} {container_port} {host_port} {host_ip}")
        });
        std::iter::once(self.sandbox.clone()).chain(ports).collect()
    }
}

pub struct Ipam {
    dir: PathBuf,
    range: IpNet,
    taken: HashMap<IpAddr, Taken>,
    /// Where the search goes on: an address just given back is not given out at once.
    next: u128,
}

/// Addresses of a larger range than this are not given out: no node has as many pods.
const MOST: u128 = 1 << 16;

impl Ipam {
    /// Reads what was given out before of the range's family.
    pub fn open(dir: PathBuf, range: IpNet) -> Result<Ipam> {
        fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let mut taken = HashMap::new();
        for entry in fs::read_dir(&dir)?.flatten() {
            let address = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok());
            if let Some(address) = address.filter(|address| Family::of(*address) == Family::of_range(range)) {
                taken.insert(address, Taken::read(&entry.path())?);
            }
        }
        Ok(Ipam { dir, range, taken, next: 2 })
    }

    /// The addresses that it gives out.
    pub fn range(&self) -> IpNet {
        self.range
    }

    /// The bridge's address: the first of the range.
    pub fn gateway(&self) -> IpAddr {
        nth(self.range, 1)
    }

    /// The address of a sandbox, the same one every time.
    pub fn allocate(&mut self, sandbox: &str, ports: &[HostPort]) -> Result<IpAddr> {
        if let Some(address) = self.find(sandbox) {
            return Ok(address);
        }
        let candidates = size(self.range).min(MOST).saturating_sub(3);
        for step in 0..candidates {
            let n = 2 + (self.next - 2 + step) % candidates;
            let address = nth(self.range, n);
            if !self.taken.contains_key(&address) {
                let path = self.dir.join(address.to_string());
                let taken = Taken { sandbox: sandbox.to_owned(), ports: ports.to_vec() };
                replace(&path, taken.text().as_bytes(), 0o600, Durability::Process)
                    .with_context(|| format!("failed to write {}", path.display()))?;
                self.taken.insert(address, taken);
                self.next = 2 + (n - 1) % candidates;
                return Ok(address);
            }
        }
        bail!("no address is free in {}: {} are in use", self.range, self.taken.len())
    }

    /// The address a sandbox has.
    pub fn find(&self, sandbox: &str) -> Option<IpAddr> {
        self.taken.iter().find(|(_, own)| own.sandbox == sandbox).map(|(address, _)| *address)
    }

    /// The host ports that lead to an address.
    pub fn ports(&self, address: IpAddr) -> &[HostPort] {
        self.taken.get(&address).map_or(&[], |taken| taken.ports.as_slice())
    }

    /// Gives an address back; answers with it.
    pub fn release(&mut self, sandbox: &str) -> Option<IpAddr> {
        let address = self.find(sandbox)?;
        self.taken.remove(&address);
        let _ = fs::remove_file(self.dir.join(address.to_string()));
        Some(address)
    }

    /// Sandboxes that have addresses.
    pub fn sandboxes(&self) -> Vec<String> {
        self.taken.values().map(|taken| taken.sandbox.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_over_a_restart_and_not_reused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for (range, begins) in [("10.1.2.0/29", "10.1.2.2"), ("fd00:1::/125", "fd00:1::2")] {
            let open = || Ipam::open(dir.path().to_owned(), range.parse().unwrap()).unwrap();
            let mut ipam = open();
            let ports = ["", "127.0.0.1"].map(|host_ip| HostPort {
                protocol: "UDP".into(),
                container_port: 53,
                host_port: 5353,
                host_ip: host_ip.into(),
            });
            let first = ipam.allocate("a", &ports).unwrap();
            assert_eq!(first.to_string(), begins);
            assert_eq!(ipam.allocate("a", &ports).unwrap(), first);
            assert_eq!(open().ports(first), ports);
            ipam.release("a");
            assert_ne!(ipam.allocate("b", &[]).unwrap(), first);
            let mut ipam = open();
            assert_eq!(ipam.sandboxes(), ["b"]);
            for n in 0..4 {
                ipam.allocate(&n.to_string(), &[]).unwrap();
            }
            assert!(ipam.allocate("full", &[]).unwrap_err().to_string().contains("no address is free"));
        }
    }
}
