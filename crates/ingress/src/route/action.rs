//! What becomes of a request that takes a route.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use regex::Regex;

use super::{Hosts, ObjectName};
use crate::backend::Backend;

/// What becomes of a request.
#[derive(Debug)]
pub struct Action {
    /// Whose route it is, as `namespace/name`.
    pub source: ObjectName,
    /// Where it goes.
    pub target: Target,
    /// What is done with it on the way.
    pub policy: Policy,
}

impl Action {
    /// One that answers with a status and nothing else.
    pub fn answer(source: &str, status: u16) -> Action {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Action { source: source.into(), target: Target::Answer(status), policy: Policy::default() }
    }
}

/// Where a request goes.
#[derive(Debug)]
pub enum Target {
    /// To one of these services, each as often as its weight says. One that cannot be resolved is answered 500.
    Backends(Vec<Weighted>),
    /// Elsewhere, as the client is told.
    Redirect(Redirect),
    /// Nowhere: it is answered at once.
    Answer(StatusCode),
}

/// A service with a weight.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// The service; `None` if the reference leads nowhere.
    pub backend: Option<Arc<Backend>>,
    /// How the headers of what goes there change.
    pub headers: HeaderChanges,
    /// The same of what comes back.
    pub response_headers: HeaderChanges,
}

impl Weighted {
    /// The only one.
    pub fn only(backend: Arc<Backend>) -> Weighted {
        Weighted {
            weight: 1,
            backend: Some(backend),
            headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
        }
    }
}

/// Where a client is sent.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The status that says so.
    pub status: StatusCode,
    /// A whole address, instead of the parts below.
    pub location: Option<String>,
    /// The scheme, if not that of the request.
    pub scheme: Option<String>,
    /// The host, if not that of the request.
    pub host: Option<String>,
    /// The port, if not that of the scheme or the listener.
    pub port: Option<u16>,
    /// The path, if not that of the request.
    pub path: Option<Rewrite>,
}

/// How a path changes.
#[derive(Clone, Debug)]
pub enum Rewrite {
    /// It becomes this one.
    Full(String),
    /// The prefix that was compared becomes this.
    Prefix(String),
    /// All of it becomes this, in which `${1}` is the first group of what an expression finds; the second text goes before
    /// the query.
    Expression(Regex, String, Option<String>),
}

/// How headers change, in this order.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    /// Those that are replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Those that are added to what there is.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Those that are taken away.
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    /// Makes them.
    pub fn apply(&self, headers: &mut http::HeaderMap) {
        self.set.iter().for_each(|(name, value)| drop(headers.insert(name, value.clone())));
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        self.remove.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// When clients are sent to HTTPS.
#[derive(Clone, Debug, Default)]
pub enum ToHttps {
    /// Never.
    #[default]
    Never,
    /// When they came without TLS.
    Always,
    /// When they did so, and their host is one of these.
    Named([Arc<Hosts<()>>; 2]),
}

impl ToHttps {
    /// Whether a client without TLS is sent there. Those who have a certificate made come without (RFC 8555, section 8.3).
    pub fn takes(&self, host: &str, path: &str) -> bool {
        let is_named = match self {
            ToHttps::Never => false,
            ToHttps::Always => true,
            ToHttps::Named(all) => all.iter().any(|hosts| hosts.fitting(host).next().is_some()),
        };
        is_named && !path.starts_with("/.well-known/acme-challenge/")
    }
}

/// What is done with a request on its way. What may be large is shared by the routes of one object.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether clients without TLS are sent to HTTPS.
    pub to_https: ToHttps,
    /// Where who asks for `/` is sent.
    pub app_root: Option<String>,
    /// Who may ask: any of these, or everyone.
    pub allowed: Option<Arc<[IpNet]>>,
    /// Who may not.
    pub denied: Arc<[IpNet]>,
    /// Names and passwords of who may ask, and what is protected; `None` inside refuses all, as the secret is not there.
    pub basic_auth: Option<Arc<BasicAuth>>,
    /// Other origins that browsers may ask from.
    pub cors: Option<Arc<Cors>>,
    /// How many requests one address may make: all of these hold.
    pub limits: [Option<crate::proxy::Rate>; 2],
    /// How the path changes.
    pub rewrite: Option<Rewrite>,
    /// The host that the backend is told.
    pub host: Option<HeaderValue>,
    /// How the headers of the request change.
    pub headers: HeaderChanges,
    /// The same of the answer.
    pub response_headers: HeaderChanges,
    /// Who is sent a copy of the request, whose answer nobody reads.
    pub mirrors: Vec<Mirror>,
    /// Bytes that a body may have; 0 is no bound.
    pub max_body: u64,
    /// How long a connection to a backend may take.
    pub connect_timeout: Duration,
    /// How long a backend may be silent; [`Duration::MAX`] is without end.
    pub read_timeout: Duration,
    /// How long a client may be silent in the midst of its body; [`Duration::MAX`] is without end.
    pub send_timeout: Duration,
    /// How long all of a request may take, with its answer.
    pub request_timeout: Option<Duration>,
    /// How long one try of a backend may take.
    pub backend_timeout: Option<Duration>,
    /// When a backend is asked once more.
    pub retry: Option<Arc<Retry>>,
    /// Whether a client stays with a backend that it had, by a cookie.
    pub affinity: Option<Arc<Affinity>>,
    /// Whether requests are calls of gRPC, whose clients are told of faults by its own status.
    pub is_grpc: bool,
}

