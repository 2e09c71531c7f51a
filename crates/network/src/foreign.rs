//! What services and names need of a node whose pods are connected by others: plugins with links, addresses and rules of their
//! own. Nothing here leads to a pod.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use coracle_values::addresses::{Family, Ranges};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::host::{allow_ipv6, forward_packets, set_sysctl};
use crate::netlink::{Socket, in_namespace, route};
use crate::nft::{self, Batch, Expr, Hook, InPackets, octets};
use crate::node::{self, NodeNetwork, SELF, answer_at, pair_key};

pub(crate) const TABLE: &str = "coracle-foreign-pods";
/// The pods of this node.
const PODS: &str = "pods";
const FORWARD: &str = "unserved-forward";
const OUTPUT: &str = "unserved-output";
const LOOPBACK: &str = "lo";
/// By which the kernel has rules see what only passes from port to port of a bridge, as the answers of services may.
const BRIDGE_FILTERS: [(Family, &str); 2] =
    [(Family::V4, "net/bridge/bridge-nf-call-iptables"), (Family::V6, "net/bridge/bridge-nf-call-ip6tables")];

/// How such a node is set up.
#[derive(Clone, Debug)]
pub struct ForeignConfig {
    /// The names that bridge and overlay of the built-in network have, which is not to be there.
    pub bridge: String,
    /// See `bridge`.
    pub overlay: String,
    /// Where the built-in network writes addresses down.
    pub state: PathBuf,
    /// Addresses of all services.
    pub service_cidr: Ranges,
    /// Further addresses that this node answers at: that of the cluster's DNS.
    pub service_addresses: Vec<IpAddr>,
    /// The network namespace is the host's, whose kernel parameters are not ours alone.
    pub on_host: bool,
}

/// Pods that others connect.
pub struct ForeignPods {
    netfilter: Mutex<Socket>,
}

impl ForeignPods {
    /// Has services and names answer on this node, and removes what the built-in network left.
    ///
    /// # Errors
    /// The built-in network has pods here, or the kernel refuses.
    pub fn new(config: &ForeignConfig) -> Result<Arc<ForeignPods>> {
        let mut socket = Socket::route()?;
        remove_built_in(&mut socket, config)?;
        let services: Vec<IpNet> = config.service_cidr.iter().collect();
        if let Some((link, network)) = route::foreign_route(&mut socket, None, &services)? {
            bail!(
                "the link {link} has a route to {network}, but services need {}: another cluster or network uses them on this host",
                config.service_cidr
            );
        }
        let families: Vec<Family> = config.service_cidr.families().collect();
        if families.contains(&Family::V6) && !config.on_host {
            allow_ipv6("all")?;
        }
        families.iter().try_for_each(|family| forward_packets(*family))?;
        let lo = route::index_of(&mut socket, LOOPBACK)?;
        socket.request(route::up(lo)).context("failed to bring the loopback link up")?;
        answer_at(&mut socket, lo, &config.service_addresses, &config.state)?;
        let mut netfilter = Socket::netfilter()?;
        for family in Family::ALL {
            let mut batch = Batch::of(family);
            if families.contains(&family) {
                rules(&mut batch, config, family);
            } else if nft::table_exists(&mut netfilter, family, TABLE)? {
                batch.delete_table(TABLE);
            } else {
                continue;
            }
            batch.commit(&mut netfilter).context("failed to make the nftables rules of services")?;
        }
        Ok(Arc::new(ForeignPods { netfilter: Mutex::new(netfilter) }))
    }

    /// Knows a pod's addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attached(&self, addresses: &[IpAddr]) -> Result<()> {
        let mut netfilter = self.netfilter.lock();
        for (family, keys, pairs) in keys(addresses) {
            let mut batch = Batch::of(family);
            batch.add_set_elements(TABLE, PODS, &keys);
            batch.add_set_elements(TABLE, SELF, &pairs);
            // A cluster of one family may have pods with addresses of both; no service leads to the others.
            if nft::table_exists(&mut netfilter, family, TABLE)? {
                batch.commit(&mut netfilter).context("failed to have services know a pod")?;
            }
        }
        Ok(())
    }

    /// Forgets a pod's addresses.
    pub fn detached(&self, addresses: &[IpAddr]) {
        let mut netfilter = self.netfilter.lock();
        for (family, keys, pairs) in keys(addresses) {
            let mut batch = Batch::of(family);
            batch.delete_elements(TABLE, PODS, &keys);
            batch.delete_elements(TABLE, SELF, &pairs);
            if let Err(error) = batch.commit(&mut netfilter) {
                tracing::debug!(%error, ?addresses, "the addresses of a pod were not known");
            }
        }
    }

    /// Brings the loopback link of a pod up, which no chain of plugins does.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn loopback(netns: BorrowedFd<'_>) -> Result<()> {
        let netns = netns.try_clone_to_owned()?;
        let up = move || {
            in_namespace(netns.as_fd(), || {
                let mut socket = Socket::route()?;
                let lo = route::index_of(&mut socket, LOOPBACK)?;
                socket.request(route::up(lo)).context("failed to bring the pod's loopback link up")
            })
        };
        tokio::task::spawn_blocking(up).await?
    }
}

