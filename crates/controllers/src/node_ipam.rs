//! Gives every node its range of pod addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventType, WorkQueue, is_conflict, is_not_found};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::common::{Context, is_deleting};
use crate::run::reconcile_all;

/// The ranges of one size in the cluster's range, by number.
struct Ranges {
    cluster: Ipv4Net,
    mask: u8,
    taken: BTreeSet<u32>,
    /// Where the search starts, so that a range is not given out again right after it came free.
    next: u32,
}

impl Ranges {
    fn new(cluster: Ipv4Net, mask: u8) -> anyhow::Result<Ranges> {
        anyhow::ensure!(
            (cluster.prefix_len()..=30).contains(&mask),
            "the node mask /{mask} does not fit into the cluster range {cluster}: it must be between /{} and /30",
            cluster.prefix_len()
        );
        Ok(Ranges { cluster: cluster.trunc(), mask, taken: BTreeSet::new(), next: 0 })
    }

    fn count(&self) -> u64 {
        1u64 << (self.mask - self.cluster.prefix_len())
    }

    fn range(&self, number: u32) -> Option<Ipv4Net> {
        let offset = u64::from(number) << (32 - self.mask);
        let address = u64::from(u32::from(self.cluster.network())) + offset;
        Ipv4Net::new(Ipv4Addr::from(u32::try_from(address).ok()?), self.mask).ok()
    }

    /// The numbers that a range covers; it may be larger or smaller than ours.
    fn numbers(&self, range: Ipv4Net) -> Option<std::ops::RangeInclusive<u32>> {
        if !self.cluster.contains(&range) {
            return None;
        }
        let number = |address: Ipv4Addr| (u32::from(address) - u32::from(self.cluster.network())) >> (32 - self.mask);
        Some(number(range.network())..=number(range.broadcast()))
    }

    fn occupy(&mut self, range: Ipv4Net) {
        self.taken.extend(self.numbers(range).into_iter().flatten());
    }

    fn release(&mut self, range: Ipv4Net) {
        for number in self.numbers(range).into_iter().flatten() {
            self.taken.remove(&number);
        }
    }

    fn allocate(&mut self) -> Option<Ipv4Net> {
        let count = self.count();
        let number = (0..count)
            .map(|step| ((u64::from(self.next) + step) % count) as u32)
            .find(|number| !self.taken.contains(number))?;
        self.taken.insert(number);
        self.next = ((u64::from(number) + 1) % count) as u32;
        self.range(number)
    }
}

fn ranges_of(node: &Node) -> Vec<Ipv4Net> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let listed = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    listed.filter_map(|text| text.parse().ok()).collect()
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let ranges = Arc::new(Mutex::new(Ranges::new(context.config.cluster_cidr, context.config.node_cidr_mask)?));
    let recorder = context.recorder("cidrAllocator");
    let queue: WorkQueue<String> = WorkQueue::named("node_ipam");
    let nodes = context.nodes();
    let (q, r) = (queue.clone(), ranges.clone());
    nodes.subscribe(move |event| match event {
        Event::Added(node) | Event::Updated { new: node, .. } => {
            let taken = ranges_of(node);
            if taken.is_empty() {
                q.add(node.name_any());
            }
            taken.into_iter().for_each(|range| r.lock().occupy(range));
        }
        Event::Deleted(node) => ranges_of(node).into_iter().for_each(|range| r.lock().release(range)),
    });
    // Nothing is given out before all ranges in use are known.
    let (store, client) = (nodes.store(), context.client);
    reconcile_all(&[&nodes], &queue, 4, move |name| {
        let node = store.get("", &name).filter(|node| !is_deleting(&**node) && ranges_of(node).is_empty());
        let (client, ranges, recorder) = (client.clone(), ranges.clone(), recorder.clone());
        async move {
            let Some(node) = node else { return Ok::<_, kube::Error>(None) };
            let Some(range) = ranges.lock().allocate() else {
                recorder.event(
                    &*node,
                    EventType::Normal,
                    "CIDRNotAvailable",
                    format!("Node {name} status is now: CIDRNotAvailable"),
                );
                return Ok(Some(Duration::from_secs(30)));
            };
            let text = range.to_string();
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"podCIDR": text, "podCIDRs": [text]}});
            let api: Api<Node> = Api::all(client);
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => Ok(None),
                Err(error) => {
                    ranges.lock().release(range);
                    match error {
                        error if is_conflict(&error) => Ok(Some(Duration::from_millis(20))),
                        error if is_not_found(&error) => Ok(None),
                        error => Err(error),
                    }
                }
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_out_once() {
        let mut ranges = Ranges::new("10.244.0.0/22".parse().unwrap(), 24).unwrap();
        ranges.occupy("10.244.1.0/24".parse().unwrap());
        let given: Vec<String> = std::iter::from_fn(|| ranges.allocate()).map(|range| range.to_string()).collect();
        assert_eq!(given, ["10.244.0.0/24", "10.244.2.0/24", "10.244.3.0/24"]);
        ranges.release("10.244.2.0/24".parse().unwrap());
        assert_eq!(ranges.allocate().unwrap().to_string(), "10.244.2.0/24");
        assert!(Ranges::new("10.244.0.0/24".parse().unwrap(), 16).is_err());
    }
}
