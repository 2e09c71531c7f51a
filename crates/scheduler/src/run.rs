//! The scheduler at work: informers in, bindings, events and conditions out.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Cached, Election, Event, Informer, Informers, LeaderElection};
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::SchedulerConfiguration;
use crate::api::Writer;
use crate::config::profile;
use crate::core::{Core, Decision};
use crate::extender::Extenders;
use crate::framework;
use crate::plugins::volumes::Volumes;
use crate::pod::PodInfo;
use crate::preemption::Budget;
use crate::resources::pod_requests;

/// Requests that may be under way at once; beyond it scheduling waits.
const IN_FLIGHT: usize = 256;
/// How many of them have to be answered then before it goes on. One write of the store answers many at once: who went on
/// with the first would be woken for each of the others, and what follows would not be written together.
const ANSWERED: u32 = 64;
/// How long it waits for that: some may take long.
const LONGEST: Duration = Duration::from_millis(20);

/// How the scheduler runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// How several processes compete for the lease.
    pub election: Election,
    /// The name of this process in the lease.
    pub identity: String,
    /// What it does with whose pods.
    pub scheduler: SchedulerConfiguration,
}

/// One change of what the scheduler knows.
type Change = Box<dyn FnOnce(&mut Core) + Send>;

/// What the scheduler is told while it decides. Who tells it never waits for a decision; all of it is taken in before the
/// next one.
#[derive(Default)]
pub(crate) struct Inbox {
    changes: Mutex<Vec<Change>>,
    arrived: Notify,
}

impl Inbox {
    pub fn tell(&self, change: impl FnOnce(&mut Core) + Send + 'static) {
        self.changes.lock().push(Box::new(change));
        self.arrived.notify_one();
    }

    fn take_in(&self, core: &mut Core) {
        let changes = std::mem::take(&mut *self.changes.lock());
        changes.into_iter().for_each(|change| change(core));
    }
}

/// Schedules pods. Returns only when the leader lease was lost.
///
/// # Errors
/// The lease was lost, or a profile cannot be made.
pub fn run(client: Client, config: Config) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(lead(client, config))
}

async fn lead(client: Client, config: Config) -> anyhow::Result<()> {
    if !config.election.elect {
        return schedule(client, config.scheduler).await;
    }
    let name = config.scheduler.lease().to_owned();
    LeaderElection::new(client.clone(), config.election, &name, &config.identity)
        .run(move || async move {
            if let Err(error) = schedule(client, config.scheduler).await {
                tracing::error!("the scheduler ended: {error:#}");
            }
        })
        .await?;
    Ok(())
}

async fn schedule(client: Client, config: SchedulerConfiguration) -> anyhow::Result<()> {
    let informers = Informers::new(client.clone());
    let seed = Timestamp::now().as_nanosecond() as u64;
    let profiles = (0..config.profiles.len()).map(|number| profile(&config, number)).collect::<anyhow::Result<_>>()?;
    let handle = framework::Handle { client: client.clone() };
    let nodes = informers.all::<Node>().store();
    let extenders = Arc::new(Extenders::new(&config.extenders, nodes)?);
    let mut core = Core::new(profiles, config.backoff(), extenders.clone(), Some(handle), seed);
    let inbox: Arc<Inbox> = Arc::default();
    let names = (0..config.profiles.len()).map(|number| config.scheduler_name(number));
    let work = Work {
        writer: Writer::new(client, names, extenders, inbox.clone()),
        budgets: informers.all(),
        inbox: inbox.clone(),
    };
    follow(&informers, &inbox).await;
    let told = inbox.clone();
    let wake = move |actions, claim| told.tell(move |core| core.volumes_changed(actions, claim));
    core.table.volumes = Volumes::follow(&informers, wake).await;
    work.budgets.synced().await;
    on_own_thread(async move { work.run(core).await }).await?;
    Ok(())
}

/// Has the inbox told of everything that decisions hang on, and returns once it was told of all there is.
async fn follow(informers: &Informers, inbox: &Arc<Inbox>) {
    let (pods, nodes) = (informers.all::<Pod>(), informers.all::<Node>());
    let (namespaces, services) = (informers.all::<Namespace>(), informers.all::<Service>());
    subscribe(inbox, &namespaces, |core, event| match event {
        Event::Added(namespace) => core.set_namespace(&namespace.name_any(), Some(namespace.labels().clone())),
        Event::Updated { old, new } if old.labels() != new.labels() => {
            core.set_namespace(&new.name_any(), Some(new.labels().clone()));
        }
        Event::Updated { .. } => {}
        Event::Deleted(namespace) => core.set_namespace(&namespace.name_any(), None),
    });
    subscribe(inbox, &services, |core, event| match event {
        Event::Added(service) | Event::Updated { new: service, .. } => core.set_service(service, true),
        Event::Deleted(service) => core.set_service(service, false),
    });
    subscribe(inbox, &nodes, |core, event| match event {
        Event::Added(node) => core.node_changed(None, node),
        Event::Updated { old, new } => core.node_changed(Some(old), new),
        Event::Deleted(node) => core.node_gone(&node.name_any()),
    });
    subscribe_to_pods(inbox, &pods);
    namespaces.synced().await;
    services.synced().await;
    nodes.synced().await;
    pods.synced().await;
}

