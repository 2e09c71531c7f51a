//! Files of the host at other places in the nodes of a local cluster (`up --mount`).
//!
//! A node sees the files of the host, under the same names, in a mount namespace of its own. So a mount takes the place of what is
//! at a path for the node alone, and nothing is made on the host: a path that is there is covered, and one whose first part is not
//! there is made in a root directory that only the node has ([`root`]). Others are refused.

mod attach;
mod root;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::files;
use crate::registry::{DATA, RUN};

pub use attach::attach;

/// What is the kernel's, and is not covered.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A directory or file of the host that a node has at another path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// On the host.
    pub host_path: PathBuf,
    /// In the node.
    pub node_path: PathBuf,
    /// Nobody in the node writes to it, nor to what is mounted below it.
    #[serde(default)]
    pub read_only: bool,
}

impl FromStr for Mount {
    type Err = String;

    fn from_str(text: &str) -> Result<Mount, String> {
        let (rest, read_only) = match text.rsplit_once(':') {
            Some((rest, "ro")) => (rest, true),
            Some((rest, "rw")) => (rest, false),
            _ => (text, false),
        };
        let paths = rest.split_once(':').filter(|(host, node)| !host.is_empty() && !node.contains(':'));
        let (host, node) = paths.ok_or("it is HOSTPATH:NODEPATH, or HOSTPATH:NODEPATH:ro")?;
        let (host_path, node_path) = (PathBuf::from(host), PathBuf::from(node));
        if !node_path.is_absolute() || node_path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("{node:?} is no absolute path of a node"));
        }
        Ok(Mount { host_path, node_path, read_only })
    }
}

/// Checks what nodes are to have, and completes the paths.
///
/// # Errors
/// There is nothing at a path of the host, or a path of the node cannot be covered.
pub fn resolve(mounts: &[Mount], cluster: &Cluster) -> Result<Vec<Mount>> {
    let mut taken = BTreeSet::new();
    let mut resolved = Vec::new();
    for mount in mounts {
        let host_path = std::fs::canonicalize(&mount.host_path)
            .with_context(|| format!("failed to find {}, which is to be mounted", mount.host_path.display()))?;
        let mount = Mount { host_path, node_path: files::resolve(&mount.node_path)?, ..mount.clone() };
        check(&mount, cluster)?;
        let node_path = mount.node_path.as_path();
        if let Some(other) = taken.iter().find(|other: &&PathBuf| within(node_path, other) || within(other, node_path))
        {
            bail!("of {} and {}, one would cover the other", node_path.display(), other.display());
        }
        taken.insert(mount.node_path.clone());
        resolved.push(mount);
    }
    Ok(resolved)
}

fn within(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory)
}

/// Whether a mount is possible, and harms nothing of the cluster.
fn check(mount: &Mount, cluster: &Cluster) -> Result<()> {
    let Mount { host_path, node_path, .. } = mount;
    let own = [&cluster.dir, Path::new(DATA), Path::new(RUN)];
    let kept = KERNEL.iter().map(Path::new).chain(own);
    for kept in kept {
        if within(node_path, kept) || within(kept, node_path) {
            bail!("{} is not covered in a node: {} is there, which it needs", node_path.display(), kept.display());
        }
    }
    if let Some(own) = own.iter().find(|own| within(host_path, own)) {
        bail!("{} is not mounted in a node: {} is the cluster's own", host_path.display(), own.display());
    }
    match std::fs::metadata(node_path) {
        Ok(there) if there.is_dir() != host_path.is_dir() => bail!(
            "{} and {} are not both directories, so that one cannot be mounted on the other",
            host_path.display(),
            node_path.display()
        ),
        Ok(_) => Ok(()),
        Err(_) => {
            let is_missing = |path: &&Path| std::fs::symlink_metadata(path).is_err();
            let last_missing = node_path.ancestors().take_while(is_missing).last().unwrap_or(node_path);
            if last_missing.parent() == Some(Path::new("/")) {
                return Ok(());
            }
            bail!(
                "there is no {0} on this host, and it is not made: a path of a node is one that the host has, which the node alone \
                 then sees covered, or one whose first part the host has not, as /NAME; make it yourself with `mkdir -p {0}`, or \
                 take another one",
                node_path.display()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Kind, Place};

    #[test]
    fn mounts_are_written_as_those_of_docker() {
        let mount = |text: &str| text.parse::<Mount>();
        let plain = mount("a/b:/c").unwrap();
        assert_eq!((plain.host_path, plain.node_path, plain.read_only), ("a/b".into(), "/c".into(), false));
        assert!(mount("/a:/c:ro").unwrap().read_only && !mount("/a:/c:rw").unwrap().read_only);
        for wrong in ["", "/a", ":/c", "/a:", "/a:c", "/a:/c/../d", "/a:/c:rx", "/a:/b:/c", "/a:/c:ro:ro", "/a:ro"] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_node_needs_is_not_covered_and_nothing_is_made_on_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(dir.path()).unwrap();
        let data = base.join("data");
        for path in ["data/images", "host", "there"] {
            std::fs::create_dir_all(base.join(path)).unwrap();
        }
        std::fs::write(base.join("file"), "").unwrap();
        let place = Place { name: "dev".into(), dir: data.clone(), listed: None };
        let cluster = Cluster::new(&place, Kind::Local, "10.90.7.0/24".parse().unwrap());
        let named = |text: &str| {
            let text = text.replace('~', &base.to_string_lossy());
            resolve(&[text.parse().unwrap()], &cluster).map_err(|error| format!("{error:#}"))
        };
        for good in ["~/host:~/there", "~/host:/not-on-this-host/a/b", "~/file:~/file", "/:~/there"] {
            assert!(named(good).is_ok(), "{good}: {:?}", named(good));
        }
        for (wrong, reason) in [
            ("~/nothing:~/there", "failed to find"),
            ("~/host:~/nothing/a", "mkdir -p"),
            ("~/host:/", "needs"),
            ("~/host:/proc", "needs"),
            ("~/host:/sys/fs/cgroup", "needs"),
            ("~/host:/dev/shm", "needs"),
            ("~/host:~", "needs"),
            ("~/host:~/data/images", "needs"),
            ("~/data/images:~/there", "own"),
            ("~/file:~/there", "not both"),
            ("~/host:~/file", "not both"),
        ] {
            let error = named(wrong).unwrap_err();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
        let both: Vec<Mount> = ["/:/not-here", "/:/not-here/below"].iter().map(|text| text.parse().unwrap()).collect();
        assert!(resolve(&both, &cluster).unwrap_err().to_string().contains("cover"));
        assert!(!base.join("nothing").exists());
    }
}
