//! Which pod goes first, and what it is told.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::quantity::Quantity;
use coracle_matching::pods::requests;
use k8s_openapi::api::core::v1::Pod;

use super::thresholds::{Observations, Threshold};
use crate::pod::PodExt;
use crate::quantity::value;
use crate::resources::request;
use crate::stats::PodUsage;
use crate::stats::disk::PodDisk;
use crate::stats::volumes::Place;

/// A pod with what it uses.
pub(super) struct Candidate {
    pub(super) usage: PodUsage,
    /// Nothing where nobody could count it in time.
    pub(super) disk: Option<Arc<PodDisk>>,
}

/// Whether directories that were made for claims count as asked for: they do while the disk can have them all, as what was
/// claimed is then there. Where more was claimed than the disk has, none does, or nobody who fills it would ever go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promises {
    Kept,
    Broken,
}

impl Promises {
    /// By what all pods have claimed of a disk of so many bytes.
    pub(super) fn of<'a>(disks: impl Iterator<Item = &'a Arc<PodDisk>>, capacity: u64) -> Promises {
        let volumes = disks.flat_map(|disk| &disk.volumes);
        let rooms = volumes.filter_map(|volume| match (volume.place, &volume.claim) {
            (Place::Claimed(room), Some(claim)) => Some((claim.volume.as_str(), room)),
            _ => None,
        });
        // Several pods may have one volume.
        let rooms: HashMap<&str, u64> = rooms.collect();
        let sum = rooms.values().copied().fold(0, u64::saturating_add);
        if sum <= capacity { Promises::Kept } else { Promises::Broken }
    }
}

impl Candidate {
    pub(super) fn pod(&self) -> &Pod {
        &self.usage.pod
    }

    /// How much of a resource it uses; `None` when nobody knows. What it claimed is on the disk too.
    fn used(&self, resource: &str) -> Option<u64> {
        match resource {
            "memory" => self.usage.sandbox.as_ref().map(|stats| stats.memory.working_set_bytes),
            "pids" => self.usage.sandbox.as_ref().map(|stats| stats.process_count),
            "inodes" => self.disk.as_ref().map(|disk| disk.inodes().saturating_add(disk.claimed().1)),
            _ => self.disk.as_ref().map(|disk| disk.bytes().saturating_add(disk.claimed().0)),
        }
    }

    /// How much of it it asked for.
    fn requested(&self, resource: &str, promises: Promises) -> u64 {
        let own = u64::try_from(requests(self.pod()).named(resource)).unwrap_or(0);
        let rooms = match promises {
            Promises::Kept if resource == "ephemeral-storage" => self.rooms(),
            _ => 0,
        };
        own.saturating_add(rooms)
    }

    /// Bytes that it claimed of the node's disk.
    fn rooms(&self) -> u64 {
        let volumes = self.disk.iter().flat_map(|disk| &disk.volumes);
        let rooms = volumes.map(|volume| if let Place::Claimed(room) = volume.place { room } else { 0 });
        rooms.fold(0, u64::saturating_add)
    }
}

/// Those that use more than they asked for come first, then those of lower priority, then those that are furthest
/// beyond what they asked for. Of those that nobody knows anything of nothing good is to be expected.
pub(super) fn sort(candidates: &mut [Candidate], resource: &str, promises: Promises) {
    candidates.sort_by_cached_key(|candidate| {
        let (used, requested) = (candidate.used(resource), candidate.requested(resource, promises));
        let priority = candidate.pod().spec().priority.unwrap_or(0);
        // Nobody asks for processes.
        let exceeds = resource != "pids" && used.is_none_or(|used| used > requested);
        let beyond = used.map_or(i128::MAX, |used| i128::from(used).saturating_sub(i128::from(requested)));
        (!exceeds, priority, Reverse(beyond))
    });
}

/// The message of an evicted pod.
pub(super) fn message(candidate: &Candidate, threshold: &Threshold, seen: &Observations) -> String {
    let resource = threshold.signal.resource();
    let mut message = format!("The node was low on resource: {resource}. ");
    if let Some(seen) = seen.get(&threshold.signal) {
        let (limit, available) = (text(threshold.amount.of(seen.capacity)), text(seen.available));
        message.push_str(&format!("Threshold quantity: {limit}, available: {available}. "));
    }
    let usage = &candidate.usage;
    let containers = candidate.pod().spec().containers.iter().chain(candidate.pod().init_containers());
    for container in containers {
        let found = usage.containers.iter().find(|known| known.status.metadata.name == container.name);
        let used = match resource {
            "memory" => found.map(|found| found.stats.memory.working_set_bytes),
            "ephemeral-storage" => {
                let disk = candidate.disk.as_ref().and_then(|disk| disk.containers.get(&container.name));
                disk.map(|disk| disk.bytes())
            }
            _ => None,
        };
        let requested = request(container, resource);
        let least = requested.map_or(0, value).max(0) as u64;
        if let Some(used) = used.filter(|used| *used > least) {
            let requested = requested.map_or("0", |quantity| quantity.0.as_str());
            message.push_str(&format!(
                "Container {} was using {}, request is {requested}, has larger consumption of {resource}. ",
                container.name,
                text(used)
            ));
        }
    }
    message
}

/// A number of bytes as Kubernetes writes it.
fn text(amount: u64) -> String {
    Quantity::from_bytes(i64::try_from(amount).unwrap_or(i64::MAX)).to_string()
}

