//! API aggregation: group versions that other servers answer, as APIServices say. Requests of them pass through here once it
//! is known who makes them and whether they may; what these servers have is told with what this one has.
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>

mod availability;
mod discovery;
mod merge;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::Kind;
use coracle_api::kinds;

use crate::cache::Caches;
use crate::index::{Derived, Index};
use crate::object::Object;
use crate::pki::FrontProxy;

pub(crate) use availability::start;
pub(crate) use discovery::Remotes;
pub(crate) use merge::{groups, open_api_v2, open_api_v3_index};
pub(crate) use remote::Remote;

/// The kind of the objects; it is always there.
fn api_services() -> &'static Arc<Kind> {
    kinds::by_resource("apiregistration.k8s.io", "v1", "apiservices").expect("the kind is in the table")
}

/// Knows who answers which group versions.
pub(crate) struct Aggregator {
    routes: Index<Routes>,
    remotes: ArcSwap<Remotes>,
}

impl Aggregator {
    /// One that shows itself by an identity to the others.
    pub fn new(caches: &Caches, identity: FrontProxy) -> Aggregator {
        let routes = Routes { identity, by_name: BTreeMap::new() };
        let routes = Index::follow(caches, routes, [((), &**api_services())]);
        Aggregator { routes, remotes: ArcSwap::default() }
    }

    /// The server that answers a group version, if it is another one.
    pub fn route(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let routes = self.routes.current();
        if routes.by_name.is_empty() {
            return None;
        }
        routes.by_name.get(&format!("{version}.{group}")).cloned()
    }

    /// All other servers' group versions, and what is known of them.
    pub fn remotes(&self) -> Arc<Remotes> {
        self.remotes.load_full()
    }

    fn all(&self) -> Vec<Arc<Remote>> {
        self.routes.current().by_name.values().cloned().collect()
    }
}

/// The APIServices that name a service.
struct Routes {
    identity: FrontProxy,
    by_name: BTreeMap<String, Arc<Remote>>,
}

impl Derived for Routes {
    type Source = ();

    fn put(&mut self, (): (), key: &str, _: Option<&Object>, now: Option<&Object>) {
        let before = self.by_name.remove(key);
        let Some(remote) = now.and_then(|now| Remote::of(&now.value(), &self.identity.pair, before.as_deref())) else {
            return;
        };
        self.by_name.insert(key.to_owned(), Arc::new(remote));
    }

    fn clear(&mut self, (): ()) {
        self.by_name.clear();
    }
}
