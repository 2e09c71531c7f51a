//! One request from its first byte to its response: who, may they, and which part answers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use coracle_api::addresses::Ranges;
use coracle_api::status::Status;
use coracle_api::{Kind, kinds};
use coracle_metrics::{Counter, Gauge};
use coracle_pki::{Authority, Current, FRONT_PROXY};
use coracle_store::{Embedded, Store};
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use ipnet::IpNet;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admission::{self, Admission};
use crate::aggregation::{self, Aggregator, Remote};
use crate::audit::{self, Auditor, Trail};
use crate::auth::known::Known;
use crate::auth::request_header::{self, Authorities, FromProxy};
use crate::auth::service_account::Issuer;
use crate::auth::{self, Authenticator, User};
use crate::authz::{self, Attributes, Authorizer, Decision, Node, Rbac, decide};
use crate::body::{self, Body, BoxError};
use crate::bootstrap::{Own, Trust};
use crate::connect;
use crate::context::Context;
use crate::conversion::Conversions;
use crate::documents::Documents;
use crate::kinds::Kinds;
use crate::kubelet::Client;
use crate::metrics::{self, Answered, Asked, METRICS, Pages};
use crate::negotiate::{Encoding, Output};
use crate::notes::Notes;
use crate::objects::Objects;
use crate::request::{self, Query};
use crate::runtime_config::RuntimeConfig;
use crate::services::Allocator;
use crate::shares::{Share, Shares};
use crate::state::State;
use crate::storage::Storage;
use crate::upload::Upload;
use crate::{
    bootstrap, compress, connections, custom, discovery, health, negotiate, policy_status, resource_metrics, rest,
    token_tracking, websocket,
};

/// The largest request body in bytes, as upstream's.
const MAX_BODY: usize = 3 << 20;
/// Requests answered at once, watches and streams not counted; those of all but administrators and the system's own
/// parts leave some places free, and one of them, who may send every body slowly, does not take those of all.
const IN_FLIGHT: usize = 600;
const IN_FLIGHT_OF_OTHERS: usize = 400;
const IN_FLIGHT_OF_ONE: usize = 50;

/// How an API server is set up.
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Signs what the server needs.
    pub authority: Arc<Authority>,
    /// How users are known.
    pub authentication: auth::Options,
    /// Addresses of services, those of the family first that services have unless they say otherwise.
    pub service_cidr: Ranges,
    /// The address under which nodes and pods reach this server.
    pub advertise_address: IpAddr,
    /// Networks of pods and nodes, in which each address is a client of its own.
    pub inside: Vec<IpNet>,
    /// The port of this server.
    pub port: u16,
    /// The client certificate shown to kubelets.
    pub kubelet_client: Arc<Current>,
    /// Who is asked who may do what.
    pub authorization: authz::Options,
    /// Which admission plugins are asked.
    pub admission: admission::Options,
    /// Which versions of the built-in kinds are served.
    pub runtime_config: RuntimeConfig,
    /// What is written down of requests.
    pub audit: audit::Options,
    /// Objects that a new cluster begins with. Whoever removes one has it no more.
    pub initial: Vec<serde_json::Value>,
}

impl Config {
    /// A server that is set up as one is without options. It is advertised at an address that nobody has, and no networks are
    /// known to be inside.
    ///
    /// # Errors
    /// The authority cannot sign the certificate that is shown to kubelets.
    pub fn new(store: Arc<dyn Store>, authority: Arc<Authority>) -> Result<Config> {
        let kubelet_client = Current::new(&authority.client("kubelet-client", "kubelet-client", &[])?)?;
        Ok(Config {
            store,
            authority,
            authentication: Default::default(),
            service_cidr: "10.96.0.0/16".parse()?,
            advertise_address: Ipv4Addr::new(192, 0, 2, 1).into(),
            inside: Vec::new(),
            port: 6443,
            kubelet_client,
            authorization: Default::default(),
            admission: Default::default(),
            runtime_config: Default::default(),
            audit: Default::default(),
            initial: Vec::new(),
        })
    }

    /// The same with an embedded store and an authority in a directory, as whoever tries a server in its own process has it.
    ///
    /// # Errors
    /// Either cannot be opened.
    pub fn in_directory(dir: &Path) -> Result<Config> {
        let store = Embedded::open(&dir.join("store"), coracle_store::Options::default())?;
        Config::new(Arc::new(store), Arc::new(Authority::open(&dir.join("pki"))?))
    }
}

/// An API server. Clones share it.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    state: Arc<State>,
    /// Whose clients are known.
    authorities: Authorities,
    inside: Vec<IpNet>,
    in_flight: Semaphore,
    in_flight_of_others: Semaphore,
    shares_of_others: Shares,
}

