//! The shim: one small single-threaded process a pod, which is the pod's infra container.
//!
//! It holds the pod's namespaces, starts and reaps containers, writes their logs, and outlives the daemon.
//! Steps from birth: leave the daemon's process tree, serve the socket it was given, make namespaces on `Prepare` and the
//! sandbox on `Init`. Before that it ends with its daemon. Everything it learns of an exit is on disk before the daemon is told.

mod container;
pub(crate) mod devices;
mod image_volume;
mod log;
pub(crate) mod mounts;
mod process;
pub(crate) mod proto;
mod root;
mod rootfs;
mod sandbox;
mod user;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use self::log::now;
pub(crate) use self::rootfs::plain;

use self::container::{Container, Exec, Start};
use self::process::Stdio;
use self::proto::{ContainerReport, Envelope, Message, Progress, Received, Reply, Request, SandboxSpec};
use self::sandbox::{Namespaces, Sandbox};
use crate::sys;

/// Most daemons (and debuggers) connected at once.
const MAX_CONNECTIONS: usize = 4;
/// A client of attach that takes nothing for this long is dropped, because it holds its container up.
const ATTACH_STALL_SECONDS: i64 = 10;

/// Becomes a shim: `coracle shim SANDBOX`, with a listening socket as standard input. To be called before any
/// thread is started.
pub fn shim_main(_args: Vec<String>) -> ! {
    let code = match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim: {error}");
            1
        }
    };
    sys::exit_now(code)
}

/// How many groups of users of its containers a shim tells in one answer.
const REPORTED_GROUPS: usize = 4096;

fn run() -> io::Result<()> {
    sys::forbid_dumping();
    sys::name_process(c"coracle");
    let listener = sys::take_standard_input()?;
    // SAFETY: nothing else is open by now but what whoever started the daemon left open for it.
    unsafe { sys::close_all_but(&mut [0, 1, 2, listener.as_raw_fd()]) };
    // SAFETY: a shim never starts a thread.
    if !unsafe { sys::fork_is_child() }? {
        // The child's parent is now init, which reaps it whatever becomes of the daemon.
        sys::exit_now(0);
    }
    sys::setsid()?;
    std::env::set_current_dir("/")?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: what is owned of the standard descriptors are copies.
    unsafe {
        sys::duplicate_onto(null.as_raw_fd(), 0)?;
        sys::duplicate_onto(null.as_raw_fd(), 1)?;
    }
    drop(null);
    for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        sys::ignore_signal(signal);
    }
    sys::stay_small();
    rustix::io::ioctl_fionbio(&listener, true)?;
    Shim {
        listener,
        signals: sys::child_signal_fd()?,
        connections: BTreeMap::new(),
        next_connection: 0,
        namespaces: None,
        sandbox: None,
        containers: BTreeMap::new(),
        execs: BTreeMap::new(),
        starts: Vec::new(),
        shutdown: None,
    }
    .serve()
}

/// What a polled descriptor is.
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Start(usize),
    Output(String, usize),
    Attached(String, usize),
}

struct Shim {
    listener: OwnedFd,
    signals: OwnedFd,
    connections: BTreeMap<u64, OwnedFd>,
    next_connection: u64,
    /// Those that no sandbox has been made of yet.
    namespaces: Option<Namespaces>,
    sandbox: Option<Sandbox>,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<i32, Exec>,
    /// Processes forked that have not executed their program yet.
    starts: Vec<Start>,
    /// The connection and request that asked for the end.
    shutdown: Option<(u64, u64)>,
}

