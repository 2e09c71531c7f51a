//! What the node as a whole has and uses, as the kernel tells it.

use std::path::Path;

use coracle_runtime::cri::NetworkInterfaceUsage;

/// CPU time of the node in nanoseconds, since its start.
pub(crate) fn cpu_nanoseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_ticks(&stat).saturating_mul(10_000_000)
}

/// Everything but idle and waiting for disks, in hundredths of a second.
fn busy_ticks(stat: &str) -> u64 {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let fields = fields.map(|field| field.parse::<u64>().unwrap_or(0)).take(8).enumerate();
    fields.filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks).fold(0, u64::saturating_add)
}

/// Memory of the node in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// What programs can still have.
    pub(crate) available: u64,
    pub(crate) free: u64,
    pub(crate) swap_total: u64,
    pub(crate) swap_free: u64,
    /// Anonymous memory.
    pub(crate) rss: u64,
}

impl Memory {
    /// What there is now.
    pub(crate) fn read() -> Memory {
        Memory::parse(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(text: &str) -> Memory {
        let field = |name: &str| {
            let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
            let kib =
                line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok());
            kib.unwrap_or(0).saturating_mul(1024)
        };
        Memory {
            total: field("MemTotal"),
            available: field("MemAvailable"),
            free: field("MemFree"),
            swap_total: field("SwapTotal"),
            swap_free: field("SwapFree"),
            rss: field("AnonPages"),
        }
    }

    /// What cannot be dropped at once.
    pub(crate) fn working_set(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }

    /// What is used, with what can be dropped.
    pub(crate) fn usage(&self) -> u64 {
        self.total.saturating_sub(self.free)
    }
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    pub(crate) most: u64,
    pub(crate) running: u64,
}

impl Processes {
    /// How many there are now, and can be.
    pub(crate) fn read() -> Processes {
        let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].map(number);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let running = load.split(['/', ' ']).nth(4).and_then(|count| count.parse().ok()).unwrap_or(0);
        Processes { most: limits.into_iter().flatten().min().unwrap_or(0), running }
    }
}

/// The node's own network interfaces.
pub(crate) fn network() -> Vec<NetworkInterfaceUsage> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    NetworkInterfaceUsage::list(&text)
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) capacity: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

impl FileSystem {
    /// The one that has a path.
    pub(crate) fn of(path: &Path) -> Option<FileSystem> {
        let found = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(FileSystem {
            capacity: bytes(found.f_blocks),
            available: bytes(found.f_bavail),
            used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
            inodes: found.f_files,
            inodes_free: found.f_favail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 64\ncpu0 9 9\n"), 63);
        assert_eq!(busy_ticks(""), 0);
        let memory = Memory::parse("MemTotal:  100 kB\nMemFree: 10 kB\nMemAvailable: 40 kB\nAnonPages: 5 kB\n");
        assert_eq!((memory.total, memory.working_set(), memory.usage(), memory.rss), (102_400, 61_440, 92_160, 5120));
        let processes = Processes::read();
        assert!(processes.running > 0 && processes.most > processes.running, "{processes:?}");
        assert!(FileSystem::of(Path::new("/")).unwrap().capacity > 0);
    }
}
