//! Pull from registries, as the OCI distribution specification has it. Everything fetched is checked against its
//! digest before it is used.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::import::{is_for_us, is_index, platform};
use super::reference::Reference;
use super::room::Room;
use super::store::{Contents, ImageStore, LayerSource, MAX_LAYERS, parse_config};
use super::unpack::{digest_of, digest_text};
use crate::cri::{AuthConfig, CriError, Result};

/// Layers fetched at once.
const PARALLEL: usize = 3;
const MAX_REDIRECTS: usize = 8;
/// Longest manifest, config or token answer.
const MAX_JSON: usize = 8 << 20;
/// Longest time to connect, and longest silence.
const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes on the way from a registry in this process.
const LOCAL_BUFFER: usize = 256 << 10;
/// Longest time for all of a pull: whoever drips must not keep others from pulling.
const WHOLE: Duration = Duration::from_secs(4 * 3600);
/// Slowest a registry may be with a blob, in bytes a second, after the time for silence.
const SLOWEST: u64 = 16 << 10;
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Where distributions keep the roots of trust.
const ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a step of a pull failed.
enum Failure {
    /// The registry says that there is no such thing.
    NotFound,
    /// The registry wants other credentials.
    Denied,
    /// Everything else.
    Other(String),
}

fn other(what: impl std::fmt::Display) -> Failure {
    Failure::Other(what.to_string())
}

type Fetched<T> = std::result::Result<T, Failure>;

/// A registry that is asked within this process.
#[derive(Clone)]
pub struct LocalRegistry {
    /// What images say that are in it, as HOST:PORT.
    pub names: Vec<String>,
    /// Answers what comes of a connection, by HTTP/1.1.
    pub serve: Arc<dyn Fn(DuplexStream) + Send + Sync>,
}

impl std::fmt::Debug for LocalRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalRegistry").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Pulls images; one for the whole runtime.
pub struct Puller {
    insecure: Vec<String>,
    local: Option<LocalRegistry>,
    pace: Pace,
    tls: parking_lot::Mutex<Option<Arc<rustls::ClientConfig>>>,
}

/// How slow a registry may be.
#[derive(Clone, Copy)]
struct Pace {
    silence: Duration,
    whole: Duration,
    slowest: u64,
}

impl Pace {
    /// How long some bytes may take.
    fn time_for(&self, bytes: u64) -> Duration {
        self.silence.saturating_add(Duration::from_secs(bytes / self.slowest.max(1)))
    }
}

/// One pull: the registry with the credentials that it asked for.
struct Session<'a> {
    puller: &'a Puller,
    reference: &'a Reference,
    auth: Option<AuthConfig>,
    /// The Authorization header that worked.
    header: parking_lot::Mutex<Option<String>>,
}

impl Puller {
    /// `insecure` are registries spoken to without TLS; `local` needs no network.
    pub fn new(insecure: Vec<String>, local: Option<LocalRegistry>) -> Self {
        let pace = Pace { silence: SILENCE, whole: WHOLE, slowest: SLOWEST };
        Self { insecure, local, pace, tls: parking_lot::Mutex::new(None) }
    }

    fn local(&self, host: &str) -> Option<&LocalRegistry> {
        self.local.as_ref().filter(|local| local.names.iter().any(|known| known == host))
    }

