//! The Container Runtime Interface, v1, as Rust traits and plain data.
//!
//! Names, meaning and units are those of the CRI specification
//! (<https://github.com/kubernetes/cri-api>, `runtime.v1`); fields of other platforms are left out.
//! Streaming calls differ in one way: instead of answering with a URL they take the streams themselves,
//! because kubelet and runtime share a process.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc};

/// Why a CRI call failed. The message is what a user sees in an event or a container status.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The sandbox, container or image does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A request that can never work as given: an unknown user, a bad mount, a malformed image name.
    #[error("{0}")]
    InvalidArgument(String),
    /// The image could not be pulled; `not_found` when the registry said that it does not exist.
    #[error("{message}")]
    Pull {
        /// What the registry or the transport said.
        message: String,
        /// The registry answered that the repository or tag does not exist, or that access is denied.
        not_found: bool,
    },
    /// A deadline passed.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// Everything else: the kernel or the disk refused.
    #[error("{0}")]
    Internal(String),
}

/// The result of a CRI call.
pub type Result<T> = std::result::Result<T, CriError>;

/// Names a pod across restarts of its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct PodSandboxMetadata {
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// How often the sandbox was made before.
    pub attempt: u32,
}

/// Which namespaces a pod shares with the node instead of having its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NamespaceOptions {
    /// `hostNetwork`.
    pub host_network: bool,
    /// `hostPID`.
    pub host_pid: bool,
    /// `hostIPC`.
    pub host_ipc: bool,
    /// `shareProcessNamespace`: one PID namespace for all containers of the pod.
    pub shared_pid: bool,
}

/// What resolv.conf of the pod's containers says.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// How to make a pod's sandbox.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PodSandboxConfig {
    /// Whose sandbox this is.
    pub metadata: PodSandboxMetadata,
    /// The pod's hostname; empty with `host_network`.
    pub hostname: String,
    /// Directory for container logs (`/var/log/pods/NAMESPACE_NAME_UID`).
    pub log_directory: String,
    /// What the kubelet computed for resolv.conf; `None` for the node's own.
    pub dns_config: Option<DnsConfig>,
    /// Ports of the node that lead into the pod.
    pub port_mappings: Vec<PortMapping>,
    /// Labels, given back by list and status.
    pub labels: BTreeMap<String, String>,
    /// Annotations, given back by list and status.
    pub annotations: BTreeMap<String, String>,
    /// Shared namespaces.
    pub namespaces: NamespaceOptions,
    /// Parent cgroup, below the runtime's own parent group (`kubepods/burstable/podUID`).
    pub cgroup_parent: String,
    /// Limits of the pod as a whole.
    pub resources: LinuxContainerResources,
    /// Namespaced sysctls set in the sandbox.
    pub sysctls: BTreeMap<String, String>,
}

/// A `hostPort`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortMapping {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The container's port.
    pub container_port: u16,
    /// The node's port.
    pub host_port: u16,
    /// The node's address; empty for all.
    pub host_ip: String,
}

/// The state of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SandboxState {
    /// The shim lives and holds the pod's namespaces.
    Ready,
    /// Stopped, or its shim is gone.
    NotReady,
}

/// A sandbox, as list and status give it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PodSandbox {
    /// The sandbox's ID.
    pub id: String,
    /// Whose it is.
    pub metadata: PodSandboxMetadata,
    /// Whether it can hold containers.
    pub state: SandboxState,
    /// When it was made, in nanoseconds since the epoch.
    pub created_at: i64,
    /// The pod's addresses, the primary first; empty with `host_network`.
    pub ips: Vec<IpAddr>,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// Annotations as given.
    pub annotations: BTreeMap<String, String>,
    /// Shared namespaces as given.
    pub namespaces: NamespaceOptions,
}

/// Names a container within its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ContainerMetadata {
    /// The container's name in the pod.
    pub name: String,
    /// How often it was started before: the restart count.
    pub attempt: u32,
}

/// A directory or file of the node mounted into the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Where in the container.
    pub container_path: String,
    /// Which path of the node.
    pub host_path: String,
    /// Mount read-only.
    pub readonly: bool,
    /// `None`, `HostToContainer` or `Bidirectional`.
    pub propagation: MountPropagation,
}

