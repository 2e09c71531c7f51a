//! Addresses of sandboxes: one file an address, named after it and holding the sandbox's ID, so that they
//! survive the daemon.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;

pub struct Ipam {
    dir: PathBuf,
    range: Ipv4Net,
    taken: HashMap<Ipv4Addr, String>,
    /// Where the search goes on: an address just given back is not given out at once.
    next: u32,
}

impl Ipam {
    /// Reads what was given out before.
    pub fn open(dir: PathBuf, range: Ipv4Net) -> Result<Ipam> {
        fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let mut taken = HashMap::new();
        for entry in fs::read_dir(&dir)?.flatten() {
            if let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                taken.insert(address, fs::read_to_string(entry.path())?);
            }
        }
        Ok(Ipam { dir, range, taken, next: 2 })
    }

    /// The bridge's address: the first of the range.
    pub fn gateway(&self) -> Ipv4Addr {
        self.nth(1)
    }

    fn nth(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()) + n)
    }

    /// The address of a sandbox, the same one every time.
    pub fn allocate(&mut self, sandbox: &str) -> Result<Ipv4Addr> {
        if let Some(address) = self.find(sandbox) {
            return Ok(address);
        }
        let size = 1u32 << (32 - self.range.prefix_len().min(30));
        let candidates = size.saturating_sub(3);
        for step in 0..candidates {
            let n = 2 + (self.next - 2 + step) % candidates;
            let address = self.nth(n);
            if !self.taken.contains_key(&address) {
                let path = self.dir.join(address.to_string());
                fs::write(&path, sandbox).with_context(|| format!("failed to write {}", path.display()))?;
                self.taken.insert(address, sandbox.to_owned());
                self.next = 2 + (n - 1) % candidates;
                return Ok(address);
            }
        }
        bail!("no address is free in {}: {} are in use", self.range, self.taken.len())
    }

    /// The address a sandbox has.
    pub fn find(&self, sandbox: &str) -> Option<Ipv4Addr> {
        self.taken.iter().find(|(_, own)| *own == sandbox).map(|(address, _)| *address)
    }

    /// Gives an address back; answers with it.
    pub fn release(&mut self, sandbox: &str) -> Option<Ipv4Addr> {
        let address = self.find(sandbox)?;
        self.taken.remove(&address);
        let _ = fs::remove_file(self.dir.join(address.to_string()));
        Some(address)
    }

    /// Sandboxes that have addresses.
    pub fn sandboxes(&self) -> Vec<String> {
        self.taken.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_over_a_restart_and_not_reused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let range = "10.1.2.0/29".parse().unwrap();
        let open = || Ipam::open(dir.path().to_owned(), range).unwrap();
        let mut ipam = open();
        let first = ipam.allocate("a").unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 1, 2, 2));
        assert_eq!(ipam.allocate("a").unwrap(), first);
        ipam.release("a");
        assert_ne!(ipam.allocate("b").unwrap(), first);
        let mut ipam = open();
        assert_eq!(ipam.sandboxes(), ["b"]);
        for n in 0..4 {
            ipam.allocate(&n.to_string()).unwrap();
        }
        assert!(ipam.allocate("full").unwrap_err().to_string().contains("no address is free"));
    }
}