    fn scheme(&self, host: &str) -> &'static str {
        if self.local(host).is_some() {
            return "http";
        }
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        let loopback = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if loopback || self.insecure.iter().any(|known| known == host) { "http" } else { "https" }
    }

    fn tls(&self) -> io::Result<Arc<rustls::ClientConfig>> {
        if let Some(config) = &*self.tls.lock() {
            return Ok(config.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        let own = std::env::var("SSL_CERT_FILE").ok();
        for path in own.iter().map(String::as_str).chain(ROOTS.iter().copied()) {
            if let Ok(certificates) = CertificateDer::pem_file_iter(Path::new(path)) {
                roots.add_parsable_certificates(certificates.flatten());
                break;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        *self.tls.lock() = Some(config.clone());
        Ok(config)
    }

    /// Pulls an image, unless all of it is present; answers with its ID.
    pub async fn pull(&self, images: &Arc<ImageStore>, image: &str, auth: Option<AuthConfig>) -> Result<String> {
        let reference = Reference::parse(image).map_err(CriError::InvalidArgument)?;
        let session = Session { puller: self, reference: &reference, auth, header: parking_lot::Mutex::new(None) };
        let wrap = |stage: &str, failure: Failure| {
            let (message, not_found) = match failure {
                Failure::NotFound => (format!("{reference}: not found"), true),
                Failure::Denied => (
                    "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed".to_string(),
                    true,
                ),
                Failure::Other(message) => (message, false),
            };
            CriError::Pull {
                message: format!("failed to pull and unpack image \"{reference}\": {stage}{message}"),
                not_found,
            }
        };
        let resolving = format!("failed to resolve reference \"{reference}\": ");
        let whole = async {
            let (manifest, digest) = session.manifest().await.map_err(|failure| wrap(&resolving, failure))?;
            if digest != reference.digest.clone().unwrap_or(digest.clone()) {
                return Err(wrap(&resolving, other(format_args!("unexpected digest {digest}"))));
            }
            session.content(images, manifest, &digest).await.map_err(|failure| wrap("", failure))
        };
        match tokio::time::timeout(self.pace.whole, whole).await {
            Ok(result) => result,
            Err(_) => Err(wrap("", other(format_args!("it took longer than {:?}", self.pace.whole)))),
        }
    }

    async fn send(&self, uri: &Uri, headers: &[(http::HeaderName, String)]) -> Fetched<Response<Incoming>> {
        let host = uri.authority().ok_or_else(|| other("an address without host"))?.to_string();
        let secure = uri.scheme_str() == Some("https");
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let failed = |error: String| other(format_args!("failed to do request: Get \"{uri}\": {error}"));
        let mut request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, &host)
            .header(USER_AGENT, concat!("coracle/", env!("CARGO_PKG_VERSION")));
        for (header, value) in headers {
            request = request.header(header, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(error.to_string()))?;
        let silent = || failed("the server does not answer".into());
        if let Some(local) = self.local(&host) {
            let (ours, theirs) = tokio::io::duplex(LOCAL_BUFFER);
            (local.serve)(theirs);
            let answer = tokio::time::timeout(self.pace.silence, exchange(ours, request)).await;
            return answer.map_err(|_| silent())?.map_err(failed);
        }
        let connecting = tokio::net::TcpStream::connect((name.as_str(), port));
        let stream = tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| failed(format!("dial tcp {name}:{port}: i/o timeout")))?
            .map_err(|error| failed(format!("dial tcp {name}:{port}: {}", crate::shim::plain(&error))))?;
        let response = async {
            if secure {
                let config = self.tls().map_err(|error| error.to_string())?;
                let server = ServerName::try_from(name.clone()).map_err(|error| error.to_string())?;
                let connector = tokio_rustls::TlsConnector::from(config);
                let stream = connector.connect(server, stream).await.map_err(|error| error.to_string())?;
                exchange(stream, request).await
            } else {
                exchange(stream, request).await
            }
        };
        tokio::time::timeout(self.pace.silence, response).await.map_err(|_| silent())?.map_err(failed)
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> std::result::Result<Response<Incoming>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| error.to_string())
}

async fn body(response: Response<Incoming>, pace: Pace) -> Fetched<Bytes> {
    let limited = http_body_util::Limited::new(response.into_body(), MAX_JSON);
    let collected =
        tokio::time::timeout(pace.silence, limited.collect()).await.map_err(|_| other("the server went silent"))?;
    Ok(collected.map_err(other)?.to_bytes())
}

/// The parameters of a `WWW-Authenticate` header: `Bearer realm="...",service="..."`.
fn challenge(header: &str) -> (String, HashMap<String, String>) {
    let (scheme, mut rest) = header.split_once(' ').unwrap_or((header, ""));
    let mut parameters = HashMap::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([',', ' ']).to_ascii_lowercase();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.insert(key, value.to_string());
        rest = next;
    }
    (scheme.to_ascii_lowercase(), parameters)
}

/// A registry's host without its port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// Whether a host is this node, or one that only this node's link knows, such as a cloud's metadata service.
fn is_own(host: &str) -> bool {
    // An address of IPv4 in disguise leads where that one does.
    match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().map(|address| address.to_canonical()) {
        Ok(std::net::IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(std::net::IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Session<'_> {
    fn basic(&self) -> Option<String> {
        let auth = self.auth.as_ref()?;
        let pair = format!("{}:{}", auth.username, auth.password);
        Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
    }

    /// Gets the header that a challenge asks for.
    async fn authorize(&self, header: &str) -> Fetched<String> {
        let (scheme, parameters) = challenge(header);
        if scheme == "basic" {
            return self.basic().ok_or(Failure::Denied);
        }
        let realm = parameters.get("realm").filter(|_| scheme == "bearer").ok_or(Failure::Denied)?;
        let scope = format!("repository:{}:pull", self.reference.path);
        let mut address = format!("{realm}?scope={}", query(&scope));
        if let Some(service) = parameters.get("service") {
            address.push_str(&format!("&service={}", query(service)));
        }
        let uri: Uri = address.parse().map_err(other)?;
        if uri.scheme_str() != Some("https") && self.puller.scheme(self.reference.host()) == "https" {
            return Err(other("the registry asks for credentials over an unencrypted connection"));
        }
        self.check_target(&uri)?;
        let headers: Vec<_> = self.basic().map(|basic| (AUTHORIZATION, basic)).into_iter().collect();
        let response = self.puller.send(&uri, &headers).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Failure::Denied),
            status => return Err(other(format_args!("failed to fetch a token: unexpected status: {status}"))),
        }
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let token: Token = serde_json::from_slice(&body(response, self.puller.pace).await?).map_err(other)?;
        let token = token.token.or(token.access_token).ok_or(Failure::Denied)?;
        Ok(format!("Bearer {token}"))
    }

    /// A registry elsewhere has no business to make the node ask itself or its metadata service.
    fn check_target(&self, target: &Uri) -> Fetched<()> {
        if is_own(target.host().unwrap_or_default()) && !is_own(host_of(self.reference.host())) {
            return Err(other(format_args!("the registry sends us to {target}, which is this node itself")));
        }
        Ok(())
    }

    /// Gets something of the repository: signs in when asked, follows redirects.
    async fn get(&self, path: &str) -> Fetched<Response<Incoming>> {
        let host = self.reference.host();
        let address = format!("{}://{host}/v2/{}/{path}", self.puller.scheme(host), self.reference.path);
        let first: Uri = address.parse().map_err(other)?;
        let (mut uri, mut asked) = (first.clone(), false);
        for _ in 0..MAX_REDIRECTS {
            let mut headers = vec![(ACCEPT, MANIFESTS.to_string())];
            // Credentials are for the registry, not for where it sends us.
            if uri.authority() == first.authority() {
                headers.extend(self.header.lock().clone().map(|value| (AUTHORIZATION, value)));
            }
            let response = self.puller.send(&uri, &headers).await?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::NOT_FOUND => return Err(Failure::NotFound),
                StatusCode::UNAUTHORIZED if !asked => {
                    asked = true;
                    let header = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
                    let header = self.authorize(header.unwrap_or_default()).await?;
                    *self.header.lock() = Some(header);
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Failure::Denied),
                status if status.is_redirection() => {
                    let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                    let target = target.ok_or_else(|| other("a redirect to nowhere"))?;
                    let target = if target.starts_with('/') {
                        format!(
                            "{}://{}{target}",
                            uri.scheme_str().unwrap_or("https"),
                            uri.authority().map_or("", |host| host.as_str())
                        )
                    } else {
                        target.to_string()
                    };
                    let next: Uri = target.parse().map_err(other)?;
                    if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                        return Err(other("the registry redirects to an unencrypted connection"));
                    }
                    self.check_target(&next)?;
                    uri = next;
                }
                status => return Err(other(format_args!("unexpected status from GET request to {uri}: {status}"))),
            }
        }
        Err(other("too many redirects"))
    }

    /// The manifest for this machine, and the digest of what the reference names.
    async fn manifest(&self) -> Fetched<(Bytes, String)> {
        let mut selector = self.reference.selector().to_string();
        let mut named = None;
        for _ in 0..4 {
            let bytes = body(self.get(&format!("manifests/{selector}")).await?, self.puller.pace).await?;
            let digest = digest_of(&bytes);
            if selector.contains(':') && selector != digest {
                return Err(other(format_args!("unexpected digest {digest} of manifest {selector}")));
            }
            let named_digest = named.get_or_insert(digest).clone();
            if !is_index(&bytes) {
                return Ok((bytes, named_digest));
            }
            let index: ImageIndex = serde_json::from_slice(&bytes).map_err(other)?;
            let found = index.manifests().iter().find(|found| is_for_us(found));
            let found =
                found.ok_or_else(|| other(format_args!("no match for platform in manifest: {}", platform())))?;
            selector = found.digest().to_string();
        }
        Err(other("indexes are nested too deeply"))
    }

    async fn content(&self, images: &Arc<ImageStore>, manifest: Bytes, digest: &str) -> Fetched<String> {
        let parsed: ImageManifest = serde_json::from_slice(&manifest).map_err(other)?;
        if parsed.layers().len() > MAX_LAYERS {
            return Err(other(format_args!("the image has more than {MAX_LAYERS} layers")));
        }
        let bytes = parsed.layers().iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size()));
        let room = Room::of(&images.layers_dir()).map_err(other)?;
        room.fits(bytes).map_err(other)?;
        let blob = self.get(&format!("blobs/{}", parsed.config().digest())).await?;
        let config = body(blob, self.puller.pace).await?;
        if digest_of(&config) != parsed.config().digest().to_string() {
            return Err(other(format_args!(
                "the config's digest is {}, want {}",
                digest_of(&config),
                parsed.config().digest()
            )));
        }
        let diff_ids = parse_config(&config).map_err(other)?.diff_ids;
        if diff_ids.len() != parsed.layers().len() {
            return Err(other("the image's config names other layers than its manifest"));
        }
        let mut fetches = Vec::new();
        for (diff_id, layer) in diff_ids.into_iter().zip(parsed.layers().clone()) {
            fetches.push(self.layer(images, diff_id, layer).boxed());
        }
        let fetched: Vec<_> = futures::stream::iter(fetches).buffered(PARALLEL).collect().await;
        let fetched = fetched.into_iter().collect::<Fetched<Vec<_>>>()?;
        let reference = self.reference.clone();
        let (images, digest) = (images.clone(), digest.to_string());
        let added = tokio::task::spawn_blocking(move || {
            let sources = fetched.iter().map(|(diff_id, file)| LayerSource {
                diff_id: diff_id.clone(),
                contents: Contents::Blob(Box::new(move || match file {
                    Some(file) => Ok(Box::new(std::fs::File::open(&file.0)?) as Box<dyn Read>),
                    None => Err(io::Error::new(io::ErrorKind::NotFound, "the layer was removed meanwhile; pull again")),
                })),
            });
            let tags: Vec<_> = reference.tag.iter().map(|tag| format!("{}:{tag}", reference.name())).collect();
            let digests = [format!("{}@{digest}", reference.name())];
            images.add(&config, Some(&manifest), &tags, &digests, sources.collect())
        });
        added.await.map_err(other)?.map_err(other)
    }

    /// Fetches a layer, unless it is unpacked already.
    async fn layer(
        &self,
        images: &ImageStore,
        diff_id: String,
        layer: Descriptor,
    ) -> Fetched<(String, Option<Ingested>)> {
        if images.has_layer(&diff_id) {
            return Ok((diff_id, None));
        }
        let file = Ingested(images.ingest_path());
        self.blob(&layer, &file.0).await?;
        Ok((diff_id, Some(file)))
    }

    /// Fetches a blob into a file and checks its digest and length.
    async fn blob(&self, descriptor: &Descriptor, path: &Path) -> Fetched<()> {
        let most = self.puller.pace.time_for(descriptor.size());
        match tokio::time::timeout(most, self.blob_slowly(descriptor, path)).await {
            Ok(result) => result,
            Err(_) => Err(other(format_args!("blob {}: the server is too slow", descriptor.digest()))),
        }
    }

    async fn blob_slowly(&self, descriptor: &Descriptor, path: &Path) -> Fetched<()> {
        let wanted = descriptor.digest().to_string();
        let mut room = Room::of(path.parent().unwrap_or(Path::new("."))).map_err(other)?;
        let mut incoming = self.get(&format!("blobs/{wanted}")).await?.into_body();
        let mut file = tokio::fs::File::create(path).await.map_err(other)?;
        let (mut hash, mut length) = (Sha256::new(), 0u64);
        while let Some(frame) = tokio::time::timeout(self.puller.pace.silence, incoming.frame())
            .await
            .map_err(|_| other("the server went silent"))?
        {
            if let Ok(data) = frame.map_err(other)?.into_data() {
                length += data.len() as u64;
                if length > descriptor.size() {
                    break;
                }
                hash.update(&data);
                room.take(data.len() as u64).map_err(other)?;
                file.write_all(&data).await.map_err(other)?;
            }
        }
        file.flush().await.map_err(other)?;
        let digest = digest_text(&hash.finalize());
        if length != descriptor.size() {
            return Err(other(format_args!("blob {wanted}: unexpected size {length}, want {}", descriptor.size())));
        }
        if digest != wanted {
            return Err(other(format_args!(
                "unexpected commit digest {digest}, expected {wanted}: failed precondition"
            )));
        }
        Ok(())
    }
}

