//! Gives every node its range of pod addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::addresses::{Family, Ranges, nth};
use coracle_client::{Event, EventType, WorkQueue, is_conflict, is_not_found};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::common::{Context, is_deleting};
use crate::run::reconcile_all;

/// More bits for the number of a range are refused: each range that is given out is remembered.
const MOST_BITS: u8 = 16;

/// How large the ranges of nodes are: the lengths of their prefixes, as `--node-cidr-mask-size-ipv4` and `-ipv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMasks {
    /// Of IPv4 addresses.
    pub v4: u8,
    /// Of IPv6 addresses.
    pub v6: u8,
}

impl Default for NodeMasks {
    fn default() -> NodeMasks {
        NodeMasks { v4: 24, v6: 64 }
    }
}

impl NodeMasks {
    /// Whether nodes can have ranges of these sizes.
    ///
    /// # Errors
    /// They do not fit into the cluster's ranges, or those would have too many of them.
    pub fn check(self, cluster: Ranges) -> anyhow::Result<()> {
        cluster.iter().try_for_each(|range| Pool::new(range, self.of(Family::of_range(range))).map(drop))
    }

    fn of(self, family: Family) -> u8 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// The ranges of one size in one of the cluster's ranges, by number.
struct Pool {
    cluster: IpNet,
    mask: u8,
    taken: BTreeSet<u32>,
    /// Where the search starts, so that a range is not given out again right after it came free.
    next: u32,
}

impl Pool {
    fn new(cluster: IpNet, mask: u8) -> anyhow::Result<Pool> {
        let most = cluster.max_prefix_len() - 2;
        anyhow::ensure!(cluster.prefix_len() > 0, "the cluster range {cluster} is every address there is");
        anyhow::ensure!(
            (cluster.prefix_len()..=most).contains(&mask),
            "the node mask /{mask} does not fit into the cluster range {cluster}: it must be between /{} and /{most}",
            cluster.prefix_len()
        );
        let most = cluster.prefix_len() + MOST_BITS;
        anyhow::ensure!(
            cluster.addr().is_ipv4() || mask <= most,
            "New CIDR set failed; the node CIDR size is too big: of {cluster} nodes have ranges of at most /{most}"
        );
        Ok(Pool { cluster: cluster.trunc(), mask, taken: BTreeSet::new(), next: 0 })
    }

    fn count(&self) -> u64 {
        1u64 << (self.mask - self.cluster.prefix_len())
    }

    /// Bits of an address within a range of a node.
    fn bits(&self) -> u32 {
        u32::from(self.cluster.max_prefix_len() - self.mask)
    }

    fn range(&self, number: u32) -> Option<IpNet> {
        IpNet::new(nth(self.cluster, u128::from(number) << self.bits()), self.mask).ok()
    }

    /// The numbers that a range covers; it may be larger or smaller than ours.
    fn numbers(&self, range: IpNet) -> Option<std::ops::RangeInclusive<u32>> {
        if !self.cluster.contains(&range) {
            return None;
        }
        let place = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let first = place(self.cluster.network());
        let number = |address: IpAddr| u32::try_from((place(address) - first) >> self.bits()).ok();
        Some(number(range.network())?..=number(range.broadcast())?)
    }

    fn occupy(&mut self, range: IpNet) {
        self.taken.extend(self.numbers(range).into_iter().flatten());
    }

    fn release(&mut self, range: IpNet) {
        for number in self.numbers(range).into_iter().flatten() {
            self.taken.remove(&number);
        }
    }

    fn allocate(&mut self) -> Option<IpNet> {
        let count = self.count();
        let number = (0..count)
            .map(|step| ((u64::from(self.next) + step) % count) as u32)
            .find(|number| !self.taken.contains(number))?;
        self.taken.insert(number);
        self.next = ((u64::from(number) + 1) % count) as u32;
        self.range(number)
    }
}

/// A pool of each family that the cluster has, the primary one first.
struct Pools(Vec<Pool>);

impl Pools {
    fn new(cluster: Ranges, masks: NodeMasks) -> anyhow::Result<Pools> {
        let pools = cluster.iter().map(|range| Pool::new(range, masks.of(Family::of_range(range))));
        pools.collect::<anyhow::Result<_>>().map(Pools)
    }

    fn occupy(&mut self, range: IpNet) {
        self.0.iter_mut().for_each(|pool| pool.occupy(range));
    }

    fn release(&mut self, range: IpNet) {
        self.0.iter_mut().for_each(|pool| pool.release(range));
    }

    /// A range of each, or none at all.
    fn allocate(&mut self) -> Option<Vec<IpNet>> {
        let given: Vec<IpNet> = self.0.iter_mut().map_while(Pool::allocate).collect();
        if given.len() < self.0.len() {
            given.into_iter().for_each(|range| self.release(range));
            return None;
        }
        Some(given)
    }
}

fn ranges_of(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let listed = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    listed.filter_map(|text| text.parse().ok()).collect()
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let ranges = Arc::new(Mutex::new(Pools::new(context.config.cluster_cidr, context.config.node_cidr_masks)?));
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
            let Some(given) = ranges.lock().allocate() else {
                recorder.event(
                    &*node,
                    EventType::Normal,
                    "CIDRNotAvailable",
                    format!("Node {name} status is now: CIDRNotAvailable"),
                );
                return Ok(Some(Duration::from_secs(30)));
            };
            let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
            let api: Api<Node> = Api::all(client);
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => Ok(None),
                Err(error) => {
                    given.into_iter().for_each(|range| ranges.lock().release(range));
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
        for (cluster, mask, all) in [
            ("10.244.0.0/22", 24, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]),
            (
                "fd00:10:244::/62",
                64,
                ["fd00:10:244::/64", "fd00:10:244:1::/64", "fd00:10:244:2::/64", "fd00:10:244:3::/64"],
            ),
        ] {
            let mut pool = Pool::new(cluster.parse().unwrap(), mask).unwrap();
            pool.occupy(all[1].parse().unwrap());
            let given: Vec<String> = std::iter::from_fn(|| pool.allocate()).map(|range| range.to_string()).collect();
            assert_eq!(given, [all[0], all[2], all[3]]);
            pool.release(all[2].parse().unwrap());
            assert_eq!(pool.allocate().unwrap().to_string(), all[2]);
        }
        for (cluster, mask) in
            [("10.244.0.0/24", 16), ("10.244.0.0/16", 31), ("fd00::/40", 64), ("::/0", 0), ("0.0.0.0/0", 0)]
        {
            assert!(Pool::new(cluster.parse().unwrap(), mask).is_err(), "{cluster} /{mask}");
        }
    }

    #[test]
    fn a_node_gets_a_range_of_each_family_or_none() {
        let cluster = "fd00:10:244::/63,10.244.0.0/16".parse().unwrap();
        let mut pools = Pools::new(cluster, NodeMasks::default()).unwrap();
        let given =
            |pools: &mut Pools| pools.allocate().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(given(&mut pools).unwrap(), ["fd00:10:244::/64", "10.244.0.0/24"]);
        assert_eq!(given(&mut pools).unwrap(), ["fd00:10:244:1::/64", "10.244.1.0/24"]);
        assert_eq!(given(&mut pools), None);
        pools.release("fd00:10:244::/64".parse().unwrap());
        assert_eq!(given(&mut pools).unwrap()[0], "fd00:10:244::/64");
    }
}
