//! API aggregation: group versions that other servers answer, as APIServices say. Requests of them pass through here once it
//! is known who makes them and whether they may; what these servers have is told with what this one has.
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>

mod availability;
mod discovery;
mod merge;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arc_swap::ArcSwap;
use coracle_api::Kind;
use coracle_api::kinds;
use coracle_pki::{Authority, Current, FRONT_PROXY};

use crate::cache::Caches;
use crate::index::{Derived, Index};
use crate::object::Object;

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
    /// Signs what this server shows to the others.
    authority: Authority,
    identity: Arc<Current>,
    routes: Index<Routes>,
    remotes: ArcSwap<Remotes>,
}

impl Aggregator {
    /// One that shows itself to the others by a certificate of an authority for nothing else.
    ///
    /// # Errors
    /// What is kept of the certificate cannot be read.
    pub fn new(caches: &Caches, authority: Authority) -> Result<Aggregator> {
        let identity = Current::empty();
        let routes = Routes { identity: identity.clone(), by_name: BTreeMap::new() };
        let routes = Index::follow(caches, routes, [((), &**api_services())]);
        let aggregator = Aggregator { authority, identity, routes, remotes: ArcSwap::default() };
        aggregator.renew()?;
        Ok(aggregator)
    }

    /// Makes the certificate anew, if it ends soon.
    fn renew(&self) -> Result<()> {
        if self.identity.ends().is_none_or(|ends| Authority::renewal_of(ends).is_zero()) {
            self.identity.replace(&self.authority.client(FRONT_PROXY, FRONT_PROXY, &[])?)?;
        }
        Ok(())
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
    identity: Arc<Current>,
    by_name: BTreeMap<String, Arc<Remote>>,
}

impl Derived for Routes {
    type Source = ();

    fn put(&mut self, (): (), key: &str, _: Option<&Object>, now: Option<&Object>) {
        let before = self.by_name.remove(key);
        let Some(remote) = now.and_then(|now| Remote::of(&now.value(), &self.identity, before.as_deref())) else {
            return;
        };
        self.by_name.insert(key.to_owned(), Arc::new(remote));
    }

    fn clear(&mut self, (): ()) {
        self.by_name.clear();
    }
}
