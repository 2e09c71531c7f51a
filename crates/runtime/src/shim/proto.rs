//! What daemon and shim say to each other: JSON in packets of a `SOCK_SEQPACKET` unix socket, descriptors
//! beside it. Everything large (a container's specification) goes through a file.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::cri::LinuxContainerUser;

/// Longest message in bytes; below the kernel's default socket buffer.
pub const MAX_MESSAGE: usize = 160 * 1024;
/// Most descriptors beside one message.
pub const MAX_FDS: usize = 4;

/// How a process enters its cgroup from the inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupJoin {
    /// Files to write `0` to (cgroup v1: `tasks` of each hierarchy).
    pub files: Vec<PathBuf>,
    /// Directory to be cloned into (cgroup v2).
    pub directory: Option<PathBuf>,
}

/// The namespaces of a new shim, which may be made before it is known for which pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamespacesSpec {
    /// The sandbox's state directory.
    pub dir: PathBuf,
    /// Keep the node's network and UTS namespace.
    pub host_network: bool,
    /// Keep the node's IPC namespace.
    pub host_ipc: bool,
    /// The shim's own cgroup.
    pub cgroup: CgroupJoin,
}

/// What a new shim makes of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The sandbox's ID.
    pub id: String,
    /// Its state directory.
    pub dir: PathBuf,
    /// Where the containers' state directories are.
    pub containers_dir: PathBuf,
    /// Host name, unless the node's UTS namespace is used.
    pub hostname: String,
    /// Keep the node's network and UTS namespace.
    pub host_network: bool,
    /// Containers see the node's processes.
    pub host_pid: bool,
    /// Keep the node's IPC namespace.
    pub host_ipc: bool,
    /// One PID namespace for all containers.
    pub shared_pid: bool,
    /// Namespaced sysctls.
    pub sysctls: BTreeMap<String, String>,
}

/// Who a process runs as, before names are looked up in the container's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// `user`, `uid`, `user:group`, or empty for root.
    pub user: String,
    /// Overrides the primary group.
    pub group: Option<u32>,
    /// Further groups beside those of the container's /etc/group.
    pub supplemental: Vec<u32>,
    /// No groups of the container's /etc/group.
    #[serde(default)]
    pub strict: bool,
}

/// One bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Path on the node.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Read-only.
    pub readonly: bool,
    /// `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`.
    pub propagation: u64,
    /// The source is empty and gets what the image has at the target.
    #[serde(default)]
    pub from_image: bool,
}

