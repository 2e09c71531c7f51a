//! The pod's namespaces, made by the shim for itself.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::plain;
use super::process::join_cgroups;
use super::proto::SandboxSpec;
use crate::sys;

/// A made sandbox.
pub struct Sandbox {
    /// As the daemon asked for.
    pub spec: SandboxSpec,
    /// The node's mount namespace; the shim's own has the pod's /dev/shm besides.
    pub host_mounts: OwnedFd,
    /// The shim's own PID namespace.
    pub own_pids: OwnedFd,
    /// PID 1 of a shared PID namespace.
    pub init: Option<i32>,
    /// That PID 1 is gone, and no container can be started any more.
    pub dead: bool,
}

fn namespace(name: &str) -> Result<OwnedFd, String> {
    let path = format!("/proc/self/ns/{name}");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("opening {path}: {}", plain(&error.into())))
}

fn at<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", plain(&error)))
}

impl Sandbox {
    /// Makes the namespaces; answers also with a descriptor of the network namespace.
    pub fn make(spec: SandboxSpec) -> Result<(Self, OwnedFd), String> {
        join_cgroups(&spec.cgroup)?;
        // Lowering it needs a capability that a node in a container may lack.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
        let host_mounts = namespace("mnt")?;
        let own_pids = namespace("pid")?;
        let mut flags = libc::CLONE_NEWNS;
        if !spec.host_network {
            flags |= libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
        }
        if !spec.host_ipc {
            flags |= libc::CLONE_NEWIPC;
        }
        at("making namespaces", sys::unshare(flags))?;
        at("making mounts slave", sys::mount("", "/", "", libc::MS_REC | libc::MS_SLAVE, b""))?;
        if !spec.host_ipc {
            let shm = spec.dir.join("shm");
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            at(
                "mounting /dev/shm",
                sys::mount("shm", &shm.to_string_lossy(), "tmpfs", flags, b"mode=1777,size=65536k"),
            )?;
        }
        if !spec.host_network {
            at("setting the hostname", sys::set_hostname(&spec.hostname))?;
            at("bringing up lo", sys::loopback_up())?;
        }
        for (name, value) in &spec.sysctls {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            std::fs::write(&path, value)
                .map_err(|error| format!("failed to set sysctl {name}={value}: {}", plain(&error)))?;
        }
        let netns = namespace("net")?;
        let mut init = None;
        if spec.shared_pid && !spec.host_pid {
            at("making a PID namespace", sys::unshare(libc::CLONE_NEWPID))?;
            match at("starting the pod's PID 1", sys::clone_process(0, None))? {
                None => {
                    sys::die_with_parent();
                    sys::close_from(3);
                    sys::reap_for_ever();
                }
                Some(child) => init = Some(child.pid),
            }
        }
        Ok((Self { spec, host_mounts, own_pids, init, dead: false }, netns))
    }
}

/// Connects to a port of this network namespace's loopback address, IPv4 before IPv6.
pub fn connect(port: u16) -> io::Result<OwnedFd> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let one = |family, address: SocketAddr| -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    };
    // Loopback connects or refuses at once, so that this blocks nobody for long.
    one(AddressFamily::INET, v4).or_else(|error| one(AddressFamily::INET6, v6).map_err(|_| error))
}
