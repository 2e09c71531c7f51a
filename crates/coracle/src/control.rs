//! The daemon's own socket: what the command line needs that is not Kubernetes. HTTP/1.1 on a UNIX socket
//! that only root can open.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use coracle_kubelet::Shutdown;
use coracle_runtime::Runtime;
use coracle_runtime::cri::ImageService;
use coracle_store::Store;
use futures::{Stream, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use crate::certificates::Certificates;
use crate::hollow::Running;
use crate::local_registry;
use crate::publish::Told;
use crate::store::pieces;

/// The longest text that is sent: the names of all images of an archive.
const LONGEST: usize = 1 << 20;
/// All containers end, those of the whole cluster.
const END: &str = "/end-containers";
/// Those of this node end, and other nodes go on.
const LEAVE: &str = "/leave";

/// What is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The node's condition.
    pub node: bool,
    /// The DNS server answers.
    pub dns: bool,
    /// What the node's condition says while it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// How an administrator reaches the API: base64 of PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    pub server: String,
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

/// What the daemon answers from.
pub struct State {
    /// None where there is no node.
    pub runtime: Option<Arc<Runtime>>,
    /// None where there is a node alone.
    pub server: Option<Server>,
    pub node: String,
    pub address: String,
    pub ready: watch::Receiver<Ready>,
    pub started: std::time::Instant,
    /// Those of the node; a server without one has none.
    pub containers: Option<Containers>,
    /// Ports of the host that lead to the node.
    pub published: Vec<Told>,
    /// The cluster's registry, on the node with the server.
    pub registry: Option<local_registry::Open>,
}

/// What a server answers from.
pub struct Server {
    pub certificates: Arc<Certificates>,
    pub store: Arc<dyn Store>,
    pub hollow: Running,
}

/// How the containers of the node are ended.
pub struct Containers {
    /// Has the kubelet end all of them, once.
    pub end: Mutex<Option<oneshot::Sender<Shutdown>>>,
    /// Whether they have ended.
    pub ended: watch::Receiver<bool>,
}

/// What `/status` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub pid: u32,
    pub url: String,
    pub node: String,
    pub address: String,
    pub uptime_seconds: u64,
    pub ready: Ready,
    /// Hollow nodes that are registered.
    #[serde(default)]
    pub hollow_nodes: u32,
    #[serde(default)]
    pub published: Vec<Told>,
}

