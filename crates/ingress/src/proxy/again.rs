//! Requests that are sent once more: to where the backend is by then, while their route leads there.

use std::sync::Arc;

use http::{HeaderMap, Method, Request};

use crate::backend::Backend;
use crate::entrance::{Door, Tables};
use crate::route::Asked;
use crate::route::action::Target;
use crate::route::path::Path;

/// A request as it came, by which its route is found anew.
pub struct Came<'a> {
    host: &'a str,
    path: &'a Path<'a>,
    method: Method,
    headers: HeaderMap,
    query: Option<String>,
}

impl<'a> Came<'a> {
    /// Of a request to a host and a path.
    pub fn of<B>(host: &'a str, path: &'a Path<'a>, request: &Request<B>) -> Came<'a> {
        Came {
            host,
            path,
            method: request.method().clone(),
            headers: request.headers().clone(),
            query: request.uri().query().map(str::to_owned),
        }
    }

    /// Whether it would be led to this backend if it came now.
    pub fn leads_to(&self, backend: &Arc<Backend>, door: &Door, tables: &Tables) -> bool {
        let Came { host, path, method, headers, query } = self;
        let asked = Asked { host, path, method, headers, query: query.as_deref() };
        let routes = tables.entrances.get(door).and_then(|entrance| entrance.listeners.fitting(host).next());
        let Some(found) = routes.and_then(|routes| routes.find(&asked)) else { return false };
        let Target::Backends(all) = &found.action.target else { return false };
        // A backend stays the same one while routes lead there.
        let is_it = |own: &Arc<Backend>| Arc::ptr_eq(own, backend);
        all.iter().any(|one| one.weight > 0 && one.backend.as_ref().is_some_and(is_it))
    }
}
