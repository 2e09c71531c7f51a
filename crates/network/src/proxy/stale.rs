//! Datagrams that went to an endpoint which is gone go to another: their flows have no end that would show it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::endpoints::At;
use super::wanted::PortRules;
use crate::conntrack;
use crate::netlink::Socket;
use crate::nft::Family;
use crate::node::protocol_number;

/// Which endpoints flows may have: by where they were sent.
#[derive(Default)]
pub(super) struct Flows {
    services: BTreeMap<(u8, IpAddr, u16), BTreeSet<At>>,
    node_ports: BTreeMap<(u8, u16), BTreeSet<At>>,
}

impl Flows {
    /// Takes in what a port was and is.
    pub fn change(&mut self, old: Option<&PortRules>, new: Option<&PortRules>) {
        self.expect(old, false);
        self.expect(new, true);
    }

    fn expect(&mut self, rules: Option<&PortRules>, there: bool) {
        let Some(rules) = rules.filter(|rules| rules.protocol != "TCP") else { return };
        let protocol = protocol_number(&rules.protocol);
        let internal = || rules.internal.endpoints().iter();
        let shortcut = || rules.shortcut.iter().flat_map(|endpoints| endpoints.iter());
        let external = || rules.external.endpoints().iter().chain(shortcut());
        let cluster = self.services.entry((protocol, rules.cluster_ip, rules.port)).or_default();
        cluster.extend(internal().filter(|_| there));
        for address in &rules.external_addresses {
            let endpoints = self.services.entry((protocol, *address, rules.port)).or_default();
            endpoints.extend(external().filter(|_| there));
        }
        if let Some(port) = rules.node_port {
            let endpoints = self.node_ports.entry((protocol, port)).or_default();
            endpoints.extend(external().filter(|_| there));
        }
    }

    /// Forgets the flows that have others.
    pub fn forget(&self, socket: &mut Socket, family: Family) {
        if self.services.is_empty() {
            return;
        }
        let forgotten = conntrack::forget(socket, family, |flow| {
            let (address, port) = flow.destination;
            let endpoints = self.services.get(&(flow.protocol, address, port));
            let endpoints = endpoints.or_else(|| self.node_ports.get(&(flow.protocol, port)));
            endpoints.is_some_and(|endpoints| !endpoints.contains(&flow.answered_by))
        });
        if let Err(error) = forgotten {
            tracing::warn!(%error, "failed to forget flows to endpoints that are gone");
        }
    }
}
