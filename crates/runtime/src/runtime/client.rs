//! The daemon's side of a shim: starting one, talking to it, noticing its end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::shim::proto::{self, Envelope, ExitRecord, Message, Reply, Request};

/// Name of a shim's socket in its sandbox's directory.
const SOCKET: &str = "shim.sock";

/// How long a shim gets to answer what it does by itself.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it gets for what waits for the node's disks, the kernel's namespaces, or a container's file systems.
const WORK: Duration = Duration::from_secs(120);

/// What a shim tells unasked.
pub trait Listener: Send + Sync + 'static {
    /// A container ended.
    fn exited(&self, sandbox: &str, container: &str, exit: ExitRecord);
    /// The connection ended: the shim is gone, or has given this daemon up.
    fn disconnected(&self, sandbox: &str);
}

type Answer = Result<(Reply, Vec<OwnedFd>), String>;

#[derive(Default)]
struct Pending {
    closed: bool,
    replies: HashMap<u64, oneshot::Sender<Answer>>,
    execs: HashMap<u64, oneshot::Sender<i32>>,
}

/// A connection to one shim.
pub struct ShimClient {
    socket: Arc<AsyncFd<OwnedFd>>,
    pending: Arc<Mutex<Pending>>,
    next: AtomicU64,
}

/// The socket's address by way of a descriptor of its directory, because socket paths are limited to 108 bytes.
fn address(dir: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd()))?;
    Ok((fd, address))
}

/// Starts a shim that serves a socket in `dir`; answers with a connection, which it has from its first moment.
pub fn spawn(exe: &Path, id: &str, dir: &Path) -> io::Result<(OwnedFd, std::process::Child)> {
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (_dir, address) = address(dir)?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, 8)?;
    let socket = dial(dir)?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("shim.log"))?;
    let child = Command::new(exe)
        .arg0("coracle")
        .args(["shim", id])
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("starting the shim {}: {error}", exe.display())))?;
    Ok((socket, child))
}

/// Connects to the socket in `dir`. An error means that no shim serves it.
pub fn dial(dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (_dir, address) = address(dir)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

impl ShimClient {
    /// Wraps a connected socket and starts reading from it. Needs a tokio runtime.
    pub fn new(socket: OwnedFd, sandbox: String, listener: Weak<dyn Listener>) -> io::Result<Self> {
        let socket = Arc::new(crate::sys::watch(socket)?);
        let pending = Arc::new(Mutex::new(Pending::default()));
        tokio::spawn(read(socket.clone(), pending.clone(), sandbox, listener));
        Ok(Self { socket, pending, next: AtomicU64::new(1) })
    }

    /// Whether the connection ended.
    pub fn is_closed(&self) -> bool {
        self.pending.lock().closed
    }

    /// Sends a request and waits for its answer, for as long as that kind of request may take.
    pub async fn call(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Answer {
        let limit = match &request {
            Request::Prepare(_) | Request::Init(_) | Request::Start(_) | Request::Exec { .. } | Request::Shutdown => {
                WORK
            }
            _ => ANSWER,
        };
        self.call_within(limit, request, fds).await
    }

    async fn call_within(&self, limit: Duration, request: Request, fds: &[BorrowedFd<'_>]) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(limit, self.exchange(id, request, fds)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.pending.lock().replies.remove(&id);
                Err(format!("the pod's shim gave no answer within {limit:?}"))
            }
        }
    }

    async fn exchange(&self, id: u64, request: Request, fds: &[BorrowedFd<'_>]) -> Answer {
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.pending.lock();
            if pending.closed {
                return Err("the pod's shim is gone".into());
            }
            pending.replies.insert(id, sender);
        }
        let envelope = Envelope { id, request };
        loop {
            match proto::send(self.socket.get_ref(), &envelope, fds) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Ok(mut guard) = self.socket.writable().await {
                        guard.clear_ready();
                    }
                }
                Err(error) => {
                    self.pending.lock().replies.remove(&id);
                    return Err(format!("asking the pod's shim: {error}"));
                }
            }
        }
        receiver.await.unwrap_or_else(|_| Err("the pod's shim is gone".into()))
    }

    /// Registers an exec before it is started; answers with its number and a receiver of its exit code.
    pub fn register_exec(&self) -> (u64, oneshot::Receiver<i32>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed) | u64::from(std::process::id()) << 32;
        let (sender, receiver) = oneshot::channel();
        self.pending.lock().execs.insert(id, sender);
        (id, receiver)
    }

    /// Forgets an exec that was not started or is not waited for.
    pub fn forget_exec(&self, id: u64) {
        self.pending.lock().execs.remove(&id);
    }
}

impl Drop for ShimClient {
    fn drop(&mut self) {
        // Ends the reading task, which holds the other reference to the socket.
        let _ = rustix::net::shutdown(self.socket.get_ref().as_fd(), rustix::net::Shutdown::Both);
    }
}

async fn read(
    socket: Arc<AsyncFd<OwnedFd>>,
    pending: Arc<Mutex<Pending>>,
    sandbox: String,
    listener: Weak<dyn Listener>,
) {
    let mut buffer = vec![0; proto::MAX_MESSAGE];
    loop {
        let Ok(mut guard) = socket.readable().await else { break };
        let (length, fds) = match proto::receive(socket.get_ref(), &mut buffer) {
            Ok(Some(received)) => (received.length, received.fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                guard.clear_ready();
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(None) | Err(_) => break,
        };
        match serde_json::from_slice(&buffer[..length]) {
            Ok(Message::Reply { id, result }) => {
                if let Some(sender) = pending.lock().replies.remove(&id) {
                    let _ = sender.send(result.map(|reply| (reply, fds)));
                }
            }
            Ok(Message::ExecExited { exec, exit_code }) => {
                if let Some(sender) = pending.lock().execs.remove(&exec) {
                    let _ = sender.send(exit_code);
                }
            }
            Ok(Message::Exited { container, exit }) => {
                if let Some(listener) = listener.upgrade() {
                    listener.exited(&sandbox, &container, exit);
                }
            }
            Err(error) => tracing::warn!(%sandbox, %error, "the shim sent something unreadable"),
        }
    }
    {
        let mut pending = pending.lock();
        pending.closed = true;
        pending.replies.clear();
        pending.execs.clear();
    }
    if let Some(listener) = listener.upgrade() {
        listener.disconnected(&sandbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;
    impl Listener for Deaf {
        fn exited(&self, _: &str, _: &str, _: ExitRecord) {}
        fn disconnected(&self, _: &str) {}
    }

    #[tokio::test]
    async fn a_shim_that_does_not_answer_is_not_waited_for_without_end() {
        let kind = SocketType::SEQPACKET;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, _silent) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        let listener: Arc<dyn Listener> = Arc::new(Deaf);
        let client = ShimClient::new(ours, "s".into(), Arc::downgrade(&listener)).unwrap();
        let error = client.call_within(Duration::from_millis(1), Request::State, &[]).await.unwrap_err();
        assert!(error.contains("gave no answer within 1ms"), "{error}");
        assert!(client.pending.lock().replies.is_empty());
    }
}
