//! A container and the processes run in it, as the shim keeps them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use coracle_files::{Durability, replace};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};
use serde::de::DeserializeOwned;

use super::log::{LineSplitter, LogFile, now};
use super::process::{self, Birth, Stdio};
use super::proto::{ContainerSpec, ExitRecord, Outline};
use super::sandbox::Sandbox;
use super::{plain, read_file, read_some};
use crate::cri::LinuxContainerUser;
use crate::sys::{self, Child};

/// Bytes read from an output at a time.
const READ: usize = 16 * 1024;
/// Most bytes that a terminal holds for its reader, and a pipe unless its container may make it larger.
const MAX_HELD: usize = 1 << 20;
/// Most attach sessions of one container.
const MAX_ATTACHED: usize = 64;

/// One output stream of a container.
pub struct Output {
    /// The read side; `None` after its end.
    pub fd: Option<OwnedFd>,
    lines: LineSplitter,
}

/// One receiver of a container's output.
pub struct Attached {
    /// A socket to the daemon.
    pub fd: OwnedFd,
    /// 0 for standard output, 1 for standard error.
    stream: usize,
    /// Read but not yet taken by the receiver. While there is any, the container's output is not read.
    pub pending: Vec<u8>,
    since: i64,
    /// The stream ended: nothing will follow what is pending.
    last: bool,
    gone: bool,
}

/// A process that was forked and has not executed its program yet.
pub struct Start {
    /// Connection and request to answer.
    pub origin: (u64, u64),
    /// The container it is the first process of; `None` for an exec.
    pub container: Option<String>,
    /// The process, or its helper.
    pub pid: i32,
    /// The process is a helper, which prepares everything outside of the PID namespace and forks the one to go on.
    pub helper: bool,
    /// It was told to end before it ran.
    pub doomed: bool,
    /// Closed by exec; says before why it failed.
    pub socket: OwnedFd,
    /// The null device of its container, from a first process.
    pub null: Option<OwnedFd>,
    /// The terminal it made.
    pub master: Option<OwnedFd>,
    /// Who it will be, from a first process.
    pub user: Option<LinuxContainerUser>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Nothing more will come.
    pub done: bool,
}

/// A further process of a container.
pub struct Exec {
    /// The daemon's name for it.
    pub exec: u64,
    /// The process.
    pub pid: i32,
    /// Its exit code.
    pub code: Option<i32>,
    /// It never ran, which was told already.
    pub silent: bool,
}

/// A container.
pub struct Container {
    /// Its ID.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// A descriptor for it.
    pub pidfd: OwnedFd,
    /// A null device of its own.
    pub null: Option<OwnedFd>,
    dir: PathBuf,
    own_pids: bool,
    oom_file: Option<PathBuf>,
    procs_file: Option<PathBuf>,
    /// When its program was executed; 0 before.
    pub started_at: i64,
    /// Who its first process is.
    pub user: Option<LinuxContainerUser>,
    /// Wait status of the first process, as an exit code.
    pub code: Option<i32>,
    /// How it ended, once recorded.
    pub exit: Option<ExitRecord>,
    /// Standard output and standard error; with a terminal only the first.
    pub outputs: Vec<Output>,
    input: Option<OwnedFd>,
    terminal: bool,
    stdin_once: bool,
    log: LogFile,
    /// Attach sessions.
    pub attached: Vec<Attached>,
}

/// The shim's end and the child's. The kernel says of each message to the shim who sent it.
fn start_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_passcred(&ours, true)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Reads a container's spec as a whole or in part; of what is left out nothing stays in memory.
fn spec_of<T: DeserializeOwned>(sandbox: &Sandbox, id: &str) -> Result<T, String> {
    let path = sandbox.spec.containers_dir.join(id).join("spec.json");
    let mut bytes = read_file(&path).map_err(|error| format!("reading {path:?}: {}", plain(&error)))?;
    let spec = serde_json::from_slice(&bytes).map_err(|error| format!("reading {path:?}: {error}"));
    bytes.fill(0);
    // Or the compiler finds that nobody reads the zeros.
    std::hint::black_box(&bytes);
    spec
}

fn cgroup_fd(directory: Option<&Path>) -> Result<Option<OwnedFd>, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    directory
        .map(|path| {
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|error| format!("opening cgroup {path:?}: {}", plain(&error.into())))
        })
        .transpose()
}

