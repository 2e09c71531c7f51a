//! Machines that are only networks: namespaces for links and mounts, in which `coracle server` and `coracle agent` run as on a
//! host of their own. A router connects them.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use coracle_e2e::*;
use coracle_network::host;
use ipnet::Ipv4Net;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Namespaces.
pub struct Machine {
    net: File,
    mounts: File,
}

impl Machine {
    /// One without links.
    pub fn new() -> Machine {
        let made = std::thread::spawn(|| {
            // SAFETY: only this thread leaves, and it ends at once.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
            // What hosts write down of their kernel parameters is each one's own.
            mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
            let open = |name: &str| File::open(format!("/proc/thread-self/ns/{name}")).unwrap();
            Machine { net: open("net"), mounts: open("mnt") }
        });
        made.join().unwrap()
    }

    /// A router with the networks `10.9.SUBNET.0/24`, whose bridges are called `lanSUBNET`.
    pub fn router(subnets: &[u8]) -> Machine {
        let router = Machine::new();
        router.in_network(|| {
            for subnet in subnets {
                let address = Ipv4Net::new(Ipv4Addr::new(10, 9, *subnet, 1), 24).unwrap();
                host::create_bridge(&format!("lan{subnet}"), &[address.into()]).unwrap();
            }
        });
        router
    }

    /// Connects a machine as `10.9.SUBNET.HOST`; answers its address.
    pub fn connect(&self, machine: &Machine, subnet: u8, number: u8) -> Ipv4Addr {
        let address = Ipv4Addr::new(10, 9, subnet, number);
        let (bridge, link) = (format!("lan{subnet}"), format!("m{subnet}-{number}"));
        let network = Ipv4Net::new(address, 24).unwrap();
        let gateway = Ipv4Addr::new(10, 9, subnet, 1);
        let links = [(network.into(), gateway.into())];
        self.in_network(|| host::attach_node(&bridge, &link, machine.net.as_fd(), &links).unwrap());
        address
    }

    /// Does something in the network of the machine.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.net.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Has a command run there.
    pub fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let (net, mounts) = (self.net.try_clone().unwrap(), self.mounts.try_clone().unwrap());
        let enter = move || {
            move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
            move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
            Ok(())
        };
        // SAFETY: two system calls on descriptors that are open.
        unsafe { command.pre_exec(enter) }
    }
}

/// A daemon on a machine. When it is dropped, `coracle down` is run there.
pub struct Daemon<'a> {
    machine: &'a Machine,
    pub cluster: Cluster,
    process: Child,
}

impl<'a> Daemon<'a> {
    /// Starts `coracle VERB` under a name of its own.
    pub fn start(machine: &'a Machine, subject: &str, verb: &str, arguments: &[&str]) -> Daemon<'a> {
        let cluster = Cluster::new(subject);
        let process = spawn(machine, &cluster, verb, arguments);
        Daemon { machine, cluster, process }
    }

    /// Kills it and starts it again with other arguments.
    pub fn again(&mut self, verb: &str, arguments: &[&str]) {
        self.kill();
        self.process = spawn(self.machine, &self.cluster, verb, arguments);
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log(&self.cluster)).unwrap_or_default()
    }

    /// Waits until it has ended by itself; answers what it wrote.
    pub fn ended(&mut self) -> String {
        eventually("it ends", || match self.process.try_wait() {
            Ok(Some(status)) if !status.success() => Ok(()),
            other => Err(format!("{other:?}: {}", self.log())),
        });
        self.log()
    }

    /// Runs a `coracle` command about it that must succeed, there.
    pub fn ok(&self, verb: &str, arguments: &[&str]) -> String {
        let mut command = self.cluster.command(verb);
        let output = self.machine.enter(command.args(arguments)).output().unwrap();
        assert!(output.status.success(), "{verb}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.kill();
        let _ = self.machine.enter(&mut self.cluster.command("down")).output();
    }
}

fn log(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("log")
}

fn spawn(machine: &Machine, cluster: &Cluster, verb: &str, arguments: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(log(cluster)).unwrap();
    let mut command = cluster.command(verb);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    machine.enter(&mut command).spawn().unwrap()
}