fn subscribe<K>(
    inbox: &Arc<Inbox>,
    informer: &Informer<K>,
    handle: impl Fn(&mut Core, &Event<K>) + Send + Sync + 'static,
) where
    K: Cached,
{
    let (inbox, handle) = (inbox.clone(), Arc::new(handle));
    informer.subscribe(move |event| {
        let (handle, event) = (handle.clone(), event.clone());
        inbox.tell(move |core| handle(core, &event));
    });
}

/// Pods are compiled where they are heard of, and not where decisions are made.
fn subscribe_to_pods(inbox: &Arc<Inbox>, pods: &Informer<Pod>) {
    let inbox = inbox.clone();
    let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
    pods.subscribe(move |event| match event {
        Event::Added(pod) => {
            let info = Arc::new(PodInfo::new(pod.clone()));
            inbox.tell(move |core| core.pod_changed(info));
        }
        Event::Updated { old, new } => {
            let replaced = Some(uid(old)).filter(|old| *old != uid(new));
            if replaced.is_none() && !is_relevant(old, new) {
                return;
            }
            let info = Arc::new(PodInfo::new(new.clone()));
            inbox.tell(move |core| {
                replaced.iter().for_each(|old| core.pod_gone(old));
                core.pod_changed(info);
            });
        }
        Event::Deleted(pod) => {
            let uid = uid(pod);
            inbox.tell(move |core| core.pod_gone(&uid));
        }
    });
}

/// Whether a change of a pod means something here. Most changes of one that runs are of its status and do not.
fn is_relevant(old: &Pod, new: &Pod) -> bool {
    fn of<T: PartialEq>(old: &Pod, new: &Pod, field: impl Fn(&Pod) -> T) -> bool {
        field(old) != field(new)
    }
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let status = |pod: &Pod| {
        let status = pod.status.as_ref()?;
        // The reasons of conditions tell of victims and of resizes.
        let reasons = status.conditions.iter().flatten();
        let reasons: Vec<String> = reasons
            .filter(|condition| matches!(condition.type_.as_str(), "DisruptionTarget" | "PodResizePending"))
            .filter_map(|condition| condition.reason.clone())
            .collect();
        Some((status.phase.clone(), status.start_time.clone(), reasons))
    };
    node(new).is_none()
        || of(old, new, node)
        || of(old, new, |pod| pod.metadata.deletion_timestamp.clone())
        || of(old, new, status)
        || old.metadata.labels != new.metadata.labels
        || old.spec != new.spec
        || pod_requests(old) != pod_requests(new)
}

/// Runs a future that computes much on a thread of its own, so that nobody else waits for it, until this one is dropped.
async fn on_own_thread(work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let (runtime, ended) = (Handle::current(), CancellationToken::new());
    let _ends_it = ended.clone().drop_guard();
    let (done, wait) = oneshot::channel();
    let run = move || {
        runtime.block_on(ended.run_until_cancelled_owned(work));
        let _ = done.send(());
    };
    std::thread::Builder::new().name("scheduler".into()).spawn(run)?;
    wait.await.map_err(std::io::Error::other)
}

/// What the scheduler's own thread does.
struct Work {
    writer: Writer,
    budgets: Informer<PodDisruptionBudget>,
    inbox: Arc<Inbox>,
}

impl Work {
    async fn run(&self, mut core: Core) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        loop {
            if in_flight.available_permits() == 0 {
                drop(timeout(LONGEST, in_flight.acquire_many(ANSWERED)).await);
            }
            // The semaphore is never closed.
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            self.inbox.take_in(&mut core);
            let budgets = || self.budgets.store().list().iter().filter_map(|b| Budget::new(b)).collect();
            let decision = core.next(budgets).await;
            core.queue.tell();
            let Some(decision) = decision else {
                drop(permit);
                core.rest();
                match core.queue.next_due() {
                    Some(due) => tokio::select! {
                        () = self.inbox.arrived.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    },
                    None => self.inbox.arrived.notified().await,
                }
                continue;
            };
            let writer = self.writer.clone();
            match decision {
                // What may take minutes holds nobody up.
                Decision::Bind { pod, node, pre_bind, attempt } if !pre_bind.is_empty() => {
                    drop(permit);
                    tokio::spawn(async move { writer.pre_bind(pod, node, pre_bind, attempt).await });
                }
                decision => {
                    tokio::spawn(async move {
                        match decision {
                            Decision::Bind { pod, node, attempt, .. } => writer.bind(&pod, node, attempt).await,
                            Decision::Unfit { pod, message, nomination } => {
                                writer.refuse(&pod, message, nomination).await;
                            }
                            Decision::Failed { pod, message } => writer.fail(&pod, message).await,
                        }
                        drop(permit);
                    });
                }
            }
        }
    }
}
