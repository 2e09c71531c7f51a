//! Gives services of type LoadBalancer addresses of a pool. The nodes see to it that these lead to them.
//! <https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer>
//!
//! A service that names another class is left alone. Class, address and sharing are asked for as with MetalLB.

mod pool;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::{Context, is_deleting};
use crate::run::{Cache, Controller};
use pool::{Pool, Request};

/// The class of the services that get addresses here, as those do that name none.
const CLASS: &str = "coracle.io/load-balancer";
/// Keeps a service until its address is free.
const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// How long a service without an address waits, if no other gives one back.
const AGAIN: Duration = Duration::from_secs(60);

struct LoadBalancers {
    services: Informer<Service>,
    client: kube::Client,
    recorder: EventRecorder,
    queue: WorkQueue<ObjectKey>,
    ranges: Vec<ipnet::Ipv4Net>,
    /// Made of what the statuses say when the first service is looked at.
    pool: Mutex<Option<Pool>>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(LoadBalancers {
        services: context.services(),
        recorder: context.recorder("service-controller"),
        ranges: context.config.load_balancer_pool.clone(),
        client: context.client,
        queue: WorkQueue::new(),
        pool: Mutex::new(None),
    });
    let c = controller.clone();
    controller.services.subscribe(move |event| {
        let (Event::Added(service) | Event::Updated { new: service, .. } | Event::Deleted(service)) = event;
        if is_ours(service) || has_finalizer(service) || matches!(event, Event::Deleted(_)) {
            c.queue.add(ObjectKey::of(&**service));
        }
    });
    crate::run::run(controller).await
}

fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS)
    })
}

/// A class that is another's has its own finalizer, or the same one.
fn is_anothers(service: &Service) -> bool {
    let class = service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_deref());
    class.is_some_and(|class| class != CLASS)
}

fn has_finalizer(service: &Service) -> bool {
    service.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Whether who comes by an address of the pool is led anywhere.
fn has_ipv4(service: &Service) -> bool {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    families.is_none_or(|families| families.iter().any(|family| family == "IPv4"))
}

fn addresses(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    ingress.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect()
}

impl Controller for LoadBalancers {
    type Key = ObjectKey;
    /// One at a time, so that no address is given twice.
    const WORKERS: usize = 1;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.services]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(service) = self.services.store().get_key(&key) else {
            self.free(&key);
            return Ok(None);
        };
        let done = if is_ours(&service) && !is_deleting(&*service) {
            self.ensure(&key, &service).await
        } else if has_finalizer(&service) && !is_anothers(&service) {
            self.clean_up(&key, &service).await.map(|()| None)
        } else {
            self.free(&key);
            Ok(None)
        };
        match done {
            Err(error) if is_conflict(&error) || is_not_found(&error) => Ok(Some(Duration::from_millis(20))),
            other => Ok(other?),
        }
    }
}

impl LoadBalancers {
    /// Answers when to look again, where there is no address for it.
    async fn ensure(&self, key: &ObjectKey, service: &Service) -> kube::Result<Option<Duration>> {
        let assigned = self.assign(key, service);
        let address = match assigned {
            Ok(address) => address,
            Err(why) => {
                let text = format!("Error syncing load balancer: failed to ensure load balancer: {why}");
                self.recorder.event(service, EventType::Warning, "SyncLoadBalancerFailed", text);
                // It has no claim to the address that it had.
                if !addresses(service).is_empty() {
                    self.write(service, json!([]), true).await?;
                }
                return Ok(Some(AGAIN));
            }
        };
        let wanted = json!([{"ip": address.to_string(), "ipMode": "VIP"}]);
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let has = ingress.and_then(|balancer| serde_json::to_value(&balancer.ingress).ok());
        if has.as_ref() == Some(&wanted) && has_finalizer(service) {
            return Ok(None);
        }
        self.recorder.event(service, EventType::Normal, "EnsuringLoadBalancer", "Ensuring load balancer".to_owned());
        self.write(service, wanted, true).await?;
        self.recorder.event(service, EventType::Normal, "EnsuredLoadBalancer", "Ensured load balancer".to_owned());
        Ok(None)
    }

    /// Gives a service the address that it asks for or any; what it had and has no longer as it was is for those that wait.
    fn assign(&self, key: &ObjectKey, service: &Service) -> Result<Ipv4Addr, String> {
        let (changed, assigned) = self.with_pool(|pool| {
            let before = pool.of(key);
            let assigned = match Request::of(service) {
                Ok(request) if has_ipv4(service) => pool.assign(key, request),
                Ok(_) => {
                    pool.release(key);
                    Err("no available IPs: the pool is of IPv4, and the service of IPv6 alone".to_owned())
                }
                Err(why) => {
                    pool.release(key);
                    Err(why)
                }
            };
            (before.is_some() && before != pool.of(key), assigned)
        });
        if changed {
            self.wake_waiting();
        }
        assigned
    }

    async fn clean_up(&self, key: &ObjectKey, service: &Service) -> kube::Result<()> {
        self.recorder.event(service, EventType::Normal, "DeletingLoadBalancer", "Deleting load balancer".to_owned());
        self.write(service, Value::Null, false).await?;
        self.free(key);
        self.recorder.event(service, EventType::Normal, "DeletedLoadBalancer", "Deleted load balancer".to_owned());
        Ok(())
    }

    /// Writes addresses and finalizer at once, if the service is still as it was seen.
    async fn write(&self, service: &Service, ingress: Value, finalizer: bool) -> kube::Result<()> {
        let mut finalizers = service.finalizers().to_vec();
        finalizers.retain(|other| other != FINALIZER);
        if finalizer {
            finalizers.push(FINALIZER.to_owned());
        }
        let metadata = json!({"uid": service.metadata.uid, "resourceVersion": service.metadata.resource_version,
            "finalizers": finalizers});
        let patch = json!({"metadata": metadata, "status": {"loadBalancer": {"ingress": ingress}}});
        let namespace = service.namespace().unwrap_or_default();
        let api: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        api.patch_status(&service.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Takes the address of a service back, for those that wait for one.
    fn free(&self, key: &ObjectKey) {
        if self.with_pool(|pool| pool.release(key)) {
            self.wake_waiting();
        }
    }

    fn wake_waiting(&self) {
        let services = self.services.store().list();
        let waiting = services.iter().filter(|service| is_ours(service) && addresses(service).is_empty());
        waiting.for_each(|service| self.queue.add(ObjectKey::of(&**service)));
    }

    fn with_pool<T>(&self, act: impl FnOnce(&mut Pool) -> T) -> T {
        let mut pool = self.pool.lock();
        act(pool.get_or_insert_with(|| {
            let mut pool = Pool::new(self.ranges.clone());
            for service in self.services.store().list().iter().filter(|service| is_ours(service)) {
                if let (Some(address), Ok(request)) = (addresses(service).first(), Request::of(service)) {
                    pool.keep(&ObjectKey::of(&**service), *address, request);
                }
            }
            pool
        }))
    }
}