impl Shim {
    fn serve(mut self) -> io::Result<()> {
        loop {
            let (ready, stalled) = self.wait()?;
            for (source, flags) in ready {
                match source {
                    Source::Signals => self.reap(),
                    Source::Listener => self.accept(),
                    Source::Connection(id) => self.requests(id),
                    Source::Start(index) => self.start_progress(index),
                    Source::Output(id, stream) => {
                        if let Some(container) = self.containers.get_mut(&id) {
                            container.pump(stream);
                        }
                    }
                    Source::Attached(id, index) => {
                        if let Some(container) = self.containers.get_mut(&id) {
                            container.flush_attached(index, flags.intersects(PollFlags::ERR | PollFlags::HUP));
                        }
                    }
                }
            }
            self.starts.retain(|start| !start.done);
            for container in self.containers.values_mut() {
                container.drop_attached(if stalled { now() - ATTACH_STALL_SECONDS * 1_000_000_000 } else { 0 });
            }
            // Who was to make a sandbox of it is gone, and nobody else knows of it.
            if self.sandbox.is_none() && self.next_connection > 0 && self.connections.is_empty() {
                return Ok(());
            }
            if self.sandbox_is_dead() && self.containers.values().all(|container| container.exit.is_some()) {
                return Ok(());
            }
            if let Some((connection, request)) = self.shutdown
                && self.containers.values().all(|container| container.exit.is_some())
            {
                self.reply(connection, request, Ok(Reply::Done), &[]);
                return Ok(());
            }
        }
    }

