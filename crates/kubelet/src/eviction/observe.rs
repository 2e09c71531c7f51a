//! What of the node is left, as the kernel says now.

use std::path::Path;

use super::config::Signal;
use super::thresholds::{Observation, Observations};
use crate::stats::node::{FileSystem, Memory, Processes};

/// Looks at the node: `root` is the kubelet's directory, `images` that of the images. Blocks.
pub(super) fn observe(root: &Path, images: &Path) -> Observations {
    let mut seen = Observations::new();
    let memory = Memory::read();
    put(&mut seen, Signal::MemoryAvailable, memory.available, memory.total);
    let disks = [
        (root, Signal::NodeFsAvailable, Signal::NodeFsInodesFree),
        (images, Signal::ImageFsAvailable, Signal::ImageFsInodesFree),
    ];
    for (path, bytes, inodes) in disks {
        if let Some(disk) = FileSystem::of(path) {
            put(&mut seen, bytes, disk.available, disk.capacity);
            put(&mut seen, inodes, disk.inodes_free, disk.inodes);
        }
    }
    let processes = Processes::read();
    put(&mut seen, Signal::PidAvailable, processes.most.saturating_sub(processes.running), processes.most);
    seen
}

/// What has no capacity is not counted, as inodes of some file systems are not.
fn put(seen: &mut Observations, signal: Signal, available: u64, capacity: u64) {
    if capacity > 0 {
        seen.insert(signal, Observation { available, capacity });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_node_has_is_seen() {
        let seen = observe(Path::new("/"), Path::new("/"));
        for signal in [Signal::MemoryAvailable, Signal::NodeFsAvailable, Signal::ImageFsAvailable, Signal::PidAvailable]
        {
            assert!(seen[&signal].available > 0 && seen[&signal].available <= seen[&signal].capacity, "{signal:?}");
        }
        assert!(!observe(Path::new("/none"), Path::new("/none")).contains_key(&Signal::NodeFsAvailable));
    }
}
