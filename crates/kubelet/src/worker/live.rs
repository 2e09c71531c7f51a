//! A living pod: what is missing is started.

use coracle_matching::pods::is_terminal;

use super::*;
use crate::pod::{container_hash, grace_seconds};

impl Worker {
    pub(super) fn container(&self, name: &str) -> Option<Container> {
        let ephemeral = || {
            let mut list = self.pod.spec().ephemeral_containers.iter().flatten();
            list.find(|container| container.name == name).map(ephemeral_as_container)
        };
        self.pod.container(name).cloned().or_else(ephemeral)
    }

    /// The pod's grace period; a deletion may have chosen another.
    pub(super) fn grace(&self) -> Duration {
        let chosen = self.pod.metadata.deletion_grace_period_seconds.filter(|_| self.pod.is_deleted());
        let own = Duration::from_secs(grace_seconds(chosen.or(self.pod.spec().termination_grace_period_seconds)));
        self.evicted.map_or(own, |longest| own.min(longest))
    }

    pub(super) fn probe_states(&self) -> HashMap<String, ProbeState> {
        self.probes.iter().map(|(name, probed)| (name.clone(), probed.state)).collect()
    }

    pub(super) fn admit(&mut self) {
        let ended = is_terminal(&self.pod);
        if ended {
            self.finished = true;
            self.ended_before = true;
        }
        if ended || self.pod.is_deleted() || self.gone {
            return self.k.pods.pass(self.pod.uid());
        }
        let k = self.k.clone();
        let node = k.nodes.store().get("", &k.config.node_name);
        let known = self.observed.sandbox.is_some();
        let pod = self.pod.clone();
        let result = k.pods.admit(&pod, |taken| {
            // What ran before a restart of the kubelet is never refused.
            if known {
                return Ok(());
            }
            k.pressure.admit(&pod)?;
            support::admit(&pod)?;
            admission::check(&pod, node.as_deref(), &k.allocatable, taken, k.config.max_pods as usize)
        });
        if let Err((reason, message)) = result {
            let message = format!("Pod was rejected: {message}");
            k.recorder.event(&*pod, EventType::Warning, &reason, message.clone());
            self.failure = Some((reason, message));
            self.finished = true;
        }
    }

    pub(super) fn evict(&mut self, message: String, grace: Duration, by_node: bool) {
        if self.finished || self.gone || self.pod.is_deleted() {
            return;
        }
        self.k.recorder.event(&*self.pod, EventType::Warning, "Evicted", message.clone());
        self.failure = Some(("Evicted".to_owned(), message));
        self.finished = true;
        self.evicted = Some(grace);
        self.disrupted = by_node;
    }

    /// Starts whatever is missing; answers with when to look again.
    pub(super) fn step(&mut self) -> Option<Instant> {
        self.settle_kills();
        let deadline = self.check_deadline();
        let mut wake = vec![deadline, self.volumes.as_ref().and_then(|mounted| mounted.refresh)];
        if self.pod.is_deleted() || self.gone || self.finished {
            self.step_end();
            wake.push(self.ending.retry.at);
        } else {
            self.step_live();
            let steps = [&self.sandbox, &self.mounting, &self.ending, &self.resize.step];
            wake.extend(steps.iter().map(|step| step.retry.at));
            wake.extend(self.not_before.values().map(|at| Some(*at)));
        }
        wake.push(self.step_write());
        let now = Instant::now();
        // What is due already was acted on, or waits for a job that will wake the worker.
        wake.into_iter().flatten().filter(|at| *at > now).min()
    }

    pub(super) fn check_deadline(&mut self) -> Option<Instant> {
        let seconds = self.pod.spec().active_deadline_seconds?;
        if self.finished || self.failure.is_some() {
            return None;
        }
        let age = Timestamp::now().as_second().saturating_sub(self.start_time.as_second());
        if age < seconds {
            return Some(from_now(Duration::from_secs(seconds.saturating_sub(age).max(0) as u64)));
        }
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        self.k.recorder.event(&*self.pod, EventType::Normal, "DeadlineExceeded", message.clone());
        self.failure = Some(("DeadlineExceeded".to_owned(), message));
        self.finished = true;
        None
    }

