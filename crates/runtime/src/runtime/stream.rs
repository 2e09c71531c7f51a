//! exec, attach and port-forward: the client's streams joined to pipes and sockets of the pod. The data does not
//! pass through the shim, except for the output of attach.

use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::Runtime;
use super::client::ShimClient;
use crate::cri::{BoxRead, BoxWrite, ContainerState, CriError, ExecSyncResponse, Result, Streams, TerminalSize};
use crate::shim::proto::Request;
use crate::sys;

/// Most bytes of each output kept for a probe.
const SYNC_OUTPUT: usize = 16 * 1024;
/// How long output is awaited after a process ended: something it left behind may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(500);

/// How long a listener of a pod gets to take a connection in.
const CONNECT: Duration = Duration::from_secs(30);

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> CriError {
    move |error| CriError::Internal(format!("{what}: {error}"))
}

/// A pipe: ours for reading, theirs for writing.
fn output_pipe() -> Result<(pipe::Receiver, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("pipe")(error.into()))?;
    Ok((pipe::Receiver::from_owned_fd(read).map_err(failed("pipe"))?, write))
}

/// A pipe: ours for writing, theirs for reading.
fn input_pipe() -> Result<(pipe::Sender, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("pipe")(error.into()))?;
    Ok((pipe::Sender::from_owned_fd(write).map_err(failed("pipe"))?, read))
}

/// A terminal's master side, for reading and writing.
struct Terminal(tokio::io::unix::AsyncFd<OwnedFd>);

impl Terminal {
    fn new(master: OwnedFd) -> Result<Arc<Self>> {
        rustix::io::ioctl_fionbio(&master, true).map_err(|error| failed("terminal")(error.into()))?;
        Ok(Arc::new(Self(sys::watch(master).map_err(failed("terminal"))?)))
    }