/// How mounts made later travel between node and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MountPropagation {
    /// Not at all (private).
    #[default]
    Private,
    /// From the node into the container (slave).
    HostToContainer,
    /// Both ways (shared).
    Bidirectional,
}

/// A device node made in the container.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Where in the container.
    pub container_path: String,
    /// Which device of the node.
    pub host_path: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// cgroup limits. Zero means no limit (or the kernel's default), and in an update that a limit stays as it is, a negative
/// number that it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinuxContainerResources {
    /// CPU shares as cgroup v1 counts them (2..262144).
    pub cpu_shares: u64,
    /// CPU quota in microseconds a period.
    pub cpu_quota: i64,
    /// The period in microseconds.
    pub cpu_period: u64,
    /// Memory limit in bytes.
    pub memory_limit_in_bytes: i64,
    /// Most processes and threads. A sandbox that says zero gets the runtime's default, and a negative one has no limit.
    pub pids_limit: i64,
    /// `oom_score_adj` of the container's processes.
    pub oom_score_adj: i32,
    /// `cpuset.cpus`.
    pub cpuset_cpus: String,
}

impl LinuxContainerResources {
    /// Takes over what an update of CPU and memory says.
    pub fn update(&mut self, with: &LinuxContainerResources) {
        if with.cpu_shares > 0 {
            self.cpu_shares = with.cpu_shares;
        }
        if with.cpu_period > 0 {
            self.cpu_period = with.cpu_period;
        }
        if with.cpu_quota != 0 {
            self.cpu_quota = with.cpu_quota.max(0);
        }
        if with.memory_limit_in_bytes != 0 {
            self.memory_limit_in_bytes = with.memory_limit_in_bytes.max(0);
        }
        if with.pids_limit != 0 {
            self.pids_limit = with.pids_limit;
        }
        if !with.cpuset_cpus.is_empty() {
            self.cpuset_cpus.clone_from(&with.cpuset_cpus);
        }
    }
}

/// Which seccomp profile a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SecurityProfile {
    /// The runtime's own.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file of the node.
    Localhost(String),
}

/// What a container's processes may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinuxContainerSecurityContext {
    /// Capabilities added to the default set (`NET_ADMIN`, or `ALL`).
    pub add_capabilities: Vec<String>,
    /// Capabilities dropped from it.
    pub drop_capabilities: Vec<String>,
    /// All capabilities, all devices, no seccomp, nothing masked.
    pub privileged: bool,
    /// Numeric user; `None` for `run_as_username` or the image's.
    pub run_as_user: Option<i64>,
    /// Numeric group; only with a user.
    pub run_as_group: Option<i64>,
    /// A user name looked up in the image's /etc/passwd.
    pub run_as_username: String,
    /// The root filesystem is mounted read-only.
    pub readonly_rootfs: bool,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
    /// Leave out the groups that the image's /etc/group has the user in (`SupplementalGroupsPolicy` Strict).
    #[serde(default)]
    pub only_supplemental_groups: bool,
    /// Set `no_new_privs`.
    pub no_new_privs: bool,
    /// The seccomp profile.
    pub seccomp: SecurityProfile,
    /// Leave /proc unmasked (`procMount: Unmasked`).
    pub unmasked_proc: bool,
    /// A running container of the sandbox whose processes it shares (`NamespaceMode` `TARGET`); empty for none. Without
    /// effect where all containers share one PID namespace.
    #[serde(default)]
    pub target_id: String,
}

/// How to make a container.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ContainerConfig {
    /// The container's name and attempt.
    pub metadata: ContainerMetadata,
    /// The image's reference or ID, as `image_status` resolves it.
    pub image: String,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's cmd when not empty, or when `command` is not.
    pub args: Vec<String>,
    /// Working directory; empty for the image's.
    pub working_dir: String,
    /// Environment, added to the image's.
    pub envs: Vec<(String, String)>,
    /// Mounts, in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Labels, given back by list and status.
    pub labels: BTreeMap<String, String>,
    /// Annotations, given back by list and status.
    pub annotations: BTreeMap<String, String>,
    /// Log file below the sandbox's `log_directory` (`NAME/ATTEMPT.log`).
    pub log_path: String,
    /// Keep standard input open for attach.
    pub stdin: bool,
    /// Close standard input after the first attach ends.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// cgroup limits.
    pub resources: LinuxContainerResources,
    /// What it may do.
    pub security: LinuxContainerSecurityContext,
    /// Signal that asks it to stop; empty for the image's, then SIGTERM.
    pub stop_signal: String,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its first process lives.
    Running,
    /// Ended.
    Exited,
    /// The runtime lost it: its shim died without a word.
    Unknown,
}