impl Policy {
    /// Whether a backend that answers with this status is asked once more.
    pub fn asks_again(&self, status: StatusCode) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.codes.contains(&status))
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            to_https: ToHttps::Never,
            app_root: None,
            allowed: None,
            denied: Arc::default(),
            basic_auth: None,
            cors: None,
            limits: [None; 2],
            rewrite: None,
            host: None,
            headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            mirrors: Vec::new(),
            max_body: 0,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            request_timeout: None,
            backend_timeout: None,
            retry: None,
            affinity: None,
            is_grpc: false,
        }
    }
}

/// When a backend is asked once more: when it did not answer, or said one of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// What it said.
    pub codes: Vec<StatusCode>,
    /// How often.
    pub attempts: u32,
    /// How long after.
    pub backoff: Duration,
}

/// Who gets a copy of requests.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The service.
    pub backend: Arc<Backend>,
    /// Of how many requests.
    pub numerator: u32,
    /// Of so many.
    pub denominator: u32,
}

/// Who may ask, by name and password.
#[derive(Debug)]
pub struct BasicAuth {
    /// What browsers tell that it is for.
    pub realm: String,
    /// The hash of each user's password, as `htpasswd` writes it; none if the secret is not there.
    pub users: std::collections::HashMap<String, String>,
}

/// What browsers are told of other origins.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Those origins; `*` is every one, and a star in the first label any label.
    pub origins: Vec<String>,
    /// `Access-Control-Allow-Methods`.
    pub methods: Option<HeaderValue>,
    /// `Access-Control-Allow-Headers`.
    pub headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`.
    pub expose: Option<HeaderValue>,
    /// Whether they may have cookies.
    pub credentials: bool,
    /// Whether what a client asks for stands in the place of a star: for browsers that send cookies, a star allows nothing.
    pub echoes: bool,
    /// For how many seconds browsers remember it.
    pub max_age: HeaderValue,
}

/// The cookie by which a client stays with a backend.
#[derive(Clone, Debug)]
pub struct Affinity {
    /// Its name.
    pub cookie: String,
    /// What is behind its value, from `; Path=` on.
    pub attributes: String,
    /// Whether a client stays where it came to when its endpoint could not be reached, instead of trying that one again.
    pub changes_on_failure: bool,
    /// What endpoints are told apart with, so that nobody learns their addresses: the same on each server.
    pub key: ring::hmac::Key,
}