    /// Copies to the client until the terminal closes.
    async fn copy_out(&self, mut out: BoxWrite) {
        let mut buffer = vec![0; 8192];
        while let Ok(mut guard) = self.0.readable().await {
            match rustix::io::read(self.0.get_ref(), &mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    if out.write_all(&buffer[..length]).await.is_err() || out.flush().await.is_err() {
                        break;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                // EIO: the last process with the other side is gone.
                Err(_) => break,
            }
        }
        let _ = out.shutdown().await;
    }

    /// Copies what the client types.
    async fn copy_in(&self, mut input: BoxRead) {
        let mut buffer = vec![0; 8192];
        while let Ok(length @ 1..) = input.read(&mut buffer).await {
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let Ok(mut guard) = self.0.writable().await else { return };
                match rustix::io::write(self.0.get_ref(), rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        }
    }

    async fn follow_size(&self, mut sizes: mpsc::Receiver<TerminalSize>) {
        while let Some(size) = sizes.recv().await {
            let _ = sys::set_window_size(self.0.get_ref().as_fd(), size.width, size.height);
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: Pin<Box<dyn AsyncWrite + Send>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Aborts a task when its session ends.
struct Background(tokio::task::JoinHandle<()>);

impl Background {
    fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    async fn finish(&mut self, within: Duration) {
        let _ = tokio::time::timeout(within, &mut self.0).await;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Kills an exec's process when nobody waits for it any more.
struct ExecGuard {
    shim: Arc<ShimClient>,
    exec: u64,
    done: bool,
}

impl Drop for ExecGuard {
    fn drop(&mut self) {
        self.shim.forget_exec(self.exec);
        // Without a runtime the daemon is ending, and the process sees its pipes close.
        if !self.done
            && let Ok(tasks) = tokio::runtime::Handle::try_current()
        {
            let (shim, exec) = (self.shim.clone(), self.exec);
            tasks.spawn(async move {
                let _ = shim.call(Request::KillExec(exec), &[]).await;
            });
        }
    }
}

impl Runtime {
    fn running_shim(&self, id: &str) -> Result<Arc<ShimClient>> {
        let container = self.container(id)?;
        let state = container.record.lock().status.state;
        if state != ContainerState::Running {
            let name = match state {
                ContainerState::Created => "CONTAINER_CREATED",
                ContainerState::Exited => "CONTAINER_EXITED",
                _ => "CONTAINER_UNKNOWN",
            };
            return Err(CriError::Internal(format!("container is in {name} state")));
        }
        self.shim_of(&container)
    }

    pub(super) async fn run_exec(&self, id: &str, command: Vec<String>, tty: bool, streams: Streams) -> Result<i32> {
        let shim = self.running_shim(id)?;
        let (exec, code) = shim.register_exec();
        let given = [streams.stdin.is_some(), streams.stdout.is_some(), streams.stderr.is_some()];
        // From here on nothing of it is left behind, also when nobody waits any more before it has started.
        let mut guard = ExecGuard { shim: shim.clone(), exec, done: false };
        let request = Request::Exec { container: id.to_string(), exec, args: command, tty, given };
        let refused = |error: String| {
            CriError::Internal(format!(
                "failed to exec in container: failed to start exec \"{exec:x}\": OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown"
            ))
        };
        let mut outputs = Vec::new();
        let mut inputs = Vec::new();
        if tty {
            let (_, mut fds) = shim.call(request, &[]).await.map_err(refused)?;
            let master = fds.pop().ok_or_else(|| refused("it gave no terminal".into()))?;
            let terminal = Terminal::new(master)?;
            let at = terminal.clone();
            inputs.push(Background::spawn(async move { at.follow_size(streams.resize).await }));
            if let Some(stdin) = streams.stdin {
                let at = terminal.clone();
                inputs.push(Background::spawn(async move { at.copy_in(stdin).await }));
            }
            let out = streams.stdout.unwrap_or_else(|| Box::new(tokio::io::sink()));
            outputs.push(Background::spawn(async move { terminal.copy_out(out).await }));
        } else {
            let (mut theirs, mut stdin, mut ours) = (Vec::with_capacity(3), None, Vec::new());
            if let Some(reader) = streams.stdin {
                let (writer, fd) = input_pipe()?;
                stdin = Some((reader, writer));
                theirs.push(fd);
            }
            for writer in [streams.stdout, streams.stderr].into_iter().flatten() {
                let (reader, fd) = output_pipe()?;
                ours.push((reader, writer));
                theirs.push(fd);
            }
            let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
            shim.call(request, &fds).await.map_err(refused)?;
            drop(theirs);
            if let Some((reader, writer)) = stdin {
                inputs.push(Background::spawn(copy(reader, Box::pin(writer))));
            }
            for (reader, writer) in ours {
                outputs.push(Background::spawn(copy(reader, Box::pin(writer))));
            }
        }
        let code = code.await.map_err(|_| CriError::Internal("the pod's shim is gone".into()))?;
        guard.done = true;
        for output in &mut outputs {
            output.finish(DRAIN).await;
        }
        drop(inputs);
        Ok(code)
    }

    pub(super) async fn run_exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecSyncResponse> {
        let (out, mut out_reader) = tokio::io::duplex(SYNC_OUTPUT);
        let (err, mut err_reader) = tokio::io::duplex(SYNC_OUTPUT);
        let (_sizes, resize) = mpsc::channel(1);
        let streams = Streams { stdin: None, stdout: Some(Box::new(out)), stderr: Some(Box::new(err)), resize };
        let collect = async |reader: &mut tokio::io::DuplexStream| {
            let (mut kept, mut buffer) = (Vec::new(), vec![0; 4096]);
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                let room = SYNC_OUTPUT - kept.len();
                kept.extend_from_slice(&buffer[..length.min(room)]);
            }
            kept
        };
        let shown = command.first().cloned().unwrap_or_default();
        let run = async {
            tokio::join!(self.run_exec(id, command, false, streams), collect(&mut out_reader), collect(&mut err_reader))
        };
        let (code, stdout, stderr) = match timeout {
            Some(limit) => tokio::time::timeout(limit, run).await.map_err(|_| {
                CriError::DeadlineExceeded(format!(
                    "failed to exec in container: timeout {limit:?} exceeded: command {shown:?} timed out"
                ))
            })?,
            None => run.await,
        };
        Ok(ExecSyncResponse { stdout, stderr, exit_code: code? })
    }

    pub(super) async fn run_attach(&self, id: &str, streams: Streams) -> Result<()> {
        let shim = self.running_shim(id)?;
        let container = self.container(id)?;
        let tty = container.record.lock().config.tty;
        let mut ended = container.ended.subscribe();
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let stderr = streams.stderr.filter(|_| !tty);
        let (has_stdout, has_stderr) = (streams.stdout.is_some(), stderr.is_some());
        for writer in [streams.stdout, stderr].into_iter().flatten() {
            let (mine, fd) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                    .map_err(|error| failed("socketpair")(error.into()))?;
            rustix::io::ioctl_fionbio(&mine, true).map_err(|error| failed("socketpair")(error.into()))?;
            let socket = tokio::net::UnixStream::from_std(mine.into()).map_err(failed("socketpair"))?;
            ours.push((socket, writer));
            theirs.push(fd);
        }
        let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let request = Request::Attach {
            container: id.to_string(),
            stdin: streams.stdin.is_some(),
            stdout: has_stdout,
            stderr: has_stderr,
        };
        let refused = |error| CriError::Internal(format!("failed to attach container: {error}"));
        let (_, mut given) = shim.call(request, &fds).await.map_err(refused)?;
        drop(theirs);
        let mut inputs = Vec::new();
        if let Some(input) = given.pop() {
            if tty {
                let terminal = Terminal::new(input)?;
                let at = terminal.clone();
                inputs.push(Background::spawn(async move { at.follow_size(streams.resize).await }));
                if let Some(stdin) = streams.stdin {
                    inputs.push(Background::spawn(async move { terminal.copy_in(stdin).await }));
                }
            } else if let Some(stdin) = streams.stdin {
                let writer = pipe::Sender::from_owned_fd(input).map_err(failed("stdin"))?;
                inputs.push(Background::spawn(copy(stdin, Box::pin(writer))));
            }
        }
        let mut outputs: Vec<_> =
            ours.into_iter().map(|(reader, writer)| Background::spawn(copy(reader, Box::pin(writer)))).collect();
        if outputs.is_empty() {
            let _ = ended.wait_for(|ended| *ended).await;
        }
        // Each ends with the container, or when its client leaves.
        for output in &mut outputs {
            let _ = (&mut output.0).await;
        }
        Ok(())
    }

    pub(super) async fn connect(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream> {
        let shim = self.sandbox(sandbox)?.shim()?;
        let fail = |error: String| {
            CriError::Internal(format!(
                "failed to connect to localhost:{port} inside the pod's network namespace: {error}"
            ))
        };
        let (_, mut fds) = shim.call(Request::Connect(port), &[]).await.map_err(fail)?;
        let socket = std::net::TcpStream::from(fds.pop().ok_or_else(|| fail("no socket".into()))?);
        socket.set_nonblocking(true).map_err(|error| fail(error.to_string()))?;
        let stream = tokio::net::TcpStream::from_std(socket).map_err(|error| fail(error.to_string()))?;
        // The shim only began to connect.
        match tokio::time::timeout(CONNECT, stream.writable()).await {
            Err(_) => return Err(fail("connection timed out".into())),
            Ok(Err(error)) => return Err(fail(error.to_string())),
            Ok(Ok(())) => {}
        }
        match stream.take_error() {
            Ok(None) => Ok(stream),
            Ok(Some(error)) | Err(error) => Err(fail(crate::shim::plain(&error))),
        }
    }
}