/// A container, as list and status give it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ContainerStatus {
    /// The container's ID.
    pub id: String,
    /// Its sandbox.
    pub pod_sandbox_id: String,
    /// Its name and attempt.
    pub metadata: ContainerMetadata,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Nanoseconds since the epoch; 0 when it has not happened.
    pub created_at: i64,
    /// Likewise.
    pub started_at: i64,
    /// Likewise.
    pub finished_at: i64,
    /// Exit code; 128+N when signal N ended it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun` or `StartError`; empty while it runs.
    pub reason: String,
    /// What went wrong, for a user.
    pub message: String,
    /// The image as given in the config.
    pub image: String,
    /// The image's reference with digest, or its ID.
    pub image_ref: String,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// Annotations as given.
    pub annotations: BTreeMap<String, String>,
    /// The log file's full path.
    pub log_path: String,
    /// Its first process, 0 when there is none.
    pub pid: i32,
    /// Who its first process was started as; `None` before, or when a shim of an earlier version started it.
    #[serde(default)]
    pub user: Option<LinuxContainerUser>,
}

/// `ContainerUser.linux`: what a process was given, before it could change any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinuxContainerUser {
    /// User.
    pub uid: i64,
    /// Primary group.
    pub gid: i64,
    /// All groups, the primary one among them; of more than 1,000 the first ones.
    pub supplemental_groups: Vec<i64>,
}

/// What happened to a container or sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEventType {
    /// Made.
    Created,
    /// Its first process runs.
    Started,
    /// It ended.
    Stopped,
    /// Removed.
    Deleted,
}

/// One event of the runtime: the kubelet never polls.
#[derive(Clone, Debug)]
pub struct ContainerEvent {
    /// The container, or the sandbox itself when its shim ended.
    pub container_id: String,
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// The UID of the pod.
    pub pod_uid: String,
    /// What happened.
    pub event: ContainerEventType,
}

/// What a command run by [`RuntimeService::exec_sync`] left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSyncResponse {
    /// At most 16 KiB of standard output.
    pub stdout: Vec<u8>,
    /// At most 16 KiB of standard error.
    pub stderr: Vec<u8>,
    /// Its exit code.
    pub exit_code: i32,
}

/// Use of the CPU, all of it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// Nanoseconds of CPU time.
    pub usage_core_nano_seconds: u64,
    /// Those of them in programs.
    pub user_nano_seconds: u64,
    /// Those of them in the kernel.
    pub system_nano_seconds: u64,
    /// Periods in which it could have run; none without a limit.
    pub periods: u64,
    /// Those of them in which its limit stopped it.
    pub throttled_periods: u64,
    /// Nanoseconds in which its limit stopped it.
    pub throttled_nano_seconds: u64,
}

/// Use of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All of it.
    pub usage_bytes: u64,
    /// What cannot be dropped without writing or swapping.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Pages of files.
    pub cache_bytes: u64,
    /// Mapped pages of files.
    pub mapped_file_bytes: u64,
    /// What was swapped out.
    pub swap_bytes: u64,
    /// The most there ever was, 0 where the kernel does not say.
    pub max_usage_bytes: u64,
    /// How often the limit was hit.
    pub failures: u64,
    /// Page faults since the start.
    pub page_faults: u64,
    /// Those of them that had to read the disk.
    pub major_page_faults: u64,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: u64,
}

/// What went to and came from a disk since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoUsage {
    /// Major and minor number of the disk, as in `8:0`.
    pub device: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Use of resources by a container or a pod: what its cgroup says, read at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// The container's (or sandbox's) ID.
    pub id: String,
    /// When it was read, in nanoseconds since the epoch.
    pub timestamp: i64,
    /// CPU time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Disks, each once; none where the kernel is not asked to keep count.
    pub io: Vec<IoUsage>,
    /// Processes and threads.
    pub process_count: u64,
}

