//! What a cluster makes at the top of its data directory. `down` removes that, and nothing that somebody else put there.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coracle_runtime::tree::{remove_named, unmount_named};

use crate::cluster::{ADMINISTRATOR, DESCRIPTION, MARKER};

/// What the further nodes of a local cluster have, a directory each.
const NODES: &str = "nodes";
/// Directories, and files that are written in place.
const NAMES: [&str; 13] = [
    "cni",
    "control.sock",
    "images",
    "kubelet",
    "log",
    NODES,
    "pki",
    "registry",
    "run",
    "store",
    "store.before-etcd",
    "store.from-etcd",
    "store.made",
];
/// Files that are replaced as a whole, so that a process that was killed may have left what was to be the next. Earlier versions
/// had `node.json`.
const REPLACED: [&str; 6] = [MARKER, DESCRIPTION, ADMINISTRATOR, "joined.json", "node.json", "token"];

/// Removes what the cluster made, never what is mounted there; answers what is left, which others put there. The node's mounts
/// went with its namespace, but the kernel may take a moment.
///
/// # Errors
/// Something of the cluster cannot be removed. Then it is still known whose data these are.
pub fn remove(dir: &Path) -> Result<Vec<PathBuf>> {
    let of_nodes = remove_nodes(dir)?;
    // What others put there keeps it.
    let is_own = |name: &OsStr| is_own(name) && (of_nodes.is_empty() || name != NODES);
    patiently(|| remove_named(dir, |name| is_own(name) && !says_whose(name)))?;
    let left = patiently(|| remove_named(dir, is_own))?;
    let left = left.iter().filter(|name| of_nodes.is_empty() || *name != NODES);
    Ok(left.map(|name| dir.join(name)).chain(of_nodes.iter().cloned()).collect())
}

/// The same of the directories of further nodes.
fn remove_nodes(dir: &Path) -> Result<Vec<PathBuf>> {
    let nodes = dir.join(NODES);
    if !fs::symlink_metadata(&nodes).is_ok_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    // A disk that a node's data were put on stays as it is.
    unmount_named(dir, |inner| inner == Path::new(NODES) || inner.parent() == Some(Path::new(NODES)))
        .context("failed to unmount what further nodes have")?;
    let mut left = Vec::new();
    for entry in fs::read_dir(&nodes)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() && is_node(&entry.file_name()) {
            true => left.extend(remove(&entry.path())?),
            false => left.push(entry.path()),
        }
    }
    left.sort();
    Ok(left)
}

/// Whether a directory is called as that of a further node: the cluster's name and a number.
fn is_node(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.rsplit_once('-'));
    number.is_some_and(|(_, number)| number.parse::<u8>().is_ok())
}

fn patiently<T>(remove: impl Fn() -> std::io::Result<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match remove() {
            Err(error)
                if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.context("failed to remove all of it"),
        }
    }
}

fn says_whose(name: &OsStr) -> bool {
    name == MARKER || name == DESCRIPTION
}

fn is_own(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name) || REPLACED.iter().any(|file| name.strip_prefix(file).is_some_and(is_temporary))
}

/// What follows a file's name while its next content is written: nothing, `.tmp`, or `.PROCESS.tmp` of earlier versions.
fn is_temporary(ending: &str) -> bool {
    ending.is_empty()
        || ending.strip_suffix(".tmp").is_some_and(|process| {
            process.is_empty() || process.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_beside_the_data_of_a_further_node_stays() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for directory in ["nodes/dev-2/run/inner", "nodes/dev-2/mine", "nodes/dev-3/kubelet", "nodes/theirs/run"] {
            fs::create_dir_all(data.join(directory)).unwrap();
        }
        for file in [".coracle", "nodes/dev-2/notes", "nodes/dev-2/joined.json"] {
            fs::write(data.join(file), "").unwrap();
        }
        let theirs = ["nodes/dev-2/mine", "nodes/dev-2/notes", "nodes/theirs"].map(|name| data.join(name));
        assert_eq!(remove(&data).unwrap(), theirs);
        assert!(data.join("nodes/theirs/run").exists() && theirs.iter().all(|path| path.exists()));
        assert!(!data.join("nodes/dev-2/run").exists() && !data.join("nodes/dev-3").exists());
        assert!(!data.join(".coracle").exists());
        theirs.iter().for_each(|path| fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)).unwrap());
        assert!(remove(&data).unwrap().is_empty() && !data.exists());
    }

    #[test]
    fn what_any_version_made_goes_and_what_others_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let files =
            [".coracle", "cluster.json", "cluster.json.tmp", "node.json", "node.json.4711.tmp", "token", "store.made"];
        let theirs = ["cluster.json.mine.tmp", "notes", "store.old", "token.bak"];
        let make = |with_theirs: bool| {
            for directory in ["store/inner", "images", "kubelet", "nodes"] {
                fs::create_dir_all(data.join(directory)).unwrap();
            }
            for file in files.iter().chain(theirs.iter().filter(|_| with_theirs)) {
                fs::write(data.join(file), "").unwrap();
            }
        };
        make(true);
        assert_eq!(remove(&data).unwrap(), theirs.map(|name| data.join(name)));
        assert_eq!(fs::read_dir(&data).unwrap().count(), theirs.len());
        fs::remove_dir_all(&data).unwrap();
        make(false);
        assert!(remove(&data).unwrap().is_empty() && !data.exists());
    }
}
