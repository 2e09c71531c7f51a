//! Health, version and metrics pages.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coracle_api::status::Status;
use http::{Response, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::KUBERNETES_VERSION;
use crate::audit;
use crate::body::Body;
use crate::negotiate;
use crate::request::Query;
use crate::storage::Storage;

const CHECKS: [&str; 4] = ["ping", "log", "etcd", "informer-sync"];

/// The commit of this build, if who builds says it; clients expect hexadecimal digits, and all zeros name no commit.
const COMMIT: &str = match option_env!("CORACLE_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};

/// What `/version` says.
pub fn version() -> Value {
    let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next(), "minor": numbers.next(), "gitVersion": format!("{KUBERNETES_VERSION}+coracle"),
        "gitCommit": COMMIT, "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("linux/{}", match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other }),
    })
}

/// `/healthz`, `/livez` and `/readyz`. The server answers only once its caches are full, so the one check
/// that can fail is `etcd`: the store accepts no writes, or does not answer.
pub fn probe(storage: &Storage, path: &str, query: &Query) -> Result<Response<Body>, Status> {
    let name = path.trim_matches('/');
    let excluded = query.all("exclude");
    let (mut text, mut failed) = (String::new(), false);
    for check in CHECKS {
        if excluded.iter().any(|other| other == check) {
            text += &format!("[+]{check} excluded: ok\n");
        } else if let Some(why) = fails(storage, check) {
            tracing::info!("the check {check} failed: {why}");
            text += &format!("[-]{check} failed: reason withheld\n");
            failed = true;
        } else {
            text += &format!("[+]{check} ok\n");
        }
    }
    Ok(match (failed, query.flag("verbose")) {
        (true, _) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{name} check failed\n")),
        (false, true) => plain(StatusCode::OK, format!("{text}{name} check passed\n")),
        (false, false) => plain(StatusCode::OK, "ok".into()),
    })
}

/// One check by its name; it says why it fails, which the page of all does not.
pub fn probe_one(storage: &Storage, path: &str) -> Result<Response<Body>, Status> {
    let check = path.rsplit('/').next().unwrap_or_default();
    if !CHECKS.contains(&check) {
        return Err(Status::path_not_found());
    }
    Ok(match fails(storage, check) {
        None => plain(StatusCode::OK, "ok".into()),
        Some(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
    })
}

/// Why a check fails, if it does.
fn fails(storage: &Storage, check: &str) -> Option<coracle_store::Error> {
    storage.store.failure().filter(|_| check == "etcd")
}

fn plain(code: StatusCode, text: String) -> Response<Body> {
    negotiate::respond(code, "text/plain; charset=utf-8", text)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    resource: Resource,
    subresource: &'static str,
    code: u16,
}

/// The plural of a kind, or nothing.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Resource(SmolStr);

impl EncodeLabelValue for Resource {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.0.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResourceLabels {
    resource: String,
}

fn latency() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0])
}

/// Counts and durations of requests, named as upstream's.
pub struct Metrics {
    requests: Family<Labels, Counter<u64, AtomicU64>>,
    durations: Family<VerbLabels, Histogram, fn() -> Histogram>,
    /// Of the audit log.
    pub audit: audit::Counts,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: Family::default(),
            durations: Family::new_with_constructor(latency),
            audit: audit::Counts::default(),
        }
    }
}

impl Metrics {
    /// Counts an answered request.
    pub fn count(
        &self,
        verb: &'static str,
        resource: SmolStr,
        subresource: &'static str,
        code: StatusCode,
        took: Duration,
        long_running: bool,
    ) {
        self.requests
            .get_or_create(&Labels { verb, resource: Resource(resource), subresource, code: code.as_u16() })
            .inc();
        if !long_running {
            self.durations.get_or_create(&VerbLabels { verb }).observe(took.as_secs_f64());
        }
    }

    /// The page in the Prometheus text format.
    pub fn text(&self, storage: &Storage) -> Response<Body> {
        let mut registry = Registry::default();
        registry.register(
            "apiserver_request",
            "Requests by verb, resource, subresource and code",
            self.requests.clone(),
        );
        registry.register("apiserver_request_duration_seconds", "Response latency by verb", self.durations.clone());
        self.audit.register(&mut registry);
        let objects = Family::<ResourceLabels, Gauge>::default();
        for cache in storage.caches.all() {
            let resource = match &*cache.kind.group {
                "" => cache.kind.plural.to_string(),
                group => format!("{}.{group}", cache.kind.plural),
            };
            objects.get_or_create(&ResourceLabels { resource }).set(cache.snapshot().len() as i64);
        }
        registry.register("apiserver_storage_objects", "Stored objects by resource", objects);
        let revision = Gauge::<i64>::default();
        revision.set(storage.caches.revision() as i64);
        registry.register("coracle_store_revision", "The newest revision of the store", revision);
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => negotiate::respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", exposition(&text)),
            Err(error) => negotiate::status(&Status::internal(error)),
        }
    }
}

/// A page of OpenMetrics in the Prometheus text format, in which a counter is described by the name that its samples have.
fn exposition(open_metrics: &str) -> String {
    let counters: HashSet<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|start| Some((start, line.strip_prefix(start)?)));
        let _ = match described.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(name) => writeln!(out, "{start}{name}_total {rest}"),
            _ => writeln!(out, "{line}"),
        };
    }
    out
}