/// What a network interface of a sandbox sent and received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkInterfaceUsage {
    /// Its name in the sandbox.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors in receiving.
    pub rx_errors: u64,
    /// Packets dropped in receiving.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors in sending.
    pub tx_errors: u64,
    /// Packets dropped in sending.
    pub tx_dropped: u64,
}

impl NetworkInterfaceUsage {
    /// Reads `/proc/PID/net/dev`; the loopback interface is not of interest.
    pub fn list(text: &str) -> Vec<NetworkInterfaceUsage> {
        let interface = |line: &str| {
            let (name, figures) = line.split_once(':')?;
            let figures: Vec<u64> = figures.split_whitespace().map(|figure| figure.parse().unwrap_or(0)).collect();
            let at = |index: usize| figures.get(index).copied().unwrap_or(0);
            Some(NetworkInterfaceUsage {
                name: name.trim().to_owned(),
                rx_bytes: at(0),
                rx_packets: at(1),
                rx_errors: at(2),
                rx_dropped: at(3),
                tx_bytes: at(8),
                tx_packets: at(9),
                tx_errors: at(10),
                tx_dropped: at(11),
            })
        };
        text.lines().filter_map(interface).filter(|interface| interface.name != "lo").collect()
    }
}

/// Use of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// Bytes.
    pub used_bytes: u64,
    /// Inodes.
    pub inodes_used: u64,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height")]
    pub height: u16,
}

/// Boxed input of a stream.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// Boxed output of a stream.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// The client's side of an exec or attach session.
pub struct Streams {
    /// What the client types; its end closes the process's standard input.
    pub stdin: Option<BoxRead>,
    /// Receives standard output (and standard error with a terminal).
    pub stdout: Option<BoxWrite>,
    /// Receives standard error.
    pub stderr: Option<BoxWrite>,
    /// Sizes of the client's terminal, the first one at once.
    pub resize: mpsc::Receiver<TerminalSize>,
}

/// The runtime half of CRI.
#[async_trait]
pub trait RuntimeService: Send + Sync + 'static {
    /// Name and version of the runtime, as `kubectl get nodes -o wide` shows them (`coracle`, `0.1.0`).
    fn version(&self) -> (String, String);
    /// Makes and starts a sandbox with its network; answers with its ID.
    async fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<String>;
    /// Kills what runs in the sandbox and gives its network back. Idempotent.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Removes a sandbox and its containers for good. Idempotent.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// One sandbox.
    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandbox>;
    /// All sandboxes.
    async fn list_pod_sandbox(&self) -> Result<Vec<PodSandbox>>;
    /// The sandboxes of the pod with a UID, and all containers in them, as lists with a filter have them. A node has many pods
    /// that have ended, and each would be copied for each other.
    async fn list_pod(&self, uid: &str) -> Result<(Vec<PodSandbox>, Vec<ContainerStatus>)> {
        let (mut sandboxes, mut containers) = (self.list_pod_sandbox().await?, self.list_containers().await?);
        sandboxes.retain(|sandbox| sandbox.metadata.uid == uid);
        containers.retain(|container| sandboxes.iter().any(|sandbox| sandbox.id == container.pod_sandbox_id));
        Ok((sandboxes, containers))
    }
    /// Makes a container in a sandbox; answers with its ID.
    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String>;
    /// Starts a container; returns once the entrypoint was executed, or with why it could not be.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends the stop signal, and SIGKILL after `timeout`; returns once the container ended. Idempotent.
    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()>;
    /// Removes an ended container (kills a running one) with its writable layer. Its log stays. Idempotent.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// All containers.
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>>;
    /// One container.
    async fn container_status(&self, id: &str) -> Result<ContainerStatus>;
    /// Changes cgroup limits of a sandbox as a whole.
    async fn update_pod_sandbox_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()>;
    /// Changes cgroup limits of a container.
    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()>;
    /// Runs a command in a container and waits for it; `DeadlineExceeded` kills it. `None` is no deadline.
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecSyncResponse>;
    /// Use of resources by one container.
    async fn container_stats(&self, id: &str) -> Result<ContainerStats>;
    /// Use of resources by a whole sandbox (its cgroup).
    async fn pod_sandbox_stats(&self, id: &str) -> Result<ContainerStats>;
    /// Use of the disk by a container's writable layer. It is counted, which takes time.
    async fn writable_layer(&self, id: &str) -> Result<FilesystemUsage>;
    /// What the interfaces of a sandbox sent and received; none for one in the node's network, or while nothing runs in it.
    async fn pod_sandbox_network(&self, id: &str) -> Result<Vec<NetworkInterfaceUsage>>;
    /// Use of resources by all pods together.
    async fn pods_stats(&self) -> Result<ContainerStats>;
    /// Opens the log file anew after it was rotated.
    async fn reopen_container_log(&self, id: &str) -> Result<()>;
    /// Subscribes to events. A subscriber that lags lists everything anew.
    fn container_events(&self) -> broadcast::Receiver<ContainerEvent>;
    /// Runs a command with streams; answers with its exit code.
    async fn exec(&self, id: &str, command: Vec<String>, tty: bool, streams: Streams) -> Result<i32>;
    /// Connects streams to a container's first process until it ends or the client leaves.
    async fn attach(&self, id: &str, streams: Streams) -> Result<()>;
    /// Connects to a TCP port of the sandbox's loopback address.
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<tokio::net::TcpStream>;
}

