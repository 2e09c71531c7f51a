//! Liveness, readiness and startup probes.

pub(crate) mod exec;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod tcp;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventRecorder, EventType, later};
use coracle_runtime::cri::RuntimeService;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::metrics::Shared;
use crate::pod::PodExt;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// It passes, but users should know something.
    Warning(String),
    Failure(String),
    /// It could not be made; counts as no result.
    Unknown(String),
}

/// What the worker is told: the probe's verdict changed.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) container_id: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) passed: bool,
}

/// One probe of one running container.
pub(crate) struct Prober {
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: Container,
    pub(crate) container_id: String,
    pub(crate) started_at: i64,
    pub(crate) kind: Kind,
    pub(crate) probe: Probe,
    pub(crate) pod_ip: Option<IpAddr>,
    pub(crate) runtime: Arc<dyn RuntimeService>,
    pub(crate) recorder: EventRecorder,
    pub(crate) metrics: Shared,
    pub(crate) verdicts: mpsc::Sender<Verdict>,
    /// Whether the startup probe has passed.
    pub(crate) started: watch::Receiver<bool>,
}

impl Prober {
    /// Probes until the verdict is final (startup, or a failed liveness) or the task is aborted.
    pub(crate) async fn run(mut self) {
        if self.kind != Kind::Startup && self.started.wait_for(|started| *started).await.is_err() {
            return;
        }
        let seconds = |value: Option<i32>, default: i32| value.filter(|value| *value > 0).unwrap_or(default) as u64;
        let age = (jiff::Timestamp::now().as_nanosecond() - i128::from(self.started_at)).max(0) as u64;
        let delay = Duration::from_secs(seconds(self.probe.initial_delay_seconds, 0));
        tokio::time::sleep(delay.saturating_sub(Duration::from_nanos(age))).await;
        let period = Duration::from_secs(seconds(self.probe.period_seconds, 10));
        let (success, failure) = (seconds(self.probe.success_threshold, 1), seconds(self.probe.failure_threshold, 3));
        let mut run: (bool, u64) = (false, 0);
        let mut verdict: Option<bool> = None;
        let mut next = Instant::now();
        loop {
            if let Some(passed) = self.probe_once().await {
                run = if run.0 == passed { (passed, run.1 + 1) } else { (passed, 1) };
                let enough = run.1 >= if passed { success } else { failure };
                if enough && verdict != Some(passed) {
                    verdict = Some(passed);
                    let message = Verdict {
                        container_id: self.container_id.clone(),
                        name: self.container.name.clone(),
                        kind: self.kind,
                        passed,
                    };
                    if self.verdicts.send(message).await.is_err() {
                        return;
                    }
                    let last = match self.kind {
                        Kind::Startup => true,
                        Kind::Liveness => !passed,
                        Kind::Readiness => false,
                    };
                    if last {
                        return;
                    }
                }
            }
            next = later(next, period).max(Instant::now());
            tokio::time::sleep_until(next).await;
        }
    }

    async fn probe_once(&self) -> Option<bool> {
        let began = std::time::Instant::now();
        let mut outcome = self.attempt().await;
        // One that could not be made is tried again at once, as upstream does.
        for _ in 0..2 {
            if !matches!(outcome, Outcome::Unknown(_)) {
                break;
            }
            outcome = self.attempt().await;
        }
        self.metrics.probes.probed(&self.pod, &self.container.name, self.kind, &outcome, began);
        let kind = self.kind.as_str();
        let event = |reason: &str, message: String| {
            self.recorder.record(
                self.pod.container_reference(&self.container.name),
                EventType::Warning,
                reason,
                message,
            );
        };
        match outcome {
            Outcome::Success => Some(true),
            Outcome::Warning(text) => {
                event("ProbeWarning", format!("{kind} probe warning: {text}"));
                Some(true)
            }
            Outcome::Failure(text) => {
                event("Unhealthy", format!("{kind} probe failed: {text}"));
                Some(false)
            }
            Outcome::Unknown(text) => {
                event("Unhealthy", format!("{kind} probe errored and resulted in unknown state: {text}"));
                None
            }
        }
    }

    async fn attempt(&self) -> Outcome {
        let timeout = Duration::from_secs(self.probe.timeout_seconds.filter(|value| *value > 0).unwrap_or(1) as u64);
        if let Some(action) = &self.probe.exec {
            let command = action.command.clone().unwrap_or_default();
            return exec::probe(&*self.runtime, &self.container_id, command, timeout).await;
        }
        let ip = self.pod_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let host =
            |chosen: &Option<String>| chosen.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| ip.clone());
        if let Some(action) = &self.probe.http_get {
            return match port(&action.port, &self.container) {
                Ok(port) => http::probe(action, &host(&action.host), port, timeout).await,
                Err(error) => Outcome::Unknown(error),
            };
        }
        if let Some(action) = &self.probe.tcp_socket {
            return match port(&action.port, &self.container) {
                Ok(port) => tcp::probe(&host(&action.host), port, timeout).await,
                Err(error) => Outcome::Unknown(error),
            };
        }
        if let Some(action) = &self.probe.grpc {
            let service = action.service.as_deref().unwrap_or_default();
            return match u16::try_from(action.port) {
                Ok(port) => grpc::probe(&ip, port, service, timeout).await,
                Err(_) => Outcome::Unknown(format!("invalid port number: {}", action.port)),
            };
        }
        Outcome::Unknown("missing probe handler".to_owned())
    }
}

/// A port by number or by the name the container gave it.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    match number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0) {
        Some(number) => Ok(number),
        None => match port {
            IntOrString::Int(number) => Err(format!("invalid port number: {number}")),
            IntOrString::String(name) => Err(format!("couldn't find port: {name}")),
        },
    }
}
