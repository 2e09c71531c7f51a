//! The EndpointSlices of one manager: what the cache has, with what was written and is not in the cache yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use coracle_client::{Event, Informer, ObjectKey, is_not_found};
use coracle_metrics::{Counter, Family, Showing};
use futures::future::BoxFuture;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use super::slice::*;
use super::*;
use crate::metrics::METRICS;
use crate::run::Cache;

/// A slice as this controller last wrote it; `None` when it deleted it.
type Written = HashMap<String, Option<Arc<EndpointSlice>>>;

/// The informer of slices, indexed by service.
pub(crate) fn informer(context: &Context) -> Informer<EndpointSlice> {
    context.informers.indexed(vec![(
        "service",
        Box::new(|slice: &EndpointSlice| service_of(slice).map(|key| key.to_string()).into_iter().collect()),
    )])
}

/// The service that a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.labels().get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    Some(ObjectKey::new(namespace_of(slice), name.as_str()))
}

fn version(slice: &EndpointSlice) -> u64 {
    slice.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// How many slices there are, how few would do for what is in them, and how many endpoints that is.
fn counted<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> [usize; 3] {
    let (mut count, mut alike) = (0_usize, HashMap::<_, usize>::new());
    for slice in slices {
        count = count.saturating_add(1);
        let of = (service_of(slice), slice.address_type.as_str(), port_keys(slice.ports.as_deref()));
        let endpoints = alike.entry(of).or_default();
        *endpoints = endpoints.saturating_add(slice.endpoints.len());
    }
    let fewest = alike.values().map(|endpoints| endpoints.div_ceil(MAX_ENDPOINTS).max(1)).sum();
    [count, fewest, alike.values().sum()]
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Slices {
    client: Client,
    informer: Informer<EndpointSlice>,
    manager: &'static str,
    changes: Arc<Family<Counter, 1>>,
    /// What was written and is not in the cache yet, by service. It lets the next change be planned at once.
    written: Arc<Mutex<HashMap<ObjectKey, Written>>>,
}

impl Cache for Slices {
    fn filled(&self) -> BoxFuture<'_, ()> {
        self.informer.filled()
    }
}

impl Slices {
    /// The slices that `manager` looks after; their changes are counted there.
    pub fn new(context: &Context, manager: &'static str, changes: &Arc<Family<Counter, 1>>) -> Slices {
        let (client, informer) = (context.client.clone(), informer(context));
        Slices { client, informer, manager, changes: changes.clone(), written: Arc::default() }
    }

    /// Calls `queue` with every service whose slices someone else changed.
    pub fn subscribe(&self, queue: impl Fn(ObjectKey) + Send + Sync + 'static) {
        let slices = self.clone();
        self.informer.subscribe(move |event| {
            slices.changed(event).into_iter().for_each(&queue);
        });
    }

    /// Drops what was written lately: only the cache counts.
    pub fn forget(&self, key: &ObjectKey) {
        self.written.lock().remove(key);
    }

    /// Shows how many of them there are, and how many endpoints they have.
    pub fn show(&self) -> Showing {
        let slices = self.clone();
        METRICS.show_slices(move || {
            let all = slices.informer.store().list();
            let mine = all.iter().filter(|slice| slices.is_mine(slice));
            counted(mine.map(|slice| &**slice))
        })
    }

    fn is_mine(&self, slice: &EndpointSlice) -> bool {
        slice.labels().get(MANAGED_BY).is_some_and(|manager| manager == self.manager)
    }

    /// The service to bring up to date after a change that is not the echo of a write.
    fn changed(&self, event: &Event<EndpointSlice>) -> Option<ObjectKey> {
        let (Event::Added(slice) | Event::Updated { new: slice, .. } | Event::Deleted(slice)) = event;
        let before = match event {
            Event::Updated { old, .. } => service_of(old).filter(|_| self.is_mine(old)),
            _ => None,
        };
        let key = service_of(slice).filter(|_| self.is_mine(slice)).or(before)?;
        let mut written = self.written.lock();
        let mine = written.get_mut(&key);
        let name = slice.name_any();
        let expected = match mine {
            None => false,
            Some(mine) => {
                let caught_up = match (event, mine.get(&name)) {
                    (Event::Deleted(_), Some(last)) => {
                        let expected = last.is_none();
                        mine.remove(&name);
                        expected
                    }
                    (_, Some(Some(last))) if version(slice) >= version(last) => {
                        let expected = version(slice) == version(last);
                        mine.remove(&name);
                        expected
                    }
                    // An older state than the one written.
                    (_, Some(_)) => true,
                    (_, None) => false,
                };
                if mine.is_empty() {
                    written.remove(&key);
                }
                caught_up
            }
        };
        (!expected).then_some(key)
    }

    /// The service's slices: the cache, with what was written since.
    pub fn current(&self, key: &ObjectKey) -> kube::Result<Vec<Arc<EndpointSlice>>> {
        let cached = self.informer.store().by_index("service", &key.to_string())?;
        let mut slices: BTreeMap<String, Arc<EndpointSlice>> =
            cached.into_iter().filter(|slice| self.is_mine(slice)).map(|slice| (slice.name_any(), slice)).collect();
        for (name, last) in self.written.lock().get(key).into_iter().flatten() {
            match last {
                None => {
                    slices.remove(name);
                }
                Some(last) if slices.get(name).is_none_or(|cached| version(cached) < version(last)) => {
                    slices.insert(name.clone(), last.clone());
                }
                Some(_) => {}
            }
        }
        Ok(slices.into_values().filter(|slice| !is_deleting(&**slice)).collect())
    }

    fn note(&self, key: &ObjectKey, name: String, slice: Option<EndpointSlice>) {
        // The watch may have been faster than the answer.
        let cached = self.informer.store().get(&key.namespace, &name);
        let seen = match &slice {
            Some(slice) => cached.is_some_and(|cached| version(&cached) >= version(slice)),
            None => cached.is_none(),
        };
        if !seen {
            self.written.lock().entry(key.clone()).or_default().insert(name, slice.map(Arc::new));
        }
    }

    /// Makes changes; `trigger` is when what led to them happened.
    ///
    /// # Errors
    /// The first write that was refused; those before it are made.
    pub async fn write(&self, key: &ObjectKey, changes: Changes, trigger: Option<Timestamp>) -> kube::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let annotate = |slice: &mut EndpointSlice| {
            let annotations = slice.metadata.annotations.get_or_insert_default();
            match trigger {
                Some(time) => annotations.insert(TRIGGER_TIME.into(), time.to_string()),
                None => annotations.remove(TRIGGER_TIME),
            };
        };
        for mut slice in changes.create {
            annotate(&mut slice);
            let made = api.create(&PostParams::default(), &slice).await?;
            self.changes.with(["create"], Counter::inc);
            self.note(key, made.name_any(), Some(made));
        }
        for mut slice in changes.update {
            annotate(&mut slice);
            let name = slice.name_any();
            let updated = api.replace(&name, &PostParams::default(), &slice).await?;
            self.changes.with(["update"], Counter::inc);
            self.note(key, name, Some(updated));
        }
        for slice in changes.delete {
            let name = slice.name_any();
            match api.delete(&name, &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) => return Err(error),
                _ => self.note(key, name, None),
            }
            self.changes.with(["delete"], Counter::inc);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_few_slices_would_do_is_counted_by_service_family_and_ports() {
        let slice = |service: &str, port: i32, count: usize| -> EndpointSlice {
            let endpoints = vec![json!({"addresses": ["10.0.0.1"]}); count];
            serde_json::from_value(json!({"addressType": "IPv4", "ports": [{"port": port}], "endpoints": endpoints,
                "metadata": {"name": "s", "namespace": "n", "labels": {SERVICE_NAME: service}}}))
            .unwrap()
        };
        let all = [
            slice("a", 1, 60),
            slice("a", 1, 41),
            slice("a", 2, 1),
            slice("b", 1, 0),
            slice("c", 1, 9),
            slice("c", 1, 9),
        ];
        assert_eq!(counted(all.iter()), [6, 5, 120]);
    }
}