    pub(super) fn step_live(&mut self) {
        let due = self.volumes.as_ref().and_then(|mounted| mounted.refresh).is_some_and(|at| at <= Instant::now());
        if self.mounting.is_free() && (self.volumes.is_none() || self.volumes_stale || due) {
            self.spawn_volumes();
        }
        let actions: Actions = compute(&self.pod, &self.observed, &self.probe_states());
        if actions.finished && self.starting.is_none() {
            self.finished = true;
            return self.step_end();
        }
        if actions.create_sandbox && self.sandbox.is_free() && self.starting.is_none() {
            self.spawn_sandbox();
        }
        for kill in actions.kill {
            self.replace(&kill.name, &kill.id, kill.message);
        }
        self.step_resize();
        if self.starting.is_some() || self.start_waits_for_resize() {
            return;
        }
        let (Some(mounted), Some(sandbox)) = (self.volumes.clone(), self.observed.sandbox.clone()) else { return };
        for name in actions.start {
            if self.may_start(&name) {
                self.spawn_start(name, sandbox, mounted);
                return;
            }
        }
    }

    /// Whether a container need not wait any longer; else it is marked as waiting.
    pub(super) fn may_start(&mut self, name: &str) -> bool {
        let now = Instant::now();
        if self.not_before.get(name).is_some_and(|at| *at > now) {
            return false;
        }
        let was_waiting = self.not_before.remove(name).is_some();
        if self.observed.latest(name).is_some_and(|status| self.observed.replaced.contains(&status.id)) {
            return true;
        }
        let Some(status) = self.observed.latest(name).filter(|status| status.state == ContainerState::Exited) else {
            return true;
        };
        // A pull or configuration that failed after the exit has its own pause.
        if was_waiting && self.waiting.get(name).is_some_and(|waiting| waiting.reason != "CrashLoopBackOff") {
            return true;
        }
        let nanos = Timestamp::now().as_nanosecond().saturating_sub(i128::from(status.finished_at));
        let since = Duration::from_nanos(nanos.clamp(0, i128::from(u64::MAX)) as u64);
        let key = name.to_owned();
        let Some((delay, left)) = self.backoffs.in_backoff(&key, since) else {
            self.backoffs.next(&key);
            return true;
        };
        let describe = self.pod.describe();
        let message = format!("back-off {} restarting failed container={name} pod={describe}", go_duration(delay));
        let event = format!("Back-off restarting failed container {name} in pod {describe}");
        self.k.recorder.record(self.pod.container_reference(name), EventType::Warning, "BackOff", event);
        self.waiting.insert(key.clone(), Waiting::new("CrashLoopBackOff", message));
        self.not_before.insert(key, from_now(left));
        false
    }

    pub(super) fn spawn_start(&mut self, name: String, sandbox: PodSandbox, mounted: Mounted) {
        let Some(container) = self.container(&name) else { return };
        let attempt = self.observed.latest(&name).map_or(0, |status| status.metadata.attempt.saturating_add(1));
        self.starting = Some(name.clone());
        let (pod, cancel) = (self.pod.clone(), self.cancel.clone());
        let request = Arc::new(Start { pod, container, attempt, sandbox, mounted, cancel });
        let k = self.k.clone();
        self.spawn(
            Concern::Start(name.clone()),
            async move { Done::Started(name, Box::new(start(&k, &request).await)) },
        );
    }