/// Images that another node of a local cluster has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shared {
    /// Its directory of images.
    pub store: PathBuf,
    /// What they are called.
    pub names: Vec<String>,
}

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// Serves the socket until the future is dropped.
pub async fn serve(path: &Path, state: State) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("failed to listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let state = Arc::new(state);
    loop {
        let (stream, _) = listener.accept().await?;
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = state.clone();
                async move {
                    let response = answer(&state, request).await.unwrap_or_else(|error| {
                        let mut response = Response::new(whole(format!("{error:#}")));
                        *response.status_mut() = StatusCode::BAD_REQUEST;
                        response
                    });
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/access") => json(&server(state)?.certificates.access()),
        (&Method::GET, "/status") => {
            let ready = state.ready.borrow().clone();
            json(&DaemonStatus {
                pid: std::process::id(),
                url: state.server.as_ref().map(|server| server.certificates.access().server).unwrap_or_default(),
                node: state.node.clone(),
                address: state.address.clone(),
                uptime_seconds: state.started.elapsed().as_secs(),
                ready,
                hollow_nodes: state.server.as_ref().map_or(0, |server| server.hollow.registered()),
                published: state.published.clone(),
            })
        }
        (&Method::GET, "/ready/node") => wait(state, |ready| ready.node).await,
        (&Method::GET, "/ready/dns") => wait(state, |ready| ready.dns).await,
        (&Method::GET, "/ready/hollow") => {
            server(state)?.hollow.ready().await?;
            json(&())
        }
        (&Method::POST, "/hollow") => {
            server(state)?.hollow.want(&serde_json::from_str(&text(request).await?)?);
            json(&())
        }
        (&Method::POST, path @ (END | LEAVE)) => {
            let others_go_on = path == LEAVE;
            let longest = Duration::from_millis(text(request).await?.parse()?);
            if let Some(containers) = &state.containers {
                if let Some(end) = containers.end.lock().take() {
                    let _ = end.send(Shutdown { longest, others_go_on });
                }
                containers.ended.clone().wait_for(|ended| *ended).await?;
            }
            json(&())
        }
        (&Method::GET, "/backup") => {
            let pieces = TryStreamExt::map_ok(pieces(server(state)?.store.clone()), Frame::data);
            Ok(Response::new(StreamBody::new(pieces.map_err(Into::into)).boxed_unsync()))
        }
        (&Method::GET, "/images") => json(&runtime(state)?.list_images().await?),
        (&Method::POST, "/images/load") => {
            let runtime = runtime(state)?.clone();
            read_archive(request, move |reader, name| Ok(runtime.import(reader, name)?)).await
        }
        (&Method::POST, "/images/push") => {
            let (registry, runtime) = (registry(state)?, runtime(state)?.clone());
            read_archive(request, move |reader, name| registry.push_archive(&runtime, reader, name)).await
        }
        (&Method::POST, "/images/push-stored") => {
            let (registry, runtime, name) = (registry(state)?, runtime(state)?.clone(), text(request).await?);
            json(&tokio::task::spawn_blocking(move || registry.push_stored(&runtime, &name)).await??)
        }
        (&Method::POST, "/images/pull") => {
            let name = text(request).await?;
            json(&runtime(state)?.pull_image(&name, None).await?)
        }
        (&Method::POST, "/images/share") => {
            let shared: Shared = serde_json::from_str(&text(request).await?)?;
            let runtime = runtime(state)?.clone();
            tokio::task::spawn_blocking(move || runtime.adopt(&shared.store, &shared.names)).await??;
            json(&())
        }
        (&Method::POST, "/images/remove") => {
            let name = text(request).await?;
            if runtime(state)?.image_status(&name).await?.is_none() {
                bail!("there is no image {name}; `coracle image ls` lists them");
            }
            runtime(state)?.remove_image(&name).await?;
            json(&())
        }
        (method, path) => bail!("{method} {path} is not known to this daemon: is it of the same version?"),
    }
}

fn server(state: &State) -> Result<&Server> {
    state.server.as_ref().context("there is no API server here, only a node: ask where `coracle server` runs")
}

fn runtime(state: &State) -> Result<&Arc<Runtime>> {
    state.runtime.as_ref().context("this server has no node, and so no images: it was started with --disable-agent")
}

async fn wait(state: &State, condition: fn(&Ready) -> bool) -> Result<Response<Body>> {
    state.ready.clone().wait_for(condition).await?;
    json(&())
}

async fn text(request: Request<Incoming>) -> Result<String> {
    let bytes =
        http_body_util::Limited::new(request.into_body(), LONGEST).collect().await.map_err(|error| anyhow!(error))?;
    Ok(String::from_utf8(bytes.to_bytes().to_vec())?)
}

fn registry(state: &State) -> Result<local_registry::Open> {
    let registry = state.registry.clone();
    registry.context("the cluster has no registry: `coracle stop`, and then `coracle up --registry`")
}

/// Has the archive of a request read as it comes, on a thread that may wait; nothing holds all of it. The query is what an image is
/// called to which it gives no name.
async fn read_archive(
    request: Request<Incoming>,
    read: impl FnOnce(&mut dyn Read, Option<&str>) -> Result<Vec<String>> + Send + 'static,
) -> Result<Response<Body>> {
    let name = request.uri().query().map(str::to_owned);
    let pieces = TryStreamExt::map_err(request.into_body().into_data_stream(), std::io::Error::other);
    let mut reader = SyncIoBridge::new(StreamReader::new(pieces));
    let work = move || (read(&mut reader, name.as_deref()), reader);
    let (names, reader) = tokio::task::spawn_blocking(work).await?;
    if names.is_err() {
        // Who still sends is to read the answer, and not that nobody listens.
        tokio::spawn(async move { tokio::io::copy(&mut reader.into_inner(), &mut tokio::io::sink()).await });
    }
    json(&names?)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<Response<Body>> {
    Ok(Response::new(whole(serde_json::to_vec(value)?)))
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Asks how an administrator reaches the API.
pub fn access(socket: &Path) -> Result<Access> {
    call(socket, Method::GET, "/access", Outgoing::Nothing)
}

/// Waits until `node` or `dns` is ready, but not longer than a time.
///
/// # Errors
/// It is not, and why, if the node says.
pub fn wait_until(socket: &Path, what: &str, patience: Duration) -> Result<()> {
    const MORE: Duration = Duration::from_secs(1);
    let path = format!("/ready/{what}");
    let waited = call_within(patience, socket, Method::GET, &path, Outgoing::Nothing);
    waited
        .map_err(|error| {
            let status = call_within(MORE, socket, Method::GET, "/status", Outgoing::Nothing);
            let why = status.ok().and_then(|status: DaemonStatus| status.ready.why_not).filter(|_| what == "node");
            why.map_or(error, anyhow::Error::msg)
        })
        .with_context(|| format!("the {what} is not ready"))
}

/// Has all containers end, hooks first; the daemon starts none any more.
pub fn end_containers(socket: &Path, how: Shutdown) -> Result<()> {
    /// What the daemon itself may take.
    const MORE: Duration = Duration::from_secs(5);
    let body = Outgoing::Text(how.longest.as_millis().to_string());
    let path = if how.others_go_on { LEAVE } else { END };
    call_within(how.longest.saturating_add(MORE), socket, Method::POST, path, body)
}

/// Calls the daemon and reads its answer, and waits no longer than a time.
pub fn call_within<T: DeserializeOwned>(
    patience: Duration,
    socket: &Path,
    method: Method,
    path: &str,
    body: Outgoing,
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = call_async(socket, method, path, body);
    runtime
        .block_on(async { tokio::time::timeout(patience, answer).await.context("the daemon does not answer in time")? })
}

/// What a call sends.
pub enum Outgoing {
    Nothing,
    Text(String),
    /// A file, in pieces.
    Reader(Pin<Box<dyn tokio::io::AsyncRead + Send>>),
}

/// Calls the daemon and reads its answer.
pub fn call<T: DeserializeOwned>(socket: &Path, method: Method, path: &str, body: Outgoing) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(call_async(socket, method, path, body))
}

async fn call_async<T: DeserializeOwned>(socket: &Path, method: Method, path: &str, body: Outgoing) -> Result<T> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!("failed to reach the cluster's daemon at {}: is the cluster running?", socket.display())
    })?;
    let response = send(stream, method, path, body).await?;
    Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
}

/// Asks the daemon for something large, and reads it as it comes.
pub async fn download(stream: UnixStream, path: &str) -> Result<impl Stream<Item = Result<Bytes, hyper::Error>>> {
    let response = send(stream, Method::GET, path, Outgoing::Nothing).await?;
    Ok(response.into_body().into_data_stream())
}

/// Sends a request; answers with a success.
async fn send(stream: UnixStream, method: Method, path: &str, body: Outgoing) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let body = match body {
        Outgoing::Nothing => Full::default().map_err(|never| match never {}).boxed_unsync(),
        Outgoing::Text(text) => Full::from(text).map_err(|never| match never {}).boxed_unsync(),
        Outgoing::Reader(reader) => {
            let frames = TryStreamExt::map_ok(ReaderStream::with_capacity(reader, 256 << 10), Frame::data);
            StreamBody::new(frames).boxed_unsync()
        }
    };
    let request = Request::builder().method(method).uri(path).header("host", "coracle").body(body)?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()));
    }
    Ok(response)
}