/// A process of the PID namespace that a container's first process joins; `None` when it gets its own or the node's.
fn pids_to_join<'a>(
    sandbox: &'a Sandbox,
    spec: &Outline,
    target: impl FnOnce(&str) -> Option<&'a Container>,
) -> Result<Option<BorrowedFd<'a>>, String> {
    if sandbox.spec.host_pid {
        return Ok(None);
    }
    if let Some(init) = &sandbox.init {
        return Ok(Some(init.pidfd.as_fd()));
    }
    let Some(id) = &spec.pid_target else { return Ok(None) };
    let found = target(id).filter(|found| found.started_at != 0 && found.code.is_none());
    let found = found.ok_or_else(|| format!("the target container {id:?} is not running"))?;
    Ok(Some(found.pidfd.as_fd()))
}

impl Start {
    fn new(origin: (u64, u64), container: Option<String>, pid: i32, helper: bool, socket: OwnedFd) -> Self {
        let (null, master, user, failure) = (None, None, None, None);
        Self { origin, container, pid, helper, doomed: false, socket, null, master, user, failure, done: false }
    }

    /// Goes on with the process that the helper forked, which the kernel says is `sender`. `None` when that is no
    /// child of ours or ended already.
    pub fn go_on(&mut self, sender: Option<i32>) -> Option<Child> {
        let pid = rustix::process::Pid::from_raw(sender?).filter(|pid| pid.as_raw_nonzero().get() != self.pid)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).ok()?;
        self.helper = false;
        self.pid = pid.as_raw_nonzero().get();
        Some(Child { pid: self.pid, pidfd })
    }
}