/// A downloaded file that goes when it is not needed any more.
struct Ingested(PathBuf);

impl Drop for Ingested {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let (scheme, parameters) =
            challenge("Bearer realm=\"https://auth.example/token\",service=\"registry, one\",scope=\"a:b:c\"");
        assert_eq!(scheme, "bearer");
        assert_eq!(parameters["realm"], "https://auth.example/token");
        assert_eq!(parameters["service"], "registry, one");
        assert_eq!(challenge("Basic").0, "basic");
    }

    #[test]
    fn a_node_and_its_metadata_service_are_no_place_for_tokens_of_a_registry_elsewhere() {
        let disguised = ["[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]"];
        let plain = ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "0.0.0.0", "[fe80::1]"];
        for host in plain.iter().chain(&disguised) {
            assert!(is_own(host), "{host}");
        }
        for host in ["auth.docker.io", "10.0.0.5", "[2001:db8::1]"] {
            assert!(!is_own(host), "{host}");
        }
        assert_eq!((host_of("reg.lan:5000"), host_of("[::1]:5000"), host_of("a")), ("reg.lan", "::1", "a"));
    }

    #[test]
    fn only_loopback_and_named_registries_go_without_tls() {
        let puller = Puller::new(vec!["reg.lan:5000".into()], None);
        for (host, scheme) in [
            ("127.0.0.1:5000", "http"),
            ("[::1]:5000", "http"),
            ("localhost:1", "http"),
            ("reg.lan:5000", "http"),
            ("reg.lan:5001", "https"),
            ("registry-1.docker.io", "https"),
        ] {
            assert_eq!(puller.scheme(host), scheme, "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_challenge_makes_it_panic(header in "[ a-zA-Z]{0,8}([a-z]{0,4}=?\"?[^\"]{0,6}\"?,? ?){0,4}") {
            let (_, parameters) = challenge(&header);
            proptest::prop_assert!(parameters.keys().all(|key| !key.contains('=')));
        }
    }

    /// A registry that answers everything with the head of a long body and then a byte now and then.
    fn dripping(size: usize) -> String {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                        head.push(byte[0]);
                    }
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                    while stream.write_all(b"x").is_ok() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                });
            }
        });
        host
    }

    #[tokio::test]
    async fn a_registry_that_drips_does_not_hold_a_pull_for_ever() {
        let (dir, host) = (tempfile::tempdir().unwrap(), dripping(1 << 20));
        let images = Arc::new(ImageStore::open(dir.path()).unwrap());
        let mut puller = Puller::new(Vec::new(), None);
        puller.pace = Pace { silence: Duration::from_secs(60), whole: Duration::from_millis(300), slowest: 1 };
        let error = puller.pull(&images, &format!("{host}/a:1"), None).await.unwrap_err().to_string();
        assert!(error.ends_with("it took longer than 300ms"), "{error}");

        puller.pace = Pace { silence: Duration::from_millis(300), whole: Duration::from_secs(60), slowest: u64::MAX };
        let reference = Reference::parse(&format!("{host}/a:1")).unwrap();
        let session =
            Session { puller: &puller, reference: &reference, auth: None, header: parking_lot::Mutex::new(None) };
        let descriptor = serde_json::json!({"mediaType": "m", "digest": digest_of(b""), "size": 1 << 20});
        let descriptor: Descriptor = serde_json::from_value(descriptor).unwrap();
        match session.blob(&descriptor, &dir.path().join("ingest/b")).await {
            Err(Failure::Other(message)) => assert!(message.ends_with("the server is too slow"), "{message}"),
            _ => panic!("a blob came"),
        }
        assert_eq!(
            Pace { silence: SILENCE, whole: WHOLE, slowest: SLOWEST }.time_for(160 << 20).as_secs(),
            60 + 10_240
        );
    }
}
