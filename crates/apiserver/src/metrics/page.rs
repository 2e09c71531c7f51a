//! The pages for Prometheus.

use std::fmt::Write as _;

use coracle_metrics::{API_SERVER, CONTROLLERS, Page, Registry, SCHEDULER, SHARED, process};
use coracle_store::Store;
use http::{Response, StatusCode};

use super::{features, number};
use crate::body::Body;
use crate::cache::Cache;
use crate::health;
use crate::negotiate;
use crate::state::State;

/// Which parts of the process the metrics at a socket are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All of them, as there is one process.
    All,
    /// The scheduler.
    Scheduler,
    /// The controllers.
    Controllers,
}

impl Pages {
    /// Whether there is something at a path. Where only a part is told of, there are its metrics and its health.
    pub(crate) fn has(self, path: &str) -> bool {
        self == Pages::All || matches!(path.trim_end_matches('/'), "/metrics" | "/healthz" | "/livez" | "/readyz")
    }

    fn registries(self) -> Vec<&'static Registry> {
        match self {
            Pages::All => vec![&API_SERVER, &SCHEDULER, &CONTROLLERS, &SHARED],
            Pages::Scheduler => vec![&SCHEDULER, &SHARED],
            Pages::Controllers => vec![&CONTROLLERS, &SHARED],
        }
    }
}

/// The page in the Prometheus text format.
pub(crate) async fn page(state: &State, pages: Pages) -> Response<Body> {
    let mut page = Page::default();
    pages.registries().iter().for_each(|registry| registry.write(&mut page));
    if pages == Pages::All {
        state.audit.write(&mut page);
        caches(state, &mut page);
        size(&*state.objects.storage.store, &mut page).await;
    }
    build(&mut page);
    features::show(&mut page);
    process(&mut page);
    negotiate::respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page.into_text())
}

/// What every cache tells of itself.
type Told = fn(&Cache) -> u64;

/// What the caches hold, of which all that is stored can be told.
fn caches(state: &State, page: &mut Page) {
    let storage = &state.objects.storage;
    let caches = storage.caches.all();
    let name = "apiserver_storage_objects";
    page.family(name, "gauge", "Stored objects by resource");
    let mut resource = String::new();
    for cache in &caches {
        resource.clear();
        let dot = if cache.kind.group.is_empty() { "" } else { "." };
        let _ = write!(resource, "{}{dot}{}", cache.kind.plural, cache.kind.group);
        page.sample(name, &[("resource", &resource)], cache.snapshot().len());
    }
    let families: [(&str, &str, &str, Told); 4] = [
        ("apiserver_resource_objects", "gauge", "Stored objects by group and resource", |c| c.snapshot().len() as u64),
        ("apiserver_watch_cache_events_received_total", "counter", "Changes that the store told", Cache::received),
        ("apiserver_watch_cache_resource_version", "gauge", "The revision of the last change", Cache::last),
        ("apiserver_watch_cache_capacity", "gauge", "Changes that are kept at most", |_| Cache::capacity()),
    ];
    for (name, kind, help, told) in families {
        page.family(name, kind, help);
        for cache in &caches {
            page.sample(name, &[("group", &cache.kind.group), ("resource", &cache.kind.plural)], told(cache));
        }
    }
    number(page, "coracle_store_revision", "The newest revision of the store", &[], storage.caches.revision());
}

/// How much room the store takes. One that does not say is left out.
async fn size(store: &dyn Store, page: &mut Page) {
    match store.size().await {
        Ok(Some(size)) => {
            let (name, help) = ("apiserver_storage_size_bytes", "Bytes on disk of what is stored");
            number(page, name, help, &[("storage_cluster_id", "")], size);
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "the store does not say how large it is"),
    }
}

/// Which version this is.
fn build(page: &mut Page) {
    let version = health::version();
    let of = |field: &str| version[field].as_str().unwrap_or_default().to_owned();
    let labels = [
        ("build_date", of("buildDate")),
        ("compiler", of("compiler")),
        ("git_commit", of("gitCommit")),
        ("git_tree_state", of("gitTreeState")),
        ("git_version", of("gitVersion")),
        ("go_version", of("goVersion")),
        ("major", of("major")),
        ("minor", of("minor")),
        ("platform", of("platform")),
    ];
    let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
    number(page, "kubernetes_build_info", "Always 1; the labels say what was built", &labels, 1);
}
