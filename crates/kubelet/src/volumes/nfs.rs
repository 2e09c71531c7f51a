//! `nfs` volumes, mounted by the kernel itself: no program helps.
//!
//! Versions are tried from the newest on unless the options name one. Locks of version 3 would take a daemon of the
//! node, so that they are the node's own there (`nolock`).

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::NFSVolumeSource;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::kind::{SetUp, Usage, Volume};
use super::mount;

/// The port of NFS, for the look-up of the server's address alone.
const PORT: u16 = 2049;
/// What is tried in turn: the kernel's name of the file system, and its options.
const VERSIONS: [(&str, &str); 4] =
    [("nfs4", "vers=4.2"), ("nfs4", "vers=4.1"), ("nfs4", "vers=4.0"), ("nfs", "vers=3,nolock")];

/// A directory of another machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Nfs {
    server: String,
    path: String,
    read_only: bool,
    options: Vec<String>,
}

impl Nfs {
    /// As its source says.
    pub(super) fn new(source: &NFSVolumeSource, options: Vec<String>) -> Nfs {
        let read_only = source.read_only == Some(true);
        Nfs { server: source.server.clone(), path: source.path.clone(), read_only, options }
    }

    fn address(&self) -> Result<IpAddr, String> {
        let bare = self.server.trim_start_matches('[').trim_end_matches(']');
        let found = (bare, PORT).to_socket_addrs();
        let mut found = found.map_err(|error| format!("failed to find NFS server {:?}: {error}", self.server))?;
        found.next().map(|found| found.ip()).ok_or_else(|| format!("NFS server {:?} has no address", self.server))
    }

    /// The file system and options to be tried, one after the other.
    fn attempts(&self, address: IpAddr, data: &[String]) -> Vec<(&'static str, String)> {
        let is_chosen = |option: &String| option.starts_with("vers=") || option.starts_with("nfsvers=");
        let tail = |version: &str| {
            let own = format!("addr={address}");
            let parts = [version, own.as_str()].into_iter().filter(|part| !part.is_empty());
            parts.map(str::to_owned).chain(data.iter().cloned()).collect::<Vec<_>>().join(",")
        };
        match data.iter().find(|option| is_chosen(option)).and_then(|option| option.split_once('=')) {
            Some((_, version)) => vec![(if version.starts_with('4') { "nfs4" } else { "nfs" }, tail(""))],
            None => VERSIONS.iter().map(|(kind, version)| (*kind, tail(version))).collect(),
        }
    }
}

impl Volume for Nfs {
    fn plugin(&self) -> &'static str {
        "nfs"
    }

    fn set_up(&self, at: &Path, request: &SetUp<'_>) -> Result<PathBuf, String> {
        if mount::is_mounted(at) {
            return Ok(at.to_owned());
        }
        std::fs::create_dir_all(at).map_err(|error| format!("failed to make {}: {error}", at.display()))?;
        let (mut flags, data) = mount::parse(&self.options);
        flags.set(MountFlags::RDONLY, flags.contains(MountFlags::RDONLY) || self.read_only || request.read_only);
        let source = format!("{}:{}", self.server, self.path);
        let mut last = Errno::NODEV;
        for (kind, options) in self.attempts(self.address()?, &data) {
            let options = CString::new(options).map_err(|error| error.to_string())?;
            match rustix::mount::mount(source.as_str(), at, kind, flags, options.as_c_str()) {
                Ok(()) => return Ok(at.to_owned()),
                // Not this version; another one may do.
                Err(error @ (Errno::PROTONOSUPPORT | Errno::NODEV | Errno::INVAL)) => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        Err(match last {
            Errno::NODEV => format!("failed to mount {source}: the kernel of this node has no NFS client (module nfs)"),
            other => format!("failed to mount {source}: {}", io::Error::from(other)),
        })
    }

    fn tear_down(&self, at: &Path) -> io::Result<()> {
        mount::take_away(at)
    }

    fn usage(&self, at: &Path) -> Option<Usage> {
        Usage::of_file_system(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_own_mounts;

    fn nfs(server: &str) -> Nfs {
        let source = NFSVolumeSource { server: server.into(), path: "/export".into(), read_only: None };
        Nfs::new(&source, Vec::new())
    }

    #[test]
    fn versions_are_tried_from_the_newest_unless_one_is_named() {
        let address = "192.0.2.1".parse().unwrap();
        let tried = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            nfs("a").attempts(address, &options)
        };
        let all = tried(&["hard"]);
        assert_eq!(all.first().unwrap(), &("nfs4", "vers=4.2,addr=192.0.2.1,hard".to_owned()));
        assert_eq!(all.last().unwrap(), &("nfs", "vers=3,nolock,addr=192.0.2.1,hard".to_owned()));
        assert_eq!(tried(&["nfsvers=4.1"]), [("nfs4", "addr=192.0.2.1,nfsvers=4.1".to_owned())]);
        assert_eq!(tried(&["vers=3"]), [("nfs", "addr=192.0.2.1,vers=3".to_owned())]);
    }

    #[test]
    fn what_cannot_be_mounted_says_why() {
        with_own_mounts(|| {
            let root = tempfile::tempdir().unwrap();
            let at = root.path().join("v");
            let request =
                SetUp { staged: Path::new("/none"), first: true, fs_group: None, read_only: false, payload: None };
            // Nothing listens there: either the kernel says so, or it has no client at all.
            let error = nfs("127.0.0.1").set_up(&at, &request).unwrap_err();
            assert!(error.starts_with("failed to mount 127.0.0.1:/export: "), "{error}");
            let known = std::fs::read_to_string("/proc/filesystems").unwrap();
            assert!(known.contains("nfs") || error.contains("no NFS client"), "{error}");
            nfs("127.0.0.1").tear_down(&at).unwrap();
        });
    }
}