    fn sandbox_is_dead(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.dead)
    }

    /// Waits for something to do.
    fn wait(&self) -> io::Result<(Vec<(Source, PollFlags)>, bool)> {
        let mut poll_fds: Vec<PollFd<'_>> = Vec::new();
        let mut stalling = false;
        let mut sources = Vec::new();
        macro_rules! watch {
            ($fd:expr, $flags:expr, $source:expr) => {{
                poll_fds.push(PollFd::new($fd, $flags));
                sources.push($source);
            }};
        }
        watch!(&self.signals, PollFlags::IN, Source::Signals);
        watch!(&self.listener, PollFlags::IN, Source::Listener);
        for (id, connection) in &self.connections {
            watch!(connection, PollFlags::IN, Source::Connection(*id));
        }
        for (index, start) in self.starts.iter().enumerate() {
            watch!(&start.socket, PollFlags::IN, Source::Start(index));
        }
        for (id, container) in &self.containers {
            let held_up = container.attached.iter().any(|attached| !attached.pending.is_empty());
            for (index, output) in container.outputs.iter().enumerate() {
                if let (Some(output), false) = (&output.fd, held_up) {
                    watch!(output, PollFlags::IN, Source::Output(id.clone(), index));
                }
            }
            for (index, attached) in container.attached.iter().enumerate() {
                let flags = if attached.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                watch!(&attached.fd, flags, Source::Attached(id.clone(), index));
            }
            stalling |= held_up;
        }
        let timeout = stalling.then_some(Timespec { tv_sec: ATTACH_STALL_SECONDS, tv_nsec: 0 });
        match poll(&mut poll_fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = poll_fds.iter().map(PollFd::revents).zip(sources).filter(|(flags, _)| !flags.is_empty());
        Ok((ready.map(|(flags, source)| (source, flags)).collect(), stalling))
    }

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        while let Ok(connection) = rustix::net::accept_with(&self.listener, flags) {
            if self.connections.len() >= MAX_CONNECTIONS {
                // The oldest is most likely that of a daemon that is gone.
                self.connections.pop_first();
            }
            self.next_connection += 1;
            self.connections.insert(self.next_connection, connection);
        }
    }

    fn requests(&mut self, connection: u64) {
        // Fresh zero pages from the kernel, given back right away: only what a message fills is ever touched.
        let mut buffer = vec![0; proto::MAX_MESSAGE];
        while let Some(socket) = self.connections.get(&connection) {
            match proto::receive(socket, &mut buffer) {
                Ok(Some(Received { length, fds, .. })) => match serde_json::from_slice::<Envelope>(&buffer[..length]) {
                    Ok(envelope) => self.handle(connection, envelope, fds),
                    Err(error) => eprintln!("shim: an unreadable request: {error}"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(None) | Err(_) => {
                    self.connections.remove(&connection);
                }
            }
        }
    }

    fn handle(&mut self, connection: u64, envelope: Envelope, fds: Vec<OwnedFd>) {
        let id = envelope.id;
        match envelope.request {
            Request::Prepare(spec) => {
                let made = Namespaces::make(&spec).map(|namespaces| self.namespaces = Some(namespaces));
                self.reply(connection, id, made.map(|()| Reply::Done), &[]);
            }
            Request::Init(spec) => match self.sandbox(*spec) {
                Ok((sandbox, netns)) => {
                    self.sandbox = Some(sandbox);
                    self.reply(connection, id, Ok(Reply::Done), &[netns.as_fd()]);
                }
                Err(error) => self.reply(connection, id, Err(error), &[]),
            },
            Request::Start(container) => {
                if let Err(error) = self.start(connection, id, &container) {
                    self.reply(connection, id, Err(error), &[]);
                }
            }
            Request::Exec { container, exec, args, tty, given } => {
                let stdio = streams(tty, given, fds);
                let origin = (connection, id);
                if let Err(error) = stdio.and_then(|stdio| self.exec(origin, &container, exec, &args, stdio)) {
                    self.reply(connection, id, Err(error), &[]);
                }
            }
            Request::Signal { container, signal } => {
                let result = match self.containers.get(&container) {
                    Some(found) => {
                        if signal == libc::SIGKILL {
                            doom(&mut self.starts, found.pid);
                        }
                        found.signal(signal)
                    }
                    None => Err(format!("container {container:?} is not running")),
                };
                self.reply(connection, id, result.map(|()| Reply::Done), &[]);
            }
            Request::KillExec(exec) => {
                for (pid, found) in &self.execs {
                    if found.exec == exec {
                        doom(&mut self.starts, *pid);
                        // The process leads its session, so that its group goes with it.
                        let _ = sys::kill(-pid, libc::SIGKILL);
                        let _ = sys::kill(*pid, libc::SIGKILL);
                    }
                }
                self.reply(connection, id, Ok(Reply::Done), &[]);
            }
            Request::Attach { container, stdin, stdout, stderr } => {
                let result = match self.containers.get_mut(&container) {
                    Some(found) => found.attach(stdin, stdout, stderr, fds),
                    None => Err(format!("container {container:?} is not running")),
                };
                match result {
                    Ok(input) => {
                        let fds: Vec<_> = input.iter().map(AsFd::as_fd).collect();
                        self.reply(connection, id, Ok(Reply::Done), &fds);
                    }
                    Err(error) => self.reply(connection, id, Err(error), &[]),
                }
            }
            Request::ReopenLog(container) => {
                let result = match self.containers.get_mut(&container) {
                    Some(found) => found.reopen_log(),
                    None => Err(format!("container {container:?} is not running")),
                };
                self.reply(connection, id, result.map(|()| Reply::Done), &[]);
            }
            Request::Forget(container) => {
                if self.containers.get(&container).is_some_and(|found| found.exit.is_some()) {
                    self.containers.remove(&container);
                }
                self.reply(connection, id, Ok(Reply::Done), &[]);
            }
            Request::Connect(port) => match sandbox::connect(port) {
                Ok(socket) => self.reply(connection, id, Ok(Reply::Done), &[socket.as_fd()]),
                Err(error) => self.reply(connection, id, Err(plain(&error)), &[]),
            },
            Request::State => {
                // Many groups of many containers would not fit into the answer.
                let mut room = REPORTED_GROUPS;
                let report = |container: &Container| {
                    let user = container.user.clone().filter(|user| {
                        let rest = room.checked_sub(user.supplemental_groups.len());
                        room = rest.unwrap_or(room);
                        rest.is_some()
                    });
                    ContainerReport {
                        id: container.id.clone(),
                        pid: container.pid,
                        started_at: container.started_at,
                        exit: container.exit.clone(),
                        user,
                    }
                };
                let containers = self.containers.values().filter(|found| found.started_at != 0).map(report).collect();
                let pid = std::process::id() as i32;
                self.reply(connection, id, Ok(Reply::State { pid, containers }), &[]);
            }
            Request::Shutdown => {
                for container in self.containers.values() {
                    doom(&mut self.starts, container.pid);
                    let _ = container.signal(libc::SIGKILL);
                }
                self.shutdown = Some((connection, id));
            }
        }
    }

    fn sandbox(&mut self, spec: SandboxSpec) -> Result<(Sandbox, OwnedFd), String> {
        let namespaces = self.namespaces.take().ok_or("the shim has made no namespaces for a sandbox")?;
        Sandbox::make(namespaces, spec)
    }

    fn reply(&mut self, connection: u64, id: u64, result: Result<Reply, String>, fds: &[BorrowedFd<'_>]) {
        let Some(socket) = self.connections.get(&connection) else { return };
        if let Err(error) = proto::send(socket, &Message::Reply { id, result }, fds) {
            eprintln!("shim: answering failed: {error}");
            // A daemon that does not read comes back and asks for the state.
            self.connections.remove(&connection);
        }
    }

    fn tell_all(&mut self, message: &Message) {
        self.connections.retain(|_, socket| proto::send(socket, message, &[]).is_ok());
    }

    fn start(&mut self, connection: u64, request: u64, id: &str) -> Result<(), String> {
        let sandbox = self.sandbox.as_ref().filter(|sandbox| !sandbox.dead).ok_or("the sandbox is not ready")?;
        if self.shutdown.is_some() {
            return Err("the sandbox is being stopped".into());
        }
        if self.containers.contains_key(id) {
            return Err(format!("container {id:?} was started before"));
        }
        let target = |id: &str| self.containers.get(id);
        let (container, start) = Container::start(sandbox, id, (connection, request), target)?;
        self.containers.insert(id.to_string(), container);
        self.starts.push(start);
        Ok(())
    }

    fn exec(
        &mut self,
        origin: (u64, u64),
        container: &str,
        exec: u64,
        args: &[String],
        stdio: Stdio,
    ) -> Result<(), String> {
        let sandbox = self.sandbox.as_ref().ok_or("the sandbox is not ready")?;
        let found = self.containers.get(container).filter(|found| found.exit.is_none());
        let found = found.ok_or_else(|| format!("container {container:?} is not running"))?;
        let (exec, start) = found.exec(sandbox, origin, exec, args, stdio)?;
        self.execs.insert(exec.pid, exec);
        self.starts.push(start);
        Ok(())
    }

    /// A forked process said something, or by closing that its program runs.
    fn start_progress(&mut self, index: usize) {
        let start = &mut self.starts[index];
        let mut buffer = [0; 16 * 1024];
        match proto::receive(&start.socket, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Some(Received { length, mut fds, sender })) => match serde_json::from_slice(&buffer[..length]) {
                Ok(Progress::Here) if start.helper => self.go_on(index, sender),
                Ok(Progress::Here) => {}
                Ok(Progress::Ready { null, terminal, user }) => {
                    start.user = user;
                    start.master = if terminal { fds.pop() } else { None };
                    start.null = if null { fds.pop() } else { None };
                }
                Ok(Progress::Failed(message)) => start.failure = Some(message),
                Err(error) => start.failure = Some(format!("it said something unreadable: {error}")),
            },
            Ok(None) | Err(_) => {
                if start.helper || start.doomed {
                    start.failure.get_or_insert_with(|| "it was ended before its program ran".into());
                }
                self.finish_start(index);
            }
        }
    }

    /// The helper forked the process that is to execute the program.
    fn go_on(&mut self, index: usize, sender: Option<i32>) {
        let start = &mut self.starts[index];
        let helper = start.pid;
        let Some(child) = start.go_on(sender) else {
            start.failure = Some("it was ended before its program ran".into());
            return self.finish_start(index);
        };
        if start.doomed {
            let _ = sys::kill(child.pid, libc::SIGKILL);
        } else if let Err(error) = rustix::io::write(&start.socket, b"g") {
            start.failure = Some(format!("it cannot be told to go on: {}", plain(&error.into())));
        }
        if let Some(mut exec) = self.execs.remove(&helper) {
            exec.pid = child.pid;
            self.execs.insert(child.pid, exec);
        } else if let Some(container) = self.containers.values_mut().find(|found| found.pid == helper) {
            (container.pid, container.pidfd) = (child.pid, child.pidfd);
        }
    }

    /// What is there to know of a start is known: answers its request.
    fn finish_start(&mut self, index: usize) {
        let start = &mut self.starts[index];
        if start.done {
            return;
        }
        start.done = true;
        let ((connection, request), pid, helper) = (start.origin, start.pid, start.helper);
        let (failure, null, master) = (start.failure.take(), start.null.take(), start.master.take());
        let user = start.user.take();
        let container = std::mem::take(&mut start.container);
        let at = now();
        match (failure, container) {
            (Some(message), Some(id)) => {
                // Its exit is not one of a container: nothing of it ever ran.
                self.containers.remove(&id);
                self.reply(connection, request, Err(message), &[]);
            }
            (Some(message), None) => {
                if helper {
                    // Nobody will ask for the end of a helper.
                    self.execs.remove(&pid);
                } else if let Some(exec) = self.execs.get_mut(&pid) {
                    exec.silent = true;
                }
                self.reply(connection, request, Err(message), &[]);
                self.conclude_exec(pid);
            }
            (None, Some(id)) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.started(at, null, master);
                    container.user.clone_from(&user);
                }
                self.reply(connection, request, Ok(Reply::Started { pid, at, user }), &[]);
                // A short program may have been reaped before its start was noticed.
                self.conclude(&id);
            }
            (None, None) => {
                let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
                self.reply(connection, request, Ok(Reply::Started { pid, at, user: None }), &fds);
                self.conclude_exec(pid);
            }
        }
    }

    fn reap(&mut self) {
        let mut buffer = [0; 1024];
        let _ = rustix::io::read(&self.signals, &mut buffer);
        while let Some((pid, status)) = sys::reap() {
            let code = sys::exit_code(status);
            if self.starts.iter().any(|start| start.helper && start.pid == pid) {
                // Its work is done; the process it forked speaks for itself, or its socket closes.
            } else if let Some(exec) = self.execs.get_mut(&pid) {
                exec.code = Some(code);
                self.conclude_exec(pid);
            } else if let Some(sandbox) = self.sandbox.as_mut().filter(|sandbox| sandbox.is_init(pid)) {
                sandbox.dead = true;
                for container in self.containers.values() {
                    let _ = container.signal(libc::SIGKILL);
                }
            } else if let Some(container) = self.containers.values_mut().find(|container| container.pid == pid) {
                container.code = Some(code);
                let id = container.id.clone();
                self.conclude(&id);
            }
        }
    }

    /// Records and tells a container's exit, once both its start and its end are known.
    fn conclude(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(exit) = container.conclude() {
            self.tell_all(&Message::Exited { container: id.to_string(), exit });
        }
    }

    fn conclude_exec(&mut self, pid: i32) {
        let starting = self.starts.iter().any(|start| start.pid == pid && !start.done);
        let Some(exec) = self.execs.get(&pid) else { return };
        if let (Some(exit_code), false) = (exec.code, starting) {
            let (exec, silent) = (exec.exec, exec.silent);
            self.execs.remove(&pid);
            if !silent {
                self.tell_all(&Message::ExecExited { exec, exit_code });
            }
        }
    }
}

