//! Virtual machines: what the host has to run one with, and one run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use coracle_e2e::{Lacks, skip};

/// Modules for the files of containers, the links of pods and the rules of services.
const MODULES: &[&str] = &[
    "overlay",
    "bridge",
    "veth",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_hash",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_meta_bridge",
    "nf_conntrack_netlink",
];

/// How long a machine without hardware support may take for everything.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long until a kernel that gets anywhere has said its first word.
const FIRST_WORD: Duration = Duration::from_secs(15);

/// A kernel of the host's distribution with its modules.
pub struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The newest of /boot whose modules are there too; says why not when there is none, or nothing to run it with.
    pub fn find() -> Option<Kernel> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|dir| dir.join(QEMU).is_file()) {
            skip(Lacks::Tool(&format!("there is no {QEMU} on PATH")));
            return None;
        }
        let entries = fs::read_dir("/boot").into_iter().flatten().flatten();
        let versions =
            entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()));
        let found = versions.map(|version| Kernel {
            image: Path::new("/boot").join(format!("vmlinuz-{version}")),
            modules: Path::new("/lib/modules").join(version),
        });
        let usable =
            |kernel: &Kernel| fs::File::open(&kernel.image).is_ok() && kernel.modules.join("modules.dep").is_file();
        let newest = found.filter(usable).max_by(|one, other| one.image.cmp(&other.image));
        if newest.is_none() {
            skip(Lacks::Tool("there is no readable kernel in /boot with its modules in /lib/modules"));
        }
        newest
    }

    /// Files of the modules that pods need, each after those it needs itself. What is not listed is built in.
    pub fn modules(&self) -> Vec<PathBuf> {
        let list = fs::read_to_string(self.modules.join("modules.dep")).expect("the list of modules is text");
        let needs: BTreeMap<&str, Vec<&str>> = list
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(file, needs)| (file, needs.split_whitespace().collect()))
            .collect();
        let name = |file: &str| file.rsplit('/').next().and_then(|last| last.split('.').next()).map(str::to_owned);
        let mut order: Vec<&str> = Vec::new();
        for module in MODULES {
            let Some((file, needs)) = needs.iter().find(|(file, _)| name(file).as_deref() == Some(module)) else {
                continue;
            };
            // The list names what it needs from the nearest to the most basic.
            for file in needs.iter().rev().chain([file]) {
                if !order.contains(file) {
                    order.push(file);
                }
            }
        }
        order.into_iter().map(|file| self.modules.join(file)).collect()
    }

    /// Starts a machine from an initramfs, waits until it is off, and answers what came to its console.
    ///
    /// # Panics
    /// When it is not off in time.
    pub fn run(&self, initramfs: &Path) -> String {
        // Hardware that says it helps may not, in a machine that is a virtual one itself.
        let console = if Path::new("/dev/kvm").exists() { self.console(initramfs, "kvm", "host") } else { None };
        console.or_else(|| self.console(initramfs, "tcg", "max")).expect("the kernel says something")
    }

    /// `None` when no word came in time.
    fn console(&self, initramfs: &Path, accelerator: &str, processor: &str) -> Option<String> {
        let mut command = Command::new(QEMU);
        command.args(["-accel", accelerator, "-cpu", processor, "-smp", "2", "-m", "2048", "-no-reboot"]);
        command.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-kernel"]).arg(&self.image);
        command.arg("-initrd").arg(initramfs).args(["-append", "console=ttyS0 panic=-1 loglevel=1 rdinit=/init"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut machine = Machine(command.spawn().expect("qemu starts"));
        let output = BufReader::new(machine.0.stdout.take().expect("the output is a pipe"));
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let _ = send.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
        let end = Instant::now() + PATIENCE;
        let mut console = lines.recv_timeout(FIRST_WORD).ok()?;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => console = console + "\n" + &line,
                Err(RecvTimeoutError::Disconnected) => return Some(console),
                Err(RecvTimeoutError::Timeout) => panic!("the machine is not off after {PATIENCE:?}:\n{console}"),
            }
        }
    }
}

const QEMU: &str = "qemu-system-x86_64";

/// A machine that is switched off when a test ends early.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
