//! What becomes of a connection, by the same state that the tables are made of: for those that are under way.

use std::net::IpAddr;

use super::super::policy::{Action, Direction, Peer, Port, Rule, Tier};
use super::super::render::{Names, address_key, port_key};
use super::{DNS_PORT, Id, State, index};

impl State {
    /// Whether a connection may be, by what the rules say of its first packet.
    pub fn allows(&self, protocol: u8, client: IpAddr, server: (IpAddr, u16)) -> bool {
        client == server.0
            || self.passes(Direction::Egress, protocol, client, server)
                && self.passes(Direction::Ingress, protocol, client, server)
    }

    /// As [`State::allows`], for one with the node itself, where network policies have no say.
    pub fn allows_to_node(&self, protocol: u8, client: IpAddr, server: (IpAddr, u16)) -> bool {
        if self.always == Some(server.0) && server.1 == DNS_PORT {
            return true;
        }
        let policies = self.policies_of(Direction::Egress, client).unwrap_or_default();
        let policies = policies.iter().filter(|id| self.tier(**id) != Some(Tier::Network));
        self.verdict(Direction::Egress, policies, protocol, client, server)
    }

    fn passes(&self, direction: Direction, protocol: u8, client: IpAddr, server: (IpAddr, u16)) -> bool {
        let subject = match direction {
            Direction::Ingress => server.0,
            Direction::Egress => client,
        };
        let Some(policies) = self.policies_of(direction, subject) else {
            return !(self.pods_known && self.attached.contains_key(&subject));
        };
        self.verdict(direction, policies.iter(), protocol, client, server)
    }

    /// The policies that are asked of the pod that has an address; `None` if it is not known to be a pod's.
    fn policies_of(&self, direction: Direction, address: IpAddr) -> Option<&[Id]> {
        let known = self.claims.get(&address).and_then(|claims| self.pods.get(claims.last()?))?;
        let group = known.groups[direction as usize].and_then(|group| self.group_of.get(&group));
        Some(group.map(|(_, policies)| policies.as_slice()).unwrap_or_default())
    }

    fn verdict<'a>(
        &self,
        direction: Direction,
        policies: impl Iterator<Item = &'a Id>,
        protocol: u8,
        client: IpAddr,
        server: (IpAddr, u16),
    ) -> bool {
        let peer = match direction {
            Direction::Ingress => client,
            Direction::Egress => server.0,
        };
        let (mut allowed, mut passed) = (true, false);
        for policy in policies.filter_map(|id| Some(&self.policies.get(id)?.policy)) {
            if passed && matches!(policy.tier, Tier::Admin(_)) {
                continue;
            }
            let mut about = policy.rules(direction).into_iter().flatten();
            let about = about.find(|rule| self.is_peer(rule, peer) && self.is_port(rule, protocol, server));
            match about.map(|rule| rule.action) {
                Some(Action::Allow) => return true,
                Some(Action::Deny) => return false,
                Some(Action::Pass) => passed = true,
                None => allowed &= policy.tier != Tier::Network,
            }
        }
        allowed
    }

    fn is_peer(&self, rule: &Rule, peer: IpAddr) -> bool {
        let table = &self.tables[index(peer)];
        rule.peers.as_ref().is_none_or(|peers| {
            peers.iter().any(|one| match one {
                Peer::Pods(pods) => self.sets.of_pods(pods).is_some_and(|set| table.has(&set, &address_key(peer))),
                Peer::Nodes(nodes) => self.sets.of_nodes(nodes).is_some_and(|set| table.has(&set, &address_key(peer))),
                Peer::Addresses(ranges) => ranges.iter().any(|(from, to)| *from <= peer && peer <= *to),
            })
        })
    }

    fn is_port(&self, rule: &Rule, protocol: u8, server: (IpAddr, u16)) -> bool {
        let table = &self.tables[index(server.0)];
        rule.ports.as_ref().is_none_or(|ports| {
            ports.iter().any(|port| match port {
                Port::Numbers { protocol: of, first, last } => *of == protocol && (*first..=*last).contains(&server.1),
                Port::Named { protocol: of, name } => {
                    let set = self.sets.of_ports(*of, name).filter(|_| of.is_none_or(|of| of == protocol));
                    set.is_some_and(|set| table.has(&set, &port_key(server.0, protocol, server.1)))
                }
            })
        })
    }
}