/// A pod's addresses as the sets have them, by family.
fn keys(addresses: &[IpAddr]) -> impl Iterator<Item = (Family, Vec<Vec<u8>>, Vec<Vec<u8>>)> {
    let of = |family| {
        let own = || addresses.iter().copied().filter(move |address| Family::of(*address) == family);
        (family, own().map(octets).collect::<Vec<_>>(), own().map(pair_key).collect::<Vec<_>>())
    };
    Family::ALL.into_iter().map(of).filter(|(_, keys, _)| !keys.is_empty())
}

fn remove_built_in(socket: &mut Socket, config: &ForeignConfig) -> Result<()> {
    let mut netfilter = Socket::netfilter()?;
    let mut was_there = false;
    for family in Family::ALL {
        was_there |= nft::table_exists(&mut netfilter, family, node::TABLE)?;
    }
    if !was_there {
        // A bridge of that name is a plugin's.
        return Ok(());
    }
    let ports = match route::index_of(socket, &config.bridge) {
        Ok(bridge) => route::ports(socket, bridge)?,
        Err(_) => Vec::new(),
    };
    if !ports.is_empty() {
        bail!(
            "{} pods of this node are connected by the built-in network ({}): stop the node before it starts with CNI plugins, or \
             without them",
            ports.len(),
            config.bridge
        );
    }
    NodeNetwork::remove(&config.bridge, &config.overlay, &[], &config.state)
        .context("failed to remove the built-in network")
}

/// Whether rules see what passes from port to port of a bridge. The host's parameters are its owner's.
fn sees_bridged(config: &ForeignConfig, family: Family) -> bool {
    BRIDGE_FILTERS.iter().filter(|(of, _)| *of == family).all(|(_, filter)| {
        let path = format!("/proc/sys/{filter}");
        if !config.on_host && std::fs::exists(&path).unwrap_or(false) && set_sysctl(filter, "1").is_err() {
            tracing::debug!("the node's bridges do not use br_netfilter");
        }
        std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1")
    })
}

fn rules(batch: &mut Batch, config: &ForeignConfig, family: Family) {
    batch.renew_table(TABLE);
    batch.set(TABLE, SELF, family.address_pair(), None);
    batch.set(TABLE, PODS, family.address(), None);
    batch.base_chain(TABLE, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    // A pod that reaches itself by a service does not answer itself.
    let pair = [family.source(0), family.destination(family.registers()), Expr::InSet(SELF.into()), Expr::Masquerade];
    batch.rule(TABLE, "postrouting", &pair);
    if !sees_bridged(config, family) {
        // What another pod on the same bridge answers would come from its own address and not from the service's, unless it is
        // the node that seems to have asked.
        let among = [family.source(0), Expr::InSet(PODS.into()), family.destination(0), Expr::InSet(PODS.into())];
        let by_service = [Expr::destination_chosen(), among.to_vec(), vec![Expr::Masquerade]];
        batch.rule(TABLE, "postrouting", &by_service.concat());
    }
    // What no service translated is nobody's.
    let Some(services) = config.service_cidr.of(family) else { return };
    for (chain, hook) in [(FORWARD, Hook::Forward), (OUTPUT, Hook::Output)] {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_FILTER + 10);
        let elsewhere = Expr::link_is(LOOPBACK, true, false);
        let refuse = [elsewhere, Expr::destination_in(services), vec![Expr::RejectUnreachable(family)]];
        batch.rule(TABLE, chain, &refuse.concat());
    }
}

#[cfg(test)]
mod tests;
