//! Calls to the store, by what they do and of which resource the key is.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Instant;

use coracle_api::kinds;
use coracle_metrics::Counter;

use super::METRICS;
use crate::unreadable::ROOT;

/// Groups and resources of the built-in kinds, by where they are stored.
static PLACES: LazyLock<HashMap<&'static str, (&'static str, &'static str)>> = LazyLock::new(|| {
    let all = kinds::built_in().kinds().iter();
    all.map(|kind| (&*kind.storage_prefix, (&*kind.group, &*kind.plural))).collect()
});

/// Counts a call to the store.
pub(crate) async fn of_store<T>(
    operation: &str,
    key: Option<&str>,
    call: impl Future<Output = coracle_store::Result<T>>,
) -> coracle_store::Result<T> {
    let began = Instant::now();
    let answer = call.await;
    let (group, resource) = resource_of(key.unwrap_or_default());
    let labels = [operation, group, resource];
    METRICS.store_calls.with(labels, |duration| duration.observe_since(began));
    METRICS.store_requests.with(labels, Counter::inc);
    if answer.is_err() {
        METRICS.store_errors.with(labels, Counter::inc);
    }
    answer
}

/// Group and resource of a key. Those of custom resources are their place.
fn resource_of(key: &str) -> (&str, &str) {
    let Some(place) = key.strip_prefix(ROOT) else { return ("", "") };
    let first = place.split_once('/').map_or(place, |(first, _)| first);
    let second = place.get(first.len().saturating_add(1)..).unwrap_or_default().split('/').next().unwrap_or_default();
    let both = place.get(..first.len().saturating_add(second.len()).saturating_add(1)).unwrap_or(place);
    match PLACES.get(both).or_else(|| PLACES.get(first)) {
        Some(found) => *found,
        None => (first, second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_of_which_resource_it_is() {
        for (key, expected) in [
            ("/registry/pods/default/a", ("", "pods")),
            ("/registry/services/specs/default/a", ("", "services")),
            ("/registry/deployments/default/a", ("apps", "deployments")),
            ("/registry/minions/a", ("", "nodes")),
            ("/registry/example.com/foos/default/a", ("example.com", "foos")),
            ("/elsewhere", ("", "")),
        ] {
            assert_eq!(resource_of(key), expected, "{key}");
        }
    }
}