    pub(super) fn post_start(&mut self, name: String, id: String) {
        let Some(container) = self.container(&name) else { return };
        let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()) else {
            return;
        };
        self.starting = Some(name.clone());
        let (k, cancel) = (self.k.clone(), self.cancel.clone());
        let ip = self.pod_ip();
        self.spawn(Concern::Start(name.clone()), async move {
            let result = tokio::select! {
                result = run_hook(&k, &hook, &container, &id, ip) => result,
                () = cancel.cancelled() => Ok(()),
            };
            Done::PostStart(name, id, result)
        });
    }

    pub(super) fn pod_ip(&self) -> Option<std::net::IpAddr> {
        if self.pod.host_network() {
            return Some(self.k.config.node_ip);
        }
        self.observed.sandbox.as_ref()?.ips.first().copied()
    }

    pub(super) fn spawn_volumes(&mut self) {
        self.mounting.busy = true;
        self.volumes_stale = false;
        let (k, pod) = (self.k.clone(), self.pod.clone());
        let ips: Vec<_> = self.observed.sandbox.iter().flat_map(|sandbox| sandbox.ips.clone()).collect();
        let (cancel, node) = (self.cancel.clone(), k.nodes.store().get("", &k.config.node_name));
        self.spawn(Concern::Volumes, async move {
            tokio::select! {
                result = k.volumes.mount(&pod, Facts { pod_ips: &ips, node }) => Done::Volumes(result),
                () = cancel.cancelled() => Done::Volumes(Ok(Mounted::default())),
            }
        });
    }

    pub(super) fn spawn_sandbox(&mut self) {
        self.sandbox.busy = true;
        let old = self.observed.sandbox.clone();
        let attempt = old.as_ref().map_or(0, |sandbox| sandbox.metadata.attempt + 1);
        if old.is_some() {
            self.k.recorder.event(
                &*self.pod,
                EventType::Normal,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
        }
        let config = self.sandbox_config(attempt);
        let (k, pod, cancel) = (self.k.clone(), self.pod.clone(), self.cancel.clone());
        self.spawn(Concern::Sandbox, async move {
            if let Err(refusal) = support::sandbox(&k, &pod).await {
                return Done::Sandbox(Err(refusal));
            }
            if !pod.host_network() {
                let tell = |why| {
                    let message = format!("network is not ready: {why}");
                    k.recorder.event(&*pod, EventType::Warning, "NetworkNotReady", message);
                };
                tokio::select! {
                    () = network::plugin_ready(&k.config, tell) => {}
                    () = cancel.cancelled() => return Done::NoSandbox,
                }
            }
            if let Some(old) = old
                && let Err(error) = k.runtime.stop_pod_sandbox(&old.id).await
            {
                return Done::Sandbox(Err(error.to_string()));
            }
            let result = match k.runtime.run_pod_sandbox(config).await {
                Ok(id) => k.runtime.pod_sandbox_status(&id).await,
                Err(error) => Err(error),
            };
            Done::Sandbox(result.map_err(|error| error.to_string()))
        });
    }

    pub(super) fn sandbox_config(&self, attempt: u32) -> PodSandboxConfig {
        let (pod, config) = (&self.pod, &self.k.config);
        let spec = pod.spec();
        let host = parse_resolv_conf(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default());
        let mut labels = pod.metadata.labels.clone().unwrap_or_default();
        for (key, value) in [("name", pod.name()), ("namespace", pod.namespace()), ("uid", pod.uid())] {
            labels.insert(format!("io.kubernetes.pod.{key}"), value.to_owned());
        }
        let ports =
            spec.containers.iter().chain(pod.init_containers()).flat_map(|container| container.ports.iter().flatten());
        let port_mappings = ports
            .filter(|_| !pod.host_network())
            .filter_map(|port| {
                Some(PortMapping {
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    container_port: u16::try_from(port.container_port).ok()?,
                    host_port: u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?,
                    host_ip: port.host_ip.clone().unwrap_or_default(),
                })
            })
            .collect();
        let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
        annotations.insert(ALLOCATION.to_owned(), self.resize.allocation.annotation());
        let context = spec.security_context.as_ref();
        let sysctls = context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
        PodSandboxConfig {
            metadata: PodSandboxMetadata {
                name: pod.name().into(),
                uid: pod.uid().into(),
                namespace: pod.namespace().into(),
                attempt,
            },
            hostname: sandbox_hostname(pod, &config.cluster_domain),
            log_directory: self.k.log_dir(pod.namespace(), pod.name(), pod.uid()).to_string_lossy().into_owned(),
            dns_config: Some(pod_dns(pod, &config.cluster_dns, &config.cluster_domain, host)),
            port_mappings,
            labels,
            annotations,
            namespaces: coracle_runtime::cri::NamespaceOptions {
                host_network: pod.host_network(),
                host_pid: spec.host_pid.unwrap_or(false),
                host_ipc: spec.host_ipc.unwrap_or(false),
                shared_pid: spec.share_process_namespace.unwrap_or(false),
            },
            cgroup_parent: cgroup_parent(pod),
            resources: pod_resources(pod),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
        }
    }

    /// Ends a container so that another takes its place, whatever the restart policy.
    pub(super) fn replace(&mut self, name: &str, id: &str, message: String) {
        self.observed.replaced.insert(id.to_owned());
        self.kill(name, id, self.grace(), message);
    }

    /// What is new of a container does not wait for how the old one failed.
    pub(super) fn forgive(&mut self, new: &Pod) {
        let hash_of = |pod: &Pod, name: &str| pod.container(name).map(container_hash);
        for name in self.waiting.keys().chain(self.not_before.keys()) {
            if hash_of(&self.wanted, name) != hash_of(new, name) {
                self.backoffs.forget(name);
            }
        }
        self.not_before.retain(|name, _| hash_of(&self.wanted, name) == hash_of(new, name));
    }

    /// Ends a container; one that is ending already goes on as it is.
    pub(super) fn kill(&mut self, name: &str, id: &str, grace: Duration, message: String) {
        if self.killing.contains_key(id) {
            return;
        }
        self.killing.insert(id.to_owned(), Killing { jobs: 1, failed: false, grace });
        let (k, pod, name, id) = (self.k.clone(), self.pod.clone(), name.to_owned(), id.to_owned());
        let ip = self.observed.ip();
        self.spawn(Concern::Kill(id.clone()), async move {
            let result = kill_container(&k, &pod, &name, &id, ip, grace, &message).await;
            Done::Killed(id, result)
        });
    }

    /// Stops a container whose hook has run, or is not waited for any longer.
    pub(super) fn spawn_stop(&mut self, id: &str, grace: Duration) {
        let killing = self.killing.entry(id.to_owned()).or_default();
        *killing = Killing { jobs: killing.jobs + 1, failed: false, grace };
        let (k, id) = (self.k.clone(), id.to_owned());
        self.spawn(Concern::Kill(id.clone()), async move {
            let result = stop_container(&k, &id, grace).await;
            Done::Killed(id, result)
        });
    }

    pub(super) fn watch_container(&mut self, name: &str, id: &str, started_at: i64) {
        if self.probes.get(name).is_some_and(|probed| probed.container_id == id) {
            return;
        }
        let Some(container) = self.container(name) else { return };
        let started = watch::Sender::new(false);
        // What an earlier process found of it counts until a probe says otherwise.
        let state = self.found_before(id);
        let mut probed = Probed {
            container_id: id.to_owned(),
            state,
            has_readiness: container.readiness_probe.is_some(),
            has_startup: container.startup_probe.is_some(),
            hook_done: true,
            startup_done: state.started,
            started,
            tasks: Vec::new(),
        };
        if container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some()) {
            let age = Timestamp::now().as_nanosecond() - i128::from(started_at);
            // One that was found running had its hook before.
            let is_found = self.wrote && age > 10_000_000_000 && self.born.elapsed() < Duration::from_secs(5);
            probed.hook_done = state.started || is_found;
        }
        let probes = [
            (Kind::Startup, &container.startup_probe),
            (Kind::Liveness, &container.liveness_probe),
            (Kind::Readiness, &container.readiness_probe),
        ];
        for (kind, probe) in probes {
            let Some(probe) = probe.clone().filter(|_| kind != Kind::Startup || !state.started) else { continue };
            let prober = Prober {
                pod: self.pod.clone(),
                container: container.clone(),
                container_id: id.to_owned(),
                started_at,
                kind,
                probe,
                pod_ip: self.pod_ip(),
                runtime: self.k.runtime.clone(),
                recorder: self.k.recorder.clone(),
                metrics: self.k.metrics.clone(),
                verdicts: self.verdicts.0.clone(),
                started: probed.started.subscribe(),
            };
            probed.tasks.push((kind, tokio::spawn(prober.run()).abort_handle()));
        }
        self.probes.insert(name.to_owned(), probed);
        self.update_started(name);
    }

    /// What the pod's status says of a container.
    fn found_before(&self, id: &str) -> ProbeState {
        let (id, last) = (container_id(id), &self.last);
        let all = [&last.container_statuses, &last.init_container_statuses, &last.ephemeral_container_statuses];
        let found = all.into_iter().flatten().flatten().find(|status| status.container_id.as_ref() == Some(&id));
        found.map_or_else(ProbeState::default, |status| ProbeState {
            started: status.started == Some(true),
            ready: status.ready,
        })
    }

    pub(super) fn update_started(&mut self, name: &str) {
        if let Some(probed) = self.probes.get_mut(name) {
            let started = probed.hook_done && (probed.startup_done || !probed.has_startup);
            probed.state.started = started;
            if !probed.has_readiness {
                probed.state.ready = started;
            }
            probed.started.send_replace(started);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_grace_period_is_a_second() {
        assert_eq!([None, Some(0), Some(7), Some(-1), Some(i64::MIN)].map(grace_seconds), [30, 0, 7, 1, 1]);
    }
}