/// An image, as list and status give it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Digest of its config (`sha256:...`).
    pub id: String,
    /// References with tags, in full (`docker.io/library/web:1`).
    pub repo_tags: Vec<String>,
    /// References with digests.
    pub repo_digests: Vec<String>,
    /// Bytes of its layers as stored.
    pub size: u64,
    /// Numeric user of its config, when numeric.
    pub uid: Option<i64>,
    /// User name of its config, when a name.
    pub username: String,
    /// Seconds since the epoch when it was built, 0 when unknown.
    pub created: i64,
}

/// Credentials for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// How much the image store uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsInfo {
    /// The directory.
    pub mountpoint: String,
    /// Bytes.
    pub used_bytes: u64,
    /// Inodes.
    pub inodes_used: u64,
}

/// The image half of CRI.
#[async_trait]
pub trait ImageService: Send + Sync + 'static {
    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>>;
    /// One image by reference or ID; `None` when it is not present.
    async fn image_status(&self, image: &str) -> Result<Option<Image>>;
    /// Pulls an image, unless all of it is present; answers with its ID.
    async fn pull_image(&self, image: &str, auth: Option<AuthConfig>) -> Result<String>;
    /// Removes a reference, and the image with its last one. Idempotent.
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// Use of disk by images.
    async fn image_fs_info(&self) -> Result<FsInfo>;
}

/// What gives a sandbox its network: the built-in one or a CNI plugin.
#[async_trait]
pub trait SandboxNetwork: Send + Sync + 'static {
    /// Connects the network namespace of a pod's sandbox; answers with its addresses, the primary first. A second call for
    /// a sandbox gives the same addresses. Nothing of the pod runs before.
    async fn attach(
        &self,
        sandbox_id: &str,
        pod: &PodSandboxConfig,
        netns: BorrowedFd<'_>,
    ) -> anyhow::Result<Vec<IpAddr>>;
    /// Gives the addresses back, and answers with them; removes what the kernel did not. Idempotent; works without the
    /// namespace.
    async fn detach(&self, sandbox_id: &str) -> anyhow::Result<Vec<IpAddr>>;
    /// Tells which sandboxes live, once at start; everything held for others is given back. Answers with their addresses.
    async fn retain(&self, live: &[String]) -> anyhow::Result<Vec<IpAddr>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_as_the_kernel_writes_them() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
            lo:  9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  \
            eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
        let found = NetworkInterfaceUsage::list(text);
        assert_eq!(found.len(), 1);
        let eth0 = &found[0];
        assert_eq!((eth0.name.as_str(), eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes), ("eth0", 1, 4, 5));
        assert_eq!((eth0.tx_packets, eth0.tx_errors, eth0.tx_dropped), (6, 7, 8));
        assert!(NetworkInterfaceUsage::list("nonsense").is_empty());
    }
}