impl Container {
    /// Forks the first process. What comes of it is read from the start's socket. `target` finds the container whose
    /// PID namespace is to be joined.
    pub fn start<'a>(
        sandbox: &'a Sandbox,
        id: &str,
        origin: (u64, u64),
        target: impl FnOnce(&str) -> Option<&'a Container>,
    ) -> Result<(Self, Start), String> {
        let spec: Outline = spec_of(sandbox, id)?;
        let words = |error: io::Error| plain(&error);
        let log = LogFile::open(spec.log_path.as_deref())
            .map_err(|error| format!("opening log {:?}: {}", spec.log_path, plain(&error)))?;
        let (socket, theirs) = start_socket().map_err(words)?;
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| plain(&error.into()));
        let (mut outputs, mut input) = (Vec::new(), None);
        let stdio = if spec.tty {
            Stdio::Terminal
        } else {
            let read_side = if spec.stdin {
                let (read_side, write_side) = pipe()?;
                input = Some(write_side);
                Some(read_side)
            } else {
                None
            };
            let mut write_sides = Vec::with_capacity(2);
            for stream in ["stdout", "stderr"] {
                let (read_side, write_side) = pipe()?;
                rustix::io::ioctl_fionbio(&read_side, true).map_err(|error| plain(&error.into()))?;
                outputs.push(Output { fd: Some(read_side), lines: LineSplitter::new(stream) });
                write_sides.push(write_side);
            }
            let [out, err] = <[OwnedFd; 2]>::try_from(write_sides).map_err(|_| "two outputs")?;
            Stdio::Plain([read_side, Some(out), Some(err)])
        };
        let pids = pids_to_join(sandbox, &spec, target)?;
        let own_pids = pids.is_none() && !sandbox.spec.host_pid;
        let flags = if own_pids { libc::CLONE_NEWPID as u64 } else { 0 };
        let cgroup = cgroup_fd(spec.cgroup.directory.as_deref())?;
        // SAFETY: the shim is single-threaded.
        let child = unsafe { sys::clone_process(flags, cgroup.as_ref().map(AsFd::as_fd)) }
            .map_err(|error| format!("starting a process: {}", plain(&error)))?;
        let helper = pids.is_some();
        let Some(child) = child else {
            let spec: ContainerSpec = process::or_end(&theirs, spec_of(sandbox, id));
            let birth = Birth { spec: &spec, is_first: true, args: &spec.args, socket: theirs, stdio, pids };
            process::run_first(birth, &sandbox.spec, sandbox.host_mounts.as_fd());
        };
        let container = Self {
            id: id.to_string(),
            pid: child.pid,
            pidfd: child.pidfd,
            null: None,
            dir: spec.dir,
            own_pids,
            oom_file: spec.oom_file,
            procs_file: spec.procs_file,
            started_at: 0,
            user: None,
            code: None,
            exit: None,
            outputs,
            input,
            terminal: spec.tty,
            stdin_once: spec.stdin_once,
            log,
            attached: Vec::new(),
        };
        Ok((container, Start::new(origin, Some(id.to_string()), child.pid, helper, socket)))
    }

    /// Forks a further process into the container.
    pub fn exec(
        &self,
        sandbox: &Sandbox,
        origin: (u64, u64),
        exec: u64,
        args: &[String],
        stdio: Stdio,
    ) -> Result<(Exec, Start), String> {
        let spec: Outline = spec_of(sandbox, &self.id)?;
        let (socket, theirs) = start_socket().map_err(|error| plain(&error))?;
        // In the node's PID namespace nothing is hidden anyway.
        let pids = (!sandbox.spec.host_pid).then(|| self.pidfd.as_fd());
        let cgroup = cgroup_fd(spec.cgroup.directory.as_deref())?;
        // SAFETY: the shim is single-threaded.
        let child = unsafe { sys::clone_process(0, cgroup.as_ref().map(AsFd::as_fd)) }
            .map_err(|error| format!("starting a process: {}", plain(&error)))?;
        let Some(child) = child else {
            let spec: ContainerSpec = process::or_end(&theirs, spec_of(sandbox, &self.id));
            let birth = Birth { spec: &spec, is_first: false, args, socket: theirs, stdio, pids };
            process::run_further(birth, self.pidfd.as_fd(), self.null.as_ref().map(AsFd::as_fd));
        };
        let start = Start::new(origin, None, child.pid, pids.is_some(), socket);
        Ok((Exec { exec, pid: child.pid, code: None, silent: false }, start))
    }

    /// Its program runs.
    pub fn started(&mut self, at: i64, null: Option<OwnedFd>, master: Option<OwnedFd>) {
        self.started_at = at;
        self.null = null;
        if let Some(master) = master {
            if let Ok(copy) = master.try_clone() {
                let _ = rustix::io::ioctl_fionbio(&copy, true);
                self.outputs.push(Output { fd: Some(copy), lines: LineSplitter::new("stdout") });
            }
            self.input = Some(master);
        }
    }

    /// Sends a signal to the first process.
    pub fn signal(&self, signal: i32) -> Result<(), String> {
        if self.code.is_some() {
            return Ok(());
        }
        sys::kill(self.pid, signal).map_err(|error| plain(&error))
    }

    /// Moves what is there of one output into the log and to attach sessions.
    pub fn pump(&mut self, stream: usize) {
        let mut buffer = [0; READ];
        self.pump_once(stream, &mut buffer);
    }

    /// Bytes moved; `None` when there is nothing more for now.
    fn pump_once(&mut self, stream: usize, buffer: &mut [u8]) -> Option<usize> {
        let output = self.outputs.get_mut(stream)?;
        let fd = output.fd.as_ref()?;
        match read_some(fd, buffer) {
            Ok(Some(data)) => {
                output.lines.feed(data, &mut self.log);
                for attached in self.attached.iter_mut().filter(|attached| attached.stream == stream) {
                    attached.give(data);
                }
                Some(data.len())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(0),
            Ok(None) | Err(_) => {
                output.lines.finish(&mut self.log);
                output.fd = None;
                None
            }
        }
    }

    /// Moves what an output holds now, and no more: another container may have got hold of it and write for ever.
    fn pump_rest(&mut self, stream: usize) {
        let held = |fd: &OwnedFd| rustix::pipe::fcntl_getpipe_size(fd).unwrap_or(MAX_HELD);
        let output = self.outputs.get(stream).and_then(|output| output.fd.as_ref());
        let (mut left, mut buffer) = (output.map_or(0, held), [0; READ]);
        while left > 0
            && let Some(moved) = self.pump_once(stream, &mut buffer)
        {
            left = left.saturating_sub(moved);
        }
    }

    /// Adds an attach session; answers with a descriptor to write input to.
    pub fn attach(
        &mut self,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<OwnedFd>, String> {
        if self.exit.is_some() {
            return Err(format!("container {:?} is not running", self.id));
        }
        if self.attached.len() >= MAX_ATTACHED {
            return Err(format!("container {:?} has too many attach sessions", self.id));
        }
        let mut fds = fds.into_iter();
        for (stream, wanted) in [stdout, stderr].into_iter().enumerate() {
            if wanted && let Some(fd) = fds.next() {
                rustix::io::ioctl_fionbio(&fd, true).map_err(|error| plain(&error.into()))?;
                self.attached.push(Attached {
                    fd,
                    stream,
                    pending: Vec::new(),
                    since: now(),
                    last: false,
                    gone: false,
                });
            }
        }
        if !stdin && !self.terminal {
            return Ok(None);
        }
        let input = match &self.input {
            Some(input) => Some(input.try_clone().map_err(|error| plain(&error))?),
            None => None,
        };
        if self.stdin_once && stdin && !self.terminal {
            // The session now has the only write side: its end is the input's end.
            self.input = None;
        }
        Ok(input)
    }

    /// Gives an attach session more of what it did not take yet.
    pub fn flush_attached(&mut self, index: usize, broken: bool) {
        if let Some(attached) = self.attached.get_mut(index) {
            attached.gone |= broken;
            attached.give(&[]);
        }
    }

    /// Forgets sessions that ended, and those that took nothing since `deadline` (nanoseconds; 0 for none).
    pub fn drop_attached(&mut self, deadline: i64) {
        self.attached.retain(|attached| !attached.gone && (attached.pending.is_empty() || attached.since > deadline));
    }

    /// Opens the log anew.
    pub fn reopen_log(&mut self) -> Result<(), String> {
        self.log.reopen().map_err(|error| plain(&error))
    }

    /// Once started and ended: kills what is left, writes the rest of the log and `exit.json`.
    /// `None` when that is not now.
    pub fn conclude(&mut self) -> Option<ExitRecord> {
        let exit_code = self.code?;
        if self.started_at == 0 || self.exit.is_some() {
            return None;
        }
        if !self.own_pids {
            self.procs_file.iter().for_each(|file| crate::cgroup::kill_all_listed(file));
        }
        for stream in 0..self.outputs.len() {
            self.pump_rest(stream);
            let output = &mut self.outputs[stream];
            output.lines.finish(&mut self.log);
            output.fd = None;
        }
        let exit = ExitRecord {
            exit_code,
            started_at: self.started_at,
            finished_at: now(),
            oom_killed: exit_code != 0 && oom_kills(self.oom_file.as_deref()) > 0,
            ..ExitRecord::default()
        };
        if let Err(error) = record(&self.dir, &exit) {
            eprintln!("shim: recording the exit of {}: {error}", self.id);
        }
        // Sessions see their end when the last descriptor goes, after everything written was flushed.
        for attached in &mut self.attached {
            attached.last = true;
            attached.give(&[]);
        }
        self.attached.retain(|attached| !attached.gone);
        self.input = None;
        self.log = LogFile::default();
        self.exit = Some(exit.clone());
        Some(exit)
    }
}

impl Attached {
    /// Writes as much as the receiver takes and keeps the rest.
    fn give(&mut self, data: &[u8]) {
        if self.gone {
            return;
        }
        self.pending.extend_from_slice(data);
        while !self.pending.is_empty() {
            match rustix::net::send(&self.fd, &self.pending, rustix::net::SendFlags::NOSIGNAL) {
                Ok(length) => {
                    self.pending.drain(..length);
                    self.since = now();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.pending = Vec::new();
        self.gone = self.last;
    }
}

fn oom_kills(file: Option<&Path>) -> u64 {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

fn record(dir: &Path, exit: &ExitRecord) -> io::Result<()> {
    replace(&dir.join("exit.json"), &serde_json::to_vec(exit)?, 0o600, Durability::Process)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container that ended, whose standard output is `output`.
    fn ended(dir: &Path, output: OwnedFd) -> Container {
        let pid = rustix::process::getpid();
        Container {
            id: "c".into(),
            pid: pid.as_raw_nonzero().get(),
            pidfd: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap(),
            null: None,
            dir: dir.into(),
            own_pids: true,
            oom_file: None,
            procs_file: None,
            started_at: 1,
            user: None,
            code: Some(0),
            exit: None,
            outputs: vec![Output { fd: Some(output), lines: LineSplitter::new("stdout") }],
            input: None,
            terminal: false,
            stdin_once: false,
            log: LogFile::open(Some(&dir.join("0.log"))).unwrap(),
            attached: Vec::new(),
        }
    }

    #[test]
    fn what_a_pipe_holds_at_the_end_is_logged() {
        let dir = tempfile::tempdir().unwrap();
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let text = [&[b'a'; 40_000][..], b"\nlast\n"].concat();
        assert_eq!(rustix::io::write(&write, &text), Ok(text.len()));
        assert!(ended(dir.path(), read).conclude().is_some());
        let log = std::fs::read_to_string(dir.path().join("0.log")).unwrap();
        assert!(log.len() > text.len() && log.ends_with("stdout F last\n"));
    }

    #[test]
    fn an_output_that_never_ends_does_not_keep_a_container_that_did() {
        let dir = tempfile::tempdir().unwrap();
        let endless = rustix::fs::open("/dev/zero", OFlags::RDONLY, Mode::empty()).unwrap();
        assert!(ended(dir.path(), endless).conclude().is_some());
    }
}