/// Marks a start to be ended as soon as its process is known.
fn doom(starts: &mut [Start], pid: i32) {
    for start in starts.iter_mut().filter(|start| start.pid == pid) {
        start.doomed = true;
    }
}

/// The streams of an exec: what was given, in its place.
fn streams(tty: bool, given: [bool; 3], fds: Vec<OwnedFd>) -> Result<Stdio, String> {
    if tty {
        return Ok(Stdio::Terminal);
    }
    let mut fds = fds.into_iter();
    let mut streams = [None, None, None];
    for (stream, _) in streams.iter_mut().zip(given).filter(|(_, given)| *given) {
        *stream = Some(fds.next().ok_or("a stream of the exec came without its descriptor")?);
    }
    Ok(Stdio::Plain(streams))
}

/// Reads what is there now, at most one buffer. `None` at the end of the stream.
fn read_some<'a>(fd: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    match rustix::io::read(fd, &mut *buffer) {
        // The other side of a terminal is gone: its end.
        Ok(0) | Err(rustix::io::Errno::IO) => Ok(None),
        Ok(length) => Ok(Some(&buffer[..length])),
        Err(error) => Err(error.into()),
    }
}

/// Reads a small file of the container's state, into one piece of memory.
fn read_file(path: &std::path::Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(MOST) as usize + 64);
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
