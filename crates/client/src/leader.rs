//! Leader election over a Lease, compatible with client-go's.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coracle_metrics::Gauge;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::Instant;

use crate::backoff::random_unit;
use crate::metrics::METRICS;

/// The lease was lost or could not be renewed in time: the caller must stop what only a leader does.
#[derive(Debug, thiserror::Error)]
#[error("lost the lease {0}")]
pub struct LeadershipLost(pub String);

/// Whether processes compete for a Lease, where it is, and how patient they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Whether they do.
    pub elect: bool,
    /// The namespace of the lease.
    pub namespace: String,
    /// How long others wait before they take an expired lease.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// The pause between tries.
    pub retry_period: Duration,
}

/// Without a competition; with Kubernetes' usual times: 15 s, 10 s and 2 s.
impl Default for Election {
    fn default() -> Election {
        Election {
            elect: false,
            namespace: "kube-system".into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Times by which a leader could not give up its lease before others may take it.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidElection {
    /// Which time, as upstream's configuration names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Election {
    /// Looks whether the times fit each other.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), InvalidElection> {
        let Election { lease_duration: lease, renew_deadline: renew, retry_period: retry, .. } = *self;
        let ensure = |field, is_well: bool, time: Duration, rule: &str| match is_well {
            true => Ok(()),
            false => Err(InvalidElection { field, message: format!("{time:?} {rule}") }),
        };
        for (field, time) in [("leaseDuration", lease), ("renewDeadline", renew), ("retryPeriod", retry)] {
            ensure(field, !time.is_zero(), time, "must be greater than zero")?;
        }
        // What is written in the lease is whole seconds.
        ensure("leaseDuration", lease.as_secs() > 0, lease, "must be at least a second")?;
        ensure("leaseDuration", lease > renew, lease, "must be greater than renewDeadline")?;
        ensure("renewDeadline", renew > retry.mul_f64(1.2), renew, "must be greater than 1.2 times retryPeriod")
    }
}

/// One candidate for a Lease.
#[derive(Clone)]
pub struct LeaderElection {
    client: Client,
    name: String,
    identity: String,
    election: Election,
}

/// The lease as last seen, and when by our clock: other machines' clocks are never compared with ours.
#[derive(Default)]
struct Observed {
    lease: Option<Lease>,
    at: Option<Instant>,
}

impl LeaderElection {
    /// A candidate for the lease of this name.
    pub fn new(client: Client, election: Election, name: &str, identity: &str) -> LeaderElection {
        LeaderElection { client, name: name.into(), identity: identity.into(), election }
    }

    /// Waits for the lease, then runs `lead` while renewing it. Returns what `lead` returned (the lease is then
    /// given up), or [`LeadershipLost`], in which case `lead` was dropped where it stood.
    pub async fn run<F, Fut>(&self, lead: F) -> Result<Fut::Output, LeadershipLost>
    where
        F: FnOnce() -> Fut,
        Fut: Future,
    {
        let mut observed = Observed::default();
        METRICS.leading.with([&self.name], |gauge| gauge.set(0));
        while !self.attempt(&mut observed).await {
            tokio::time::sleep(self.election.retry_period.mul_f64(1.0 + 1.2 * random_unit())).await;
        }
        tracing::info!(lease = %self.name, identity = %self.identity, "became leader");
        let _leading = Leading::of(&self.name);
        let lead = std::pin::pin!(lead());
        tokio::select! {
            output = lead => {
                self.release(&mut observed).await;
                Ok(output)
            }
            () = self.renew(&mut observed) => Err(LeadershipLost(format!("{}/{}", self.election.namespace, self.name))),
        }
    }

    /// Returns once the lease could not be renewed in time.
    async fn renew(&self, observed: &mut Observed) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.election.retry_period).await;
            let left = self.election.renew_deadline.saturating_sub(renewed.elapsed());
            if tokio::time::timeout(left, self.attempt(observed)).await.unwrap_or(false) {
                renewed = Instant::now();
            } else if renewed.elapsed() >= self.election.renew_deadline {
                return;
            }
        }
    }

    /// Tries once to take or renew the lease.
    async fn attempt(&self, observed: &mut Observed) -> bool {
        match self.try_acquire(observed).await {
            Ok(held) => held,
            Err(error) => {
                tracing::debug!(lease = %self.name, %error, "could not take or renew the lease");
                // What is cached may be stale; the next try reads.
                if let Some(lease) = &mut observed.lease {
                    lease.metadata.resource_version = None;
                }
                false
            }
        }
    }

    async fn try_acquire(&self, observed: &mut Observed) -> kube::Result<bool> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.election.namespace);
        // While we lead and nobody interfered, the cached lease is enough for an update.
        let cached =
            observed.lease.as_ref().filter(|lease| self.holds(lease) && lease.metadata.resource_version.is_some());
        let current = match cached {
            Some(lease) => Some(lease.clone()),
            None => api.get_opt(&self.name).await?,
        };
        let Some(current) = current else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    namespace: Some(self.election.namespace.clone()),
                    ..Default::default()
                },
                spec: Some(self.spec(None)),
            };
            observed.see(api.create(&PostParams::default(), &lease).await?);
            return Ok(true);
        };
        observed.see(current.clone());
        let spec = current.spec.clone().unwrap_or_default();
        let held_by_other =
            spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty() && holder != self.identity);
        let duration = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0) as u64);
        if held_by_other && observed.at.is_some_and(|at| at.elapsed() < duration) {
            return Ok(false);
        }
        let mut lease = current;
        lease.spec = Some(self.spec(Some(spec)));
        observed.see(api.replace(&self.name, &PostParams::default(), &lease).await?);
        Ok(true)
    }

    async fn release(&self, observed: &mut Observed) {
        let Some(mut lease) = observed.lease.take().filter(|lease| self.holds(lease)) else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.election.namespace);
        if let Err(error) = api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::debug!(lease = %self.name, %error, "could not give up the lease; it expires by itself");
        }
    }

    fn holds(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(self.identity.as_str())
    }

    fn spec(&self, old: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let old = old.unwrap_or_default();
        let same = old.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = old.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.election.lease_duration.as_secs() as i32),
            acquire_time: if same { old.acquire_time.or(Some(now.clone())) } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if same || old.holder_identity.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..old
        }
    }
}

/// Tells the metrics that a lease is held.
struct Leading(Arc<Gauge>);

impl Leading {
    fn of(lease: &str) -> Leading {
        let gauge = METRICS.leading.get([lease]);
        gauge.set(1);
        Leading(gauge)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl Observed {
    fn see(&mut self, lease: Lease) {
        if self.lease.as_ref().map(|seen| &seen.spec) != Some(&lease.spec) {
            self.at = Some(Instant::now());
        }
        self.lease = Some(lease);
    }
}
