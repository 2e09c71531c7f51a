//! Which clusters this host has: where each has its data, which process is its first, and who changes it now.
//!
//! `/var/lib/coracle/.clusters/NAME` says where the data are and outlives a reboot; `/run/coracle/NAME.json` says what runs
//! and does not. Both are apart from the data, so that a cluster can be ended when its disk fails.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::files::{temporary, write_atomically, write_until_boot};
use crate::process::NodeProcess;

/// Where clusters have their data unless told otherwise.
pub const DATA: &str = "/var/lib/coracle";
const CLUSTERS: &str = "/var/lib/coracle/.clusters";
pub const RUN: &str = "/run/coracle";

/// The first process of a cluster, and the data it runs on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// The process.
    #[serde(flatten)]
    pub process: NodeProcess,
    /// Its data directory.
    pub dir: PathBuf,
}

/// The only command that changes a cluster, while it lives.
pub struct Lock {
    file: fs::File,
    path: PathBuf,
}

impl Lock {
    /// Waits until no other command changes the cluster.
    pub fn take(name: &str) -> Result<Lock> {
        loop {
            let path = run_file(name, "lock")?;
            let file = match fs::File::create(&path) {
                // The last command of another cluster has just removed the directory.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.with_context(|| format!("failed to open {}", path.display()))?,
            };
            flock(&file, FlockOperation::LockExclusive)
                .with_context(|| format!("failed to lock {}", path.display()))?;
            // The one that had it before may have removed it, and the next one may have made it anew.
            if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino())) {
                return Ok(Lock { file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
        // Fails while another cluster runs.
        let _ = fs::remove_dir(RUN);
    }
}

fn private_dir(path: &str) -> Result<()> {
    loop {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
            // It was there, and the last command of another cluster removed it before it was looked at.
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists
                    && fs::symlink_metadata(path).map_or(true, |found| found.is_dir()) => {}
            made => return made.with_context(|| format!("failed to make {path}")),
        }
    }
}

fn run_file(name: &str, ending: &str) -> Result<PathBuf> {
    private_dir(RUN)?;
    Ok(Path::new(RUN).join(format!("{name}.{ending}")))
}

/// Where a cluster of this name has its data, if there is one.
pub fn find(name: &str) -> Result<Option<PathBuf>> {
    let path = Path::new(CLUSTERS).join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(PathBuf::from(text.trim_end_matches('\n')))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// The names of all clusters, in order.
pub fn names() -> Result<Vec<String>> {
    let entries = match fs::read_dir(CLUSTERS) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("failed to read {CLUSTERS}"))?,
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| crate::args::cluster_name(name).is_ok());
    names.sort_unstable();
    Ok(names)
}

/// Writes down where a cluster has its data.
pub fn add(name: &str, dir: &Path) -> Result<()> {
    private_dir(CLUSTERS)?;
    let path = Path::new(CLUSTERS).join(name);
    write_atomically(&path, format!("{}\n", dir.display()).as_bytes(), 0o600)
}

/// Forgets a cluster.
pub fn remove(name: &str) {
    forget(&Path::new(CLUSTERS).join(name));
    for directory in [CLUSTERS, DATA] {
        // Fails while there is another cluster.
        let _ = fs::remove_dir(directory);
    }
}

/// The names under which first processes of a cluster's further nodes are written down.
pub fn running_nodes(cluster: &str) -> Vec<String> {
    let prefix = format!("{cluster}.");
    let entries = fs::read_dir(RUN).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_number = |name: &&str| name.strip_prefix(&prefix).is_some_and(|number| number.parse::<u8>().is_ok());
    names.filter_map(|name| name.strip_suffix(".json").filter(is_number).map(str::to_owned)).collect()
}

/// What was written down of a cluster's first process; it may have ended since.
pub fn running(name: &str) -> Option<Running> {
    let bytes = fs::read(Path::new(RUN).join(format!("{name}.json"))).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes down the first process of a cluster.
pub fn set_running(name: &str, running: &Running) -> Result<()> {
    write_until_boot(&run_file(name, "json")?, &serde_json::to_vec(running)?, 0o600)
}

/// Forgets the first process of a cluster.
pub fn clear_running(name: &str) {
    forget(&Path::new(RUN).join(format!("{name}.json")));
}

/// Removes a file, and what a killed writer of it left.
fn forget(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_file(temporary(path));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Each removes the file that the others wait for.
    #[test]
    fn one_command_at_a_time_changes_a_cluster_however_many_come_and_go() {
        if !coracle_testing::is_root() {
            return;
        }
        let name = format!("locked-{}", std::process::id());
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _lock = Lock::take(&name).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
        assert!(!Path::new(RUN).join(format!("{name}.lock")).exists());
    }
}