/// One device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path in the container.
    pub path: PathBuf,
    /// Type and permissions.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A container as its shim needs it; `spec.json` in the container's state directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's ID.
    pub id: String,
    /// Directory that `lower` is relative to.
    pub layers_dir: PathBuf,
    /// Unpacked layers, the topmost first.
    pub lower: Vec<String>,
    /// State directory, with `upper`, `work` and `rootfs`.
    pub dir: PathBuf,
    /// Mount the root filesystem read-only.
    pub readonly_rootfs: bool,
    /// Bind mounts, parents before children.
    pub mounts: Vec<MountSpec>,
    /// Device nodes beyond the standard ones.
    pub devices: Vec<DeviceSpec>,
    /// Paths hidden from the container.
    pub masked_paths: Vec<String>,
    /// Paths it cannot write to.
    pub readonly_paths: Vec<String>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value` lines.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Who it runs as.
    pub user: UserSpec,
    /// Capabilities, one bit each.
    pub capabilities: u64,
    /// Set `no_new_privs`.
    pub no_new_privileges: bool,
    /// File of the compiled seccomp program.
    pub seccomp: Option<PathBuf>,
    /// Writable /sys and nothing masked.
    pub privileged: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input when the first attach session ends.
    pub stdin_once: bool,
    /// Its log file.
    pub log_path: Option<PathBuf>,
    /// How its processes enter their cgroup.
    pub cgroup: CgroupJoin,
    /// Node directories shown below the container's /sys/fs/cgroup (v1: one a hierarchy), by name.
    pub cgroup_mounts: Vec<(String, PathBuf)>,
    /// The file that counts `oom_kill`.
    pub oom_file: Option<PathBuf>,
    /// The container whose PID namespace it joins.
    #[serde(default)]
    pub pid_target: Option<String>,
    /// The file that lists the group's processes.
    pub procs_file: Option<PathBuf>,
    /// `oom_score_adj` of its processes.
    pub oom_score_adj: i32,
}

/// What of a container's spec its shim itself reads. It never holds the rest, as values of secrets in the environment: each
/// process that it forks has a copy of its memory, also those that join another container.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of `ContainerSpec`")]
pub struct Outline {
    pub dir: PathBuf,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    pub log_path: Option<PathBuf>,
    pub cgroup: CgroupJoin,
    pub oom_file: Option<PathBuf>,
    #[serde(default)]
    pub pid_target: Option<String>,
    pub procs_file: Option<PathBuf>,
}

/// How a container ended; `exit.json` in its state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code; 128+N when signal N ended it.
    pub exit_code: i32,
    /// Nanoseconds since the epoch, 0 when it never started.
    pub started_at: i64,
    /// Nanoseconds since the epoch.
    pub finished_at: i64,
    /// The kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
    /// Reason when it is not one that follows from the code.
    #[serde(default)]
    pub reason: String,
    /// What went wrong, for a user.
    #[serde(default)]
    pub message: String,
}

/// A request to a shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make the namespaces.
    Prepare(Box<NamespacesSpec>),
    /// Make the sandbox of them. Answered with a descriptor of the network namespace.
    Init(Box<SandboxSpec>),
    /// Start the container of this ID from its `spec.json`.
    Start(String),
    /// Run a further process. With a terminal there are no descriptors, and its master is the answer.
    Exec {
        /// The container.
        container: String,
        /// Names the process.
        exec: u64,
        /// Program and arguments.
        args: Vec<String>,
        /// Give it a terminal.
        tty: bool,
        /// For which of input, output and error output a descriptor is given. The others are the container's null
        /// device: none of the node's is ever handed in.
        #[serde(default)]
        given: [bool; 3],
    },
    /// Send a signal to a container's first process.
    Signal {
        /// The container.
        container: String,
        /// The signal's number.
        signal: i32,
    },
    /// Kill a process started by `Exec`.
    KillExec(u64),
    /// Copy output to the descriptors given; answered with the write side of standard input when wanted.
    Attach {
        /// The container.
        container: String,
        /// Whether input is wanted.
        stdin: bool,
        /// Whether a descriptor for standard output is given.
        stdout: bool,
        /// Whether one for standard error is given, after that of standard output.
        stderr: bool,
    },
    /// Open the container's log file anew.
    ReopenLog(String),
    /// Forget an ended container.
    Forget(String),
    /// Connect to a port of the sandbox's loopback address; answered with the socket.
    Connect(u16),
    /// Tell about all containers.
    State,
    /// End; every container is killed first.
    Shutdown,
}

/// What a process that was forked and has not executed its program yet says to its shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum Progress {
    /// The one to go on is the sender of this message, forked into the PID namespace by a helper that ends. It waits
    /// for a byte before it does.
    Here,
    /// Set up. Beside it come a null device, when it is a container's first process, and the terminal's master.
    Ready {
        /// A null device is the first descriptor.
        null: bool,
        /// The terminal's master is the last one.
        terminal: bool,
        /// Who a container's first process will be.
        user: Option<LinuxContainerUser>,
    },
    /// Why its program cannot be executed.
    Failed(String),
}

/// What a shim knows of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Its ID.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// Nanoseconds since the epoch.
    pub started_at: i64,
    /// How it ended.
    pub exit: Option<ExitRecord>,
    /// Who the first process was at its start; shims of earlier versions do not tell.
    #[serde(default)]
    pub user: Option<LinuxContainerUser>,
}

/// What a shim sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's number.
        id: u64,
        /// What came of it.
        result: Result<Reply, String>,
    },
    /// A container ended; its `exit.json` is written.
    Exited {
        /// The container.
        container: String,
        /// How it ended.
        exit: ExitRecord,
    },
    /// A process started by `Exec` ended.
    ExecExited {
        /// The process.
        exec: u64,
        /// Its exit code.
        exit_code: i32,
    },
}

/// A successful answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// The container or process runs.
    Started {
        /// Its process.
        pid: i32,
        /// Nanoseconds since the epoch.
        at: i64,
        /// Who a container's first process is.
        #[serde(default)]
        user: Option<LinuxContainerUser>,
    },
    /// To `State`.
    State {
        /// The shim's own process.
        pid: i32,
        /// All containers it knows.
        containers: Vec<ContainerReport>,
    },
}

/// A request with its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Chosen by the daemon; the reply repeats it.
    pub id: u64,
    /// The request.
    pub request: Request,
}

/// Sends one message with descriptors, without blocking.
pub fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::other(format!(
            "a message of {} bytes is longer than the limit of {MAX_MESSAGE}",
            bytes.len()
        )));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// A packet that came.
pub struct Received {
    /// Bytes of the buffer that it fills.
    pub length: usize,
    /// Descriptors beside it.
    pub fds: Vec<OwnedFd>,
    /// The process that sent it, where the socket was told to ask the kernel for it.
    pub sender: Option<i32>,
}

/// Receives one packet and its descriptors, without blocking. `None` at the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    let (mut fds, mut sender) = (Vec::new(), None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid.as_raw_nonzero().get()),
            _ => {}
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some(Received { length: received.bytes, fds, sender }))
}