/// A place among the requests that are answered at once.
struct Place<'a> {
    _of_all: SemaphorePermit<'a>,
    _of_others: Option<(Share<'a>, SemaphorePermit<'a>)>,
    _counted: Counted,
}

/// One of those that are counted now.
struct Counted(&'static Gauge);

impl Counted {
    fn among(gauge: &'static Gauge) -> Counted {
        gauge.add(1);
        Counted(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Server {
    /// Opens the server on its store and makes the objects that every cluster has.
    ///
    /// # Errors
    /// A file that the configuration names cannot be read or makes no sense, or the store refuses.
    pub fn new(config: Config) -> BoxFuture<'static, Result<Server>> {
        Box::pin(Server::open(config))
    }

    async fn open(config: Config) -> Result<Server> {
        let audit = audit::Counts::default();
        let auditor = Auditor::open(&config.audit, audit.clone())?;
        let issuer =
            Arc::new(Issuer::new(config.authority.service_account_key()?).named(&config.authentication.api_audiences));
        let served = config.runtime_config.registry(kinds::built_in());
        let storage = Arc::new(Storage::follow(config.store, served).await?);
        storage.add_kinds(resource_metrics::kinds().into()).await?;
        let (uses, heard) = token_tracking::channel();
        issuer.check_objects(Arc::new(Known { caches: storage.caches.clone(), uses }));
        let rbac = Arc::new(Rbac::follow(&storage.caches));
        let node = Node::follow(&storage.caches);
        let authorizer = Arc::new(config.authorization.chain(node, &rbac)?);
        let conversions = Arc::new(Conversions::new(storage.clone()));
        let admission = Admission::new(&config.admission, &storage, &conversions, &authorizer, &rbac)?;
        let authenticator = Authenticator::new(&config.authentication, issuer.clone(), &storage.caches)?;
        let objects = Arc::new(Objects::new(storage, Allocator::new(config.service_cidr)?, conversions, admission));
        let endpoint = SocketAddr::new(config.advertise_address, config.port);
        let front_proxy = config.authority.front_proxy()?;
        let trust =
            Trust { clients: config.authority.certificate.clone(), front_proxy: front_proxy.certificate.clone() };
        let own = Arc::new(Own { endpoint, trust });
        Box::pin(bootstrap::run(&objects, &own, config.initial)).await?;
        custom::start(&objects).await?;
        policy_status::start(&objects);
        token_tracking::start(&objects, heard);
        bootstrap::keep(&objects, own);
        let allowed_names = vec![FRONT_PROXY.to_owned()];
        let authorities = Authorities::new(&config.authority.certificate, &front_proxy.certificate, allowed_names)?;
        let aggregator = Arc::new(Aggregator::new(&objects.storage.caches, front_proxy)?);
        aggregation::start(&objects, &aggregator);
        let state = State {
            objects,
            aggregator,
            documents: Documents::default(),
            authenticator,
            authorizer,
            issuer,
            kubelet: Client::new(&config.authority.certificate, config.kubelet_client)?,
            audit,
            resource_metrics: Default::default(),
            auditor,
            endpoint,
        };
        Ok(Server(Arc::new(Inner {
            state: Arc::new(state),
            authorities,
            inside: config.inside,
            in_flight: Semaphore::new(IN_FLIGHT),
            in_flight_of_others: Semaphore::new(IN_FLIGHT_OF_OTHERS),
            shares_of_others: Shares::new(IN_FLIGHT_OF_ONE),
        })))
    }

    /// Networks in which each address is a client of its own.
    pub(crate) fn inside(&self) -> &[IpNet] {
        &self.0.inside
    }

    /// A service for a component in the same process, acting as a user.
    pub fn service(&self, user: User) -> InProcess {
        InProcess { server: self.clone(), user: Arc::new(user), agent: None }
    }

    /// What is served now.
    pub fn kinds(&self) -> &Kinds {
        &self.storage().kinds
    }

    /// Serves kinds that are not built in from now on, each resource in the versions given and in no others. Watches of
    /// those that were served before end.
    ///
    /// # Errors
    /// What is stored of them cannot be read; then none of them is served anew.
    pub async fn add_kinds(&self, kinds: Vec<Arc<Kind>>) -> coracle_store::Result<()> {
        self.storage().add_kinds(kinds).await
    }

    /// Serves a resource no more, in no version; its watches end. What is stored of it stays.
    pub fn remove_kind(&self, group: &str, plural: &str) {
        self.storage().remove_kind(group, plural);
    }

    /// Decides who may do what here.
    pub fn authorizer(&self) -> &impl Authorizer {
        &self.0.state.authorizer
    }

    /// The authorities whose clients are known here.
    pub(crate) fn authorities(&self) -> &Authorities {
        &self.0.authorities
    }

    fn storage(&self) -> &Storage {
        &self.0.state.objects.storage
    }

    /// Answers one request; `user` is who the connection proved to be.
    pub fn handle<B>(&self, request: Request<B>, user: Option<Arc<User>>) -> BoxFuture<'static, Response<Body>>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        self.answer(parts, Upload::new(body), user)
    }

    /// Boxed, so that all of it is compiled once and here, not with each caller.
    fn answer(&self, parts: Parts, upload: Upload, user: Option<Arc<User>>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(self.0.clone().respond(parts, upload, user))
    }
}

impl Inner {
    /// Answers one request in the encoding that the client takes, and reads to the end what it sends.
    async fn respond(self: Arc<Inner>, parts: Parts, mut upload: Upload, user: Option<Arc<User>>) -> Response<Body> {
        let (is_head, takes_gzip) = (parts.method == Method::HEAD, compress::is_wanted(&parts));
        let response = self.answer(parts, &mut upload, user).await;
        if !http_body::Body::is_end_stream(&upload) {
            Box::pin(upload.discard()).await;
        }
        match takes_gzip {
            true => compress::compressed(response),
            false if is_head => body::headers_only(response),
            false => response,
        }
    }

    /// Finds out where a request leads, who makes it and whether they may, takes a place for it, and only then reads
    /// what was sent with it.
    async fn answer(
        self: Arc<Inner>,
        mut parts: Parts,
        upload: &mut Upload,
        user: Option<Arc<User>>,
    ) -> Response<Body> {
        let (start, received, state) = (Instant::now(), Timestamp::now(), &self.state);
        let id = audit::id(&parts.headers);
        let query = Query::parse(parts.uri.query());
        let path = parts.uri.path().to_owned();
        let split = request::split(&path);
        let target = split.as_ref().and_then(|(group, version, segments)| {
            request::target(&state.objects.storage.kinds.look(), group, version, segments)
        });
        // What is built in is answered here, whatever an APIService says.
        let is_built_in = target.as_ref().is_some_and(|target| target.kind.def().is_some());
        let remote = match &split {
            Some((group, version, _)) if !is_built_in => state.aggregator.route(group, version),
            _ => None,
        };
        let target = target.filter(|_| remote.is_none());
        let (verb, subresource) = match &target {
            Some(target) => (target.verb(&parts.method, &query), target.subresource.unwrap_or_default()),
            None => (request::lower(&parts.method), ""),
        };
        let selected = query.selected(verb);
        // Another server decodes a path before it looks what that is about, so that who may ask it is found out the same way.
        let decoded = remote.as_ref().map(|_| request::decode(&path));
        let attributes = match &target {
            Some(target) => target.attributes(verb, &selected),
            None => request::attributes_of_unknown(decoded.as_deref().unwrap_or(&path), &parts.method, &query),
        };
        let long_running = attributes.verb == "watch"
            || matches!(attributes.subresource, "exec" | "attach" | "portforward" | "log" | "proxy");
        let counted = counted(&attributes, target.is_some(), remote.is_some(), &parts, &path);
        let lasts = long_running.then(|| Arc::new(METRICS.requests.lasts(counted)));
        lasts.iter().for_each(|lasts| drop(parts.extensions.insert(lasts.clone())));
        let is_dry_run = !query.all("dryRun").is_empty();
        // Refusals are told as objects are; a client whose choice is not served is told so in JSON.
        let mut output = match &target {
            Some(target) if target.kind.review => Output::of_whole(&parts.headers),
            Some(target) if target.kind.def().is_none() => Output::of_custom(&parts.headers),
            _ => Output::of(&parts.headers),
        };
        let encoding = match (&target, &output) {
            (Some(_), Ok(output)) => output.encoding,
            _ => Encoding::Json,
        };
        let pretty = negotiate::wants_pretty(&query, &parts.headers);
        let notes = Arc::<Notes>::default();
        let has_certificate = user.is_some() || parts.extensions.get::<FromProxy>().is_some();
        let who = self.who(&mut parts, user).await;
        let trail = state.auditor.as_ref().and_then(|auditor| {
            let asked = audit::Asked {
                id: id.to_str().unwrap_or_default(),
                uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
                headers: &parts.headers,
                from: parts.extensions.get::<Arc<connections::Place>>().map(|place| place.from()),
                what: &attributes,
                long_running,
                received,
            };
            auditor.begin(&asked, who.as_deref().ok(), &notes)
        });
        let trail = trail.as_ref();
        // What is written down is JSON, and becomes what was asked for afterwards.
        let is_written = trail.is_some_and(|trail| trail.wants_answer());
        if let (true, Ok(output)) = (is_written, &mut output) {
            output.encoding = Encoding::Json;
        }
        let is_known = who.is_ok();
        let answer = async {
            let user = match who {
                Ok(user) => user,
                Err(status) => {
                    trail.inspect(|trail| trail.unauthenticated(&parts.headers, has_certificate));
                    return Err(status);
                }
            };
            if let Some(trail) = trail {
                trail.received().await?;
                if long_running {
                    parts.extensions.insert(trail.clone());
                }
            }
            let user = self.admitted(user, &mut parts, &attributes, trail).await?;
            let _place = if long_running { None } else { Some(self.place(&user, verb)?) };
            match &target {
                Some(target) => {
                    let target = target.clone();
                    let output = output?;
                    let dry_run = query.dry_run(verb)?;
                    let (body, upload) = match subresource {
                        "proxy" => (Bytes::new(), std::mem::take(upload)),
                        _ => (std::mem::take(upload).read(MAX_BODY).await?, Upload::default()),
                    };
                    trail.inspect(|trail| trail.sent(&parts.headers, &body));
                    let (upload, notes) = (Mutex::new(upload), notes.clone());
                    let context = Context { state, user, parts, body, upload, target, query, output, dry_run, notes };
                    Ok(rest::answer(context, verb).await)
                }
                None => match self.described_elsewhere(&path).or(remote) {
                    Some(remote) => {
                        parts.headers.insert(audit::ID, id.clone());
                        let (storage, upload) = (&state.objects.storage, std::mem::take(upload));
                        Box::pin(connect::aggregated::answer(storage, &remote, &user, parts, upload)).await
                    }
                    None => Box::pin(self.outside(parts, &path)).await,
                },
            }
        };
        let (mut response, is_document) = match answer.await {
            Ok(response) => (response, target.is_none()),
            Err(status) => {
                let encoding = if is_written { Encoding::Json } else { encoding };
                (negotiate::status_as(&status, encoding), false)
            }
        };
        if let Some(trail) = trail {
            response = trail.clone().answered(response, is_known).await;
            response = if is_written { negotiate::encoded(response, encoding) } else { response };
        }
        let mut response = if pretty && !is_document { negotiate::pretty(response) } else { response };
        // Another server that answered has said it already.
        response.headers_mut().entry(audit::ID).or_insert(id);
        let answered = Answered {
            code: response.status(),
            dry_run: is_dry_run,
            long_running,
            took: start.elapsed(),
            elsewhere: notes.elsewhere(),
            size: http_body::Body::size_hint(response.body()).exact(),
        };
        METRICS.requests.count(counted, &answered);
        match lasts {
            Some(lasts) => response.map(|body| body.with(lasts)),
            None => response,
        }
    }

    /// Who makes a request, counted.
    async fn who(&self, parts: &mut Parts, user: Option<Arc<User>>) -> Result<Arc<User>, Status> {
        let asked = Instant::now();
        let who = self.known(parts, user).await;
        match &who {
            Ok(user) => {
                METRICS.authenticated.after(asked.elapsed());
                METRICS.users.with([metrics::username(&user.name)], Counter::inc);
            }
            Err(_) => METRICS.not_authenticated.after(asked.elapsed()),
        }
        who
    }

    /// Who makes a request.
    async fn known(&self, parts: &mut Parts, user: Option<Arc<User>>) -> Result<Arc<User>, Status> {
        let proxied = parts.extensions.get::<FromProxy>().is_some();
        let user = match proxied.then(|| request_header::take(&mut parts.headers)).flatten() {
            Some(user) => Arc::new(user),
            None => self.state.authenticator.user(parts.uri.path(), &parts.headers, user.as_ref()).await?,
        };
        // Who shows a certificate must be told of in some way.
        if proxied && user.name == auth::ANONYMOUS { Err(Status::unauthorized()) } else { Ok(user) }
    }

    /// As whom a request acts, if its user may make it so.
    async fn admitted(
        &self,
        user: Arc<User>,
        parts: &mut Parts,
        what: &Attributes<'_>,
        trail: Option<&Arc<Trail>>,
    ) -> Result<Arc<User>, Status> {
        let authorizer = &*self.state.authorizer;
        if user.name != auth::ANONYMOUS
            && let Some(connection) = parts.extensions.get::<Arc<connections::Place>>()
        {
            connection.prove(&user)?;
        }
        let acting = auth::impersonated(user.clone(), &mut parts.headers, authorizer).await?;
        trail.filter(|_| !Arc::ptr_eq(&user, &acting)).inspect(|trail| trail.acts_as(&acting));
        let asked = Instant::now();
        let decision = decide(authorizer, &acting, what).await;
        let decided = match &decision {
            Decision::Allow(_) => &METRICS.allowed,
            Decision::Deny(_) => &METRICS.denied,
            Decision::NoOpinion(_) => &METRICS.no_opinion,
        };
        decided.after(asked.elapsed());
        trail.inspect(|trail| trail.decided(&decision));
        if !decision.is_allowed() {
            return Err(what.forbidden(&acting, decision.reason()));
        }
        // A stream by WebSocket begins with a GET, and makes as much as one by POST.
        if matches!(what.subresource, "exec" | "attach" | "portforward") && websocket::is_wanted(&parts.headers) {
            let making = Attributes { verb: "create", ..what.clone() };
            let decision = decide(authorizer, &acting, &making).await;
            if !decision.is_allowed() {
                return Err(making.forbidden(&acting, decision.reason()));
            }
        }
        Ok(acting)
    }

    /// A place for a request until it is answered.
    fn place<'a>(&'a self, user: &User, verb: &str) -> Result<Place<'a>, Status> {
        let busy = || Status::too_many_requests("Too many requests, please try again later.", 1);
        let of_others = match authz::is_system(user) {
            true => None,
            false => {
                let share = self.shares_of_others.take(&user.name).ok_or_else(busy)?;
                Some((share, self.in_flight_of_others.try_acquire().map_err(|_| busy())?))
            }
        };
        let of_all = self.in_flight.try_acquire().map_err(|_| busy())?;
        let counted = if matches!(verb, "get" | "list" | "head") { &*METRICS.reading } else { &*METRICS.mutating };
        Ok(Place { _of_all: of_all, _of_others: of_others, _counted: Counted::among(counted) })
    }

    /// The other server whose OpenAPI document of version 3 a path is about.
    fn described_elsewhere(&self, path: &str) -> Option<Arc<Remote>> {
        let (group, version) = path.strip_prefix("/openapi/v3/apis/")?.split_once('/')?;
        self.state.aggregator.route(group, version)
    }

    /// Paths that are no object's.
    async fn outside(&self, parts: Parts, path: &str) -> Result<Response<Body>, Status> {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return Err(Status::path_not_found());
        }
        let state = &*self.state;
        let storage = &*state.objects.storage;
        let document = |value: serde_json::Value| Ok(negotiate::json(StatusCode::OK, value.to_string()));
        match path.trim_end_matches('/') {
            "/healthz" | "/livez" | "/readyz" => health::probe(storage, path, &Query::parse(parts.uri.query())),
            path if path.starts_with("/livez/") || path.starts_with("/readyz/") || path.starts_with("/healthz/") => {
                health::probe_one(storage, path)
            }
            "/metrics" => Ok(metrics::page(state, parts.extensions.get().copied().unwrap_or(Pages::All)).await),
            "/version" => document(health::version()),
            "/.well-known/openid-configuration" => {
                let server = format!("https://{}", state.endpoint);
                document(state.issuer.openid_configuration(&server))
            }
            "/openid/v1/jwks" => document(state.issuer.key_set()),
            path => discovery::answer(state, path, &parts.headers).await,
        }
    }
}

/// As what a request is counted.
fn counted<'a>(what: &Attributes<'a>, is_here: bool, is_elsewhere: bool, parts: &Parts, path: &str) -> Asked<'a> {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let verb = Asked::verb(what, &parts.method, content_type.starts_with("application/apply-patch"));
    match (is_here, is_elsewhere) {
        (true, _) => Asked::of(verb, what),
        (false, true) => Asked::elsewhere(verb),
        (false, false) => Asked::of_path(verb, path.trim_end_matches('/')),
    }
}

/// The server as a tower service for one user, without a socket between.
#[derive(Clone)]
pub struct InProcess {
    server: Server,
    user: Arc<User>,
    agent: Option<HeaderValue>,
}

impl InProcess {
    /// The same for a component of that name: it is the user agent of requests that name none, and so owns what they write.
    pub fn named(self, agent: &'static str) -> InProcess {
        InProcess { agent: Some(HeaderValue::from_static(agent)), ..self }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(agent) = &self.agent {
            request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
        }
        let (server, user) = (self.server.clone(), self.user.clone());
        let answer = server.handle(request, Some(user));
        Box::pin(async move { Ok(answer.await) })
    }
}