/// Whether a pod is never evicted: one of the priorities that the system itself has, which admission gives out. What a pod's
/// annotations say anybody may write, and this kubelet has no pods but those of the API.
/// <https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/>
pub(crate) fn is_critical(pod: &Pod) -> bool {
    pod.spec().priority.is_some_and(|priority| priority >= 2_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::config::{Amount, Signal};
    use super::super::thresholds::Observation;
    use super::*;
    use crate::stats::ContainerUsage;
    use crate::stats::disk::ContainerDisk;
    use crate::stats::volumes::VolumeUsage;
    use crate::testing::container_status;
    use crate::volumes::kind::Usage;
    use crate::volumes::state::Claim;
    use coracle_runtime::cri::{ContainerState, ContainerStats, FilesystemUsage, MemoryUsage};
    use serde_json::json;

    fn stats(memory: u64, processes: u64) -> ContainerStats {
        let memory = MemoryUsage { working_set_bytes: memory, ..Default::default() };
        ContainerStats { memory, process_count: processes, ..Default::default() }
    }

    fn candidate(name: &str, priority: i32, request: &str, memory: u64, processes: u64) -> Candidate {
        let resources = json!({"requests": {"memory": request, "ephemeral-storage": request}});
        let spec = json!({"priority": priority, "containers": [{"name": "c", "resources": resources}]});
        let pod = serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec})).unwrap();
        let status = container_status(name, "c", 0, ContainerState::Running, 0);
        let containers = vec![ContainerUsage { status, stats: stats(memory, processes) }];
        let rootfs = FilesystemUsage { used_bytes: memory, inodes_used: processes };
        let disk = PodDisk {
            containers: [("c".to_owned(), ContainerDisk { rootfs, logs: Default::default() })].into(),
            ..Default::default()
        };
        let usage =
            PodUsage { pod: Arc::new(pod), sandbox: Some(stats(memory, processes)), sandbox_id: None, containers };
        Candidate { usage, disk: Some(Arc::new(disk)) }
    }

    fn order(mut candidates: Vec<Candidate>, resource: &str) -> Vec<String> {
        sort(&mut candidates, resource, Promises::Kept);
        candidates.iter().map(|candidate| candidate.pod().name().to_owned()).collect()
    }

    fn all() -> Vec<Candidate> {
        vec![
            candidate("modest", 0, "100", 50, 9),
            candidate("important", 10, "0", 5000, 1),
            candidate("beyond", 0, "100", 200, 3),
            candidate("far", 0, "100", 900, 2),
        ]
    }

    #[test]
    fn pods_go_by_what_they_use_beyond_their_requests_and_by_priority() {
        assert_eq!(order(all(), "memory"), ["far", "beyond", "important", "modest"]);
        assert_eq!(order(all(), "ephemeral-storage"), ["far", "beyond", "important", "modest"]);
        assert_eq!(order(all(), "pids"), ["modest", "beyond", "far", "important"]);
        let mut unknown = candidate("unknown", 0, "100", 0, 0);
        unknown.usage.sandbox = None;
        let mut candidates = all();
        candidates.push(unknown);
        assert_eq!(order(candidates, "memory")[0], "unknown");
    }

    /// A pod whose claim of `room` has so many bytes in it.
    fn claiming(name: &str, room: u64, used: u64) -> Candidate {
        let mut found = candidate(name, 0, "0", 0, 0);
        let claim = Claim { namespace: "n".into(), name: "c".into(), volume: format!("pvc-{name}"), exclusive: false };
        let usage = Usage { used, ..Default::default() };
        let volume = VolumeUsage { name: "v".into(), claim: Some(claim), place: Place::Claimed(room), usage };
        found.disk = Some(Arc::new(PodDisk { volumes: vec![volume], ..Default::default() }));
        found
    }

    #[test]
    fn what_is_claimed_of_the_disk_counts_and_is_asked_for_while_the_disk_has_it() {
        let all =
            || vec![claiming("within", 900, 800), claiming("beyond", 100, 300), candidate("logs", 0, "0", 100, 1)];
        let order = |promises| {
            let mut all = all();
            sort(&mut all, "ephemeral-storage", promises);
            all.iter().map(|candidate| candidate.pod().name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(Promises::Kept), ["beyond", "logs", "within"]);
        assert_eq!(order(Promises::Broken), ["within", "beyond", "logs"]);
        let disks: Vec<_> = all().into_iter().chain(all()).filter_map(|candidate| candidate.disk).collect();
        assert_eq!(Promises::of(disks.iter(), 1000), Promises::Kept);
        assert_eq!(Promises::of(disks.iter(), 999), Promises::Broken);
    }

    #[test]
    fn a_pod_is_told_what_was_short_and_what_it_used() {
        let threshold = Threshold { signal: Signal::MemoryAvailable, amount: Amount::Percent(10.0), grace: None };
        let seen =
            Observations::from([(Signal::MemoryAvailable, Observation { available: 3 << 20, capacity: 100 << 20 })]);
        let told = message(&candidate("p", 0, "1Mi", 2 << 20, 1), &threshold, &seen);
        assert_eq!(
            told,
            "The node was low on resource: memory. Threshold quantity: 10Mi, available: 3Mi. \
             Container c was using 2Mi, request is 1Mi, has larger consumption of memory. "
        );
        let within = message(&candidate("p", 0, "2Mi", 2 << 20, 1), &threshold, &Observations::new());
        assert_eq!(within, "The node was low on resource: memory. ");
    }

    #[test]
    fn what_the_system_needs_is_critical_and_nobody_says_so_himself() {
        let pod = |value: serde_json::Value| serde_json::from_value(value).unwrap();
        assert!(is_critical(&pod(json!({"spec": {"priority": 2_000_001_000, "containers": []}}))));
        assert!(!is_critical(&pod(json!({"spec": {"priority": 1_000_000_000, "containers": []}}))));
        let annotations = json!({"kubernetes.io/config.source": "file", "kubernetes.io/config.mirror": "x"});
        assert!(!is_critical(&pod(json!({"metadata": {"annotations": annotations}}))));
    }
}
