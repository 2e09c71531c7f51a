//! The pod's namespaces, made by the shim for itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::plain;
use super::process::join_cgroups;
use super::proto::{NamespacesSpec, SandboxSpec};
use crate::sys::{self, Child};

/// The namespaces that a shim has made for itself.
pub struct Namespaces {
    host_mounts: OwnedFd,
}

/// A made sandbox.
pub struct Sandbox {
    /// As the daemon asked for.
    pub spec: SandboxSpec,
    /// The node's mount namespace; the shim's own has the pod's /dev/shm besides.
    pub host_mounts: OwnedFd,
    /// PID 1 of a shared PID namespace.
    pub init: Option<Child>,
    /// That PID 1 is gone, and no container can be started any more.
    pub dead: bool,
}

/// Where in the sandbox's directory the /proc of a shared PID namespace is mounted, for the shim alone.
pub const PROC: &str = "proc";

fn namespace(name: &str) -> Result<OwnedFd, String> {
    let path = format!("/proc/self/ns/{name}");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("opening {path}: {}", plain(&error.into())))
}

fn at<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", plain(&error)))
}

impl Namespaces {
    /// Makes them.
    pub fn make(spec: &NamespacesSpec) -> Result<Self, String> {
        join_cgroups(&spec.cgroup)?;
        // Lowering it needs a capability that a node in a container may lack.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
        let host_mounts = namespace("mnt")?;
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
            at("bringing up lo", sys::loopback_up())?;
        }
        Ok(Self { host_mounts })
    }
}

impl Sandbox {
    /// Whether a process is PID 1 of the shared PID namespace.
    pub fn is_init(&self, pid: i32) -> bool {
        self.init.as_ref().is_some_and(|init| init.pid == pid)
    }

    /// Makes the namespaces that a shim is in those of a pod; answers also with a descriptor of the network namespace.
    pub fn make(namespaces: Namespaces, spec: SandboxSpec) -> Result<(Self, OwnedFd), String> {
        if !spec.host_network {
            at("setting the hostname", sys::set_hostname(&spec.hostname))?;
        }
        for (name, value) in &spec.sysctls {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            std::fs::write(&path, value)
                .map_err(|error| format!("failed to set sysctl {name}={value}: {}", plain(&error)))?;
        }
        let netns = namespace("net")?;
        let init = if spec.shared_pid && !spec.host_pid { Some(start_init(&spec)?) } else { None };
        Ok((Self { spec, host_mounts: namespaces.host_mounts, init, dead: false }, netns))
    }
}

/// Starts PID 1 of a shared PID namespace and waits until it has shut itself in.
fn start_init(spec: &SandboxSpec) -> Result<Child, String> {
    at("making a place for /proc", std::fs::create_dir(spec.dir.join(PROC)))?;
    let (mut told, tell) = at("pipe", io::pipe())?;
    // SAFETY: the shim is single-threaded.
    let child = unsafe { sys::clone_process(libc::CLONE_NEWPID as u64, None) };
    let Some(child) = at("starting the pod's PID 1", child)? else { be_init(spec, tell) };
    drop(tell);
    let mut failure = String::new();
    at("waiting for the pod's PID 1", told.read_to_string(&mut failure))?;
    if failure.is_empty() { Ok(child) } else { Err(format!("starting the pod's PID 1: {failure}")) }
}

/// The life of a pod's PID 1. Every container of the pod sees it, by /proc/1 too, so that it must be worth nothing
/// to them: it has an empty root that nothing can be written to, no capability, no descriptor and no privileged user.
fn be_init(spec: &SandboxSpec, mut tell: io::PipeWriter) -> ! {
    sys::die_with_parent();
    // In the shim's mount namespace, from which every container takes it. Only a process of the PID namespace can make
    // this mount, and no later one would be alone there.
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let proc = sys::mount("proc", &spec.dir.join(PROC).to_string_lossy(), "proc", flags, b"");
    if let Err(error) = at("mounting /proc", proc).and_then(|()| shut_in(&spec.dir)) {
        let _ = tell.write_all(error.as_bytes());
        sys::exit_now(1);
    }
    // A change of user clears the request for death with the parent, and may make the process readable again.
    sys::die_with_parent();
    sys::forbid_dumping();
    // SAFETY: nothing below uses a descriptor. The pipe closes with the others, which says that all went well.
    unsafe { sys::close_all_but(&mut []) };
    sys::reap_for_ever()
}

/// The user that owns nothing, as upstream's infra container has it.
const NOBODY: u32 = 65_535;

fn shut_in(dir: &Path) -> Result<(), String> {
    at("unshare", sys::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP))?;
    at("making mounts private", sys::mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, b""))?;
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let place = dir.to_string_lossy();
    at("mounting an empty root", sys::mount("tmpfs", &place, "tmpfs", flags, b"size=4k,nr_inodes=1,mode=555"))?;
    at("entering the empty root", std::env::set_current_dir(dir))?;
    at("pivot_root", sys::pivot_to_current_directory())?;
    at("joining a keyring", sys::join_new_keyring())?;
    at("limiting capabilities", sys::limit_bounding_set(0))?;
    at("switching user", sys::switch_user(NOBODY, NOBODY, &[]))?;
    at("dropping capabilities", sys::set_capabilities(0))?;
    at("setting no_new_privs", sys::set_no_new_privileges())
}

/// Begins to connect to a port of this network namespace's loopback address, IPv4 before IPv6. Whoever gets the socket
/// waits until it is connected: a listener whose backlog is full must not hold the shim up.
pub fn connect(port: u16) -> io::Result<OwnedFd> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let one = |family, address: SocketAddr| -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error.into()),
        }
    };
    // Loopback refuses at once where nobody listens.
    one(AddressFamily::INET, v4).or_else(|error| one(AddressFamily::INET6, v6).map_err(|_| error))
}
