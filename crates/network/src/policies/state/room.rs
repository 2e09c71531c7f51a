//! How much of the kernel the network policies of a namespace may take on a node. One with which they would take more allows
//! nothing there, until there is room, so that what one namespace asks for leaves the others theirs. Policies of administrators
//! are not counted.

use std::collections::BTreeMap;

use super::super::policy::{Namespaces, Policy, PolicyKey, Tier};
use super::sets::{References, named, pods_name, ports_name, references};
use super::{Id, State};
use crate::room::Room;

/// Counted are conditions, intervals of addresses, and members of the sets that they name.
pub(super) const ROOM: Room = Room { most: 200_000, total: 1_000_000, share: 20_000 };
/// What part of that many new members of sets make it be counted anew what policies take.
const GROWN: usize = 10;

/// What a policy takes.
#[derive(Default)]
pub(super) struct Taken {
    pub cost: usize,
    /// What it asks for, where there is no room for that.
    pub asked: Option<Policy>,
}

/// The namespace of a network policy.
fn namespace_of(policy: &Policy) -> Option<&str> {
    match (policy.tier, &policy.subjects.namespaces) {
        (Tier::Network, Namespaces::One(name)) => Some(name),
        _ => None,
    }
}

impl State {
    /// What of a policy is enforced: all of it where there is room, else nothing that it allows.
    pub(super) fn admit(&mut self, id: Id, policy: Policy) -> Policy {
        let Some(namespace) = namespace_of(&policy) else { return policy };
        let others = self.cost_of(namespace, id);
        let all: usize = self.policies.iter().filter(|(other, _)| **other != id).map(|(_, one)| one.taken.cost).sum();
        let left = self.room.left(others, all);
        let cost = self.cost(&policy, left);
        let is_beyond = cost > left;
        if is_beyond {
            tracing::warn!(
                namespace,
                "the network policies of the namespace refer to more pods, ports and addresses than there is room for: the one \
                 that selects pods by {:?} allows nothing on this node until others leave some",
                policy.subjects.labels
            );
        }
        let enforced = if is_beyond { closed(&policy) } else { policy.clone() };
        if let Some(entry) = self.policies.get_mut(&id) {
            let cost = if is_beyond { 0 } else { cost };
            entry.taken = Taken { cost, asked: is_beyond.then_some(policy) };
        }
        enforced
    }

    /// A policy that is about no pod of this node takes nothing.
    pub(super) fn leave_room(&mut self, id: Id) {
        if let Some(entry) = self.policies.get_mut(&id)
            && let Some(asked) = std::mem::take(&mut entry.taken).asked
        {
            entry.policy = asked;
        }
    }

    /// Tries those of a namespace for which there was no room, the smallest first, until one finds none.
    pub(super) fn reopen(&mut self, namespace: &str) {
        loop {
            let beyond = self.of_namespace(namespace).filter_map(|(key, id)| {
                let entry = self.policies.get(&id).filter(|entry| entry.subjects > 0)?;
                Some((entry.taken.asked.as_ref()?, key, id))
            });
            let Some((asked, key, id)) = beyond.min_by_key(|(asked, _, id)| (asked.weight(), *id)) else { return };
            let (asked, key) = (asked.clone(), key.clone());
            self.exchange(&key, id, asked);
            if self.policies.get(&id).is_none_or(|entry| entry.taken.asked.is_some()) {
                return;
            }
        }
    }

    /// Looks whether sets have grown so much that there is no room any more for all that refer to them.
    pub(super) fn settle(&mut self) {
        if self.joined < self.room.most / GROWN {
            return;
        }
        self.joined = 0;
        let mut costs: BTreeMap<String, Vec<(usize, PolicyKey, Id)>> = BTreeMap::new();
        for (key, id) in
            self.ids.range(PolicyKey::first_of("")..).map(|(key, id)| (key.clone(), *id)).collect::<Vec<_>>()
        {
            let Some(entry) = self.policies.get(&id).filter(|entry| entry.subjects > 0 && entry.taken.asked.is_none())
            else {
                continue;
            };
            let (cost, namespace) = (self.cost(&entry.policy, usize::MAX), namespace_of(&entry.policy));
            costs.entry(namespace.unwrap_or_default().to_owned()).or_default().push((cost, key, id));
            if let Some(entry) = self.policies.get_mut(&id) {
                entry.taken.cost = cost;
            }
        }
        for (_, mut policies) in costs {
            let mut sum: usize = policies.iter().map(|(cost, ..)| cost).sum();
            policies.sort();
            while sum > self.room.most
                && let Some((cost, key, id)) = policies.pop()
            {
                // The largest are asked once more, and find no room.
                let Some(policy) = self.policies.get(&id).map(|entry| entry.policy.clone()) else { continue };
                self.exchange(&key, id, policy);
                sum = sum.saturating_sub(cost);
            }
        }
    }

    fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a PolicyKey, Id)> {
        let own = self.ids.range(PolicyKey::first_of(namespace)..).take_while(|(key, _)| key.is_of(namespace));
        own.map(|(key, id)| (key, *id))
    }

    /// What the policies of a namespace take but one.
    fn cost_of(&self, namespace: &str, but: Id) -> usize {
        let others = self.of_namespace(namespace).filter(|(_, id)| *id != but);
        others.filter_map(|(_, id)| Some(self.policies.get(&id)?.taken.cost)).sum()
    }

    /// What a policy takes, counted until it is more than `enough`.
    fn cost(&self, policy: &Policy, enough: usize) -> usize {
        let References { pods, nodes: _, ports } = references(policy);
        let size = |name: String| self.tables.iter().map(|table| table.size(&name)).sum();
        let of_pods = pods.iter().map(|pods| match self.sets.pods.get(pods) {
            Some(set) => size(pods_name(set.id)),
            None => self.members(pods, None).len(),
        });
        let of_ports = ports.iter().map(|port| match self.sets.ports.get(port) {
            Some(set) => size(ports_name(set.id)),
            None => self.pods.values().map(|known| named(&known.pod, port.0, &port.1).len()).sum(),
        });
        let mut cost = policy.weight();
        for more in of_pods.chain(of_ports) {
            if cost > enough {
                break;
            }
            cost = cost.saturating_add(more);
        }
        cost
    }
}

/// A policy about the same pods that allows nothing.
fn closed(policy: &Policy) -> Policy {
    let none = |rules: &Option<Vec<_>>| rules.as_ref().map(|_| Vec::new());
    Policy { ingress: none(&policy.ingress), egress: none(&policy.egress), ..policy.clone() }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use coracle_client::ObjectKey;
    use serde_json::{Value, json};

    use super::super::super::objects::{Labels, PodObject};
    use super::*;
    use crate::nft::Family;

    fn state() -> State {
        let mut state = State::new(&[Family::V4], None);
        state.room = Room { most: 500, total: 700, share: 20 };
        state.knows_pods(true);
        for namespace in ["a", "b"] {
            state.set_namespace(namespace, Some(Labels::new()));
        }
        state
    }

    fn add_pods(state: &mut State, namespace: &str, numbers: std::ops::Range<u8>) {
        for number in numbers {
            let third = if namespace == "a" { 1 } else { 2 };
            let object = json!({"metadata": {"labels": {"n": number.to_string()}}, "spec": {"nodeName": "here"},
                "status": {"podIP": format!("10.244.{third}.{number}")}});
            let seen = serde_json::from_value::<PodObject>(object).unwrap().seen_from("here");
            state.set_pod(&ObjectKey::new(namespace, format!("p{number}")), seen);
        }
    }

    /// One that allows as many sets of peers, each of nearly all pods of the namespace.
    fn set_policy(state: &mut State, namespace: &str, name: &str, sets: usize) {
        let peer = |number: usize| json!({"podSelector": {"matchExpressions": [{"key": "n", "operator": "NotIn", "values": [format!("{name}-{number}")]}]}});
        let from: Vec<Value> = (0..sets).map(peer).collect();
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, "ingress": [{"from": from}]}});
        let policy = Policy::read(&serde_json::from_value(object).unwrap());
        state.set_policy(&PolicyKey::Network(ObjectKey::new(namespace, name)), Some(policy));
    }

    fn remove(state: &mut State, namespace: &str, name: &str) {
        state.set_policy(&PolicyKey::Network(ObjectKey::new(namespace, name)), None);
    }

    fn allows(state: &State, third: u8) -> bool {
        let [client, server]: [IpAddr; 2] = [[10, 244, third, 1].into(), [10, 244, third, 2].into()];
        state.allows(6, client, (server, 80))
    }

    #[test]
    fn policies_of_a_namespace_beyond_its_room_allow_nothing_and_others_go_on() {
        let mut state = state();
        add_pods(&mut state, "a", 1..11);
        add_pods(&mut state, "b", 1..3);
        set_policy(&mut state, "a", "p", 45);
        assert!(allows(&state, 1), "496 of 500");
        set_policy(&mut state, "a", "q", 1);
        assert!(allows(&state, 1), "what one allows is allowed");
        remove(&mut state, "a", "p");
        assert!(allows(&state, 1), "now there is room for the other");
        set_policy(&mut state, "a", "p", 46);
        remove(&mut state, "a", "q");
        assert!(!allows(&state, 1), "one is too large by itself");
        set_policy(&mut state, "a", "p", 45);
        assert!(allows(&state, 1), "it is changed");
        // Of all there is, so little is left that the next has only its share.
        set_policy(&mut state, "b", "p", 67);
        assert!(allows(&state, 2), "202 of 204 that are left");
        set_policy(&mut state, "b", "p", 68);
        assert!(!allows(&state, 2));
        set_policy(&mut state, "b", "p", 6);
        assert!(allows(&state, 2), "19 of 20");
    }

    #[test]
    fn what_grows_beyond_its_room_allows_nothing_until_it_is_smaller() {
        let mut state = state();
        add_pods(&mut state, "a", 1..4);
        set_policy(&mut state, "a", "p", 45);
        set_policy(&mut state, "a", "q", 1);
        add_pods(&mut state, "a", 4..20);
        state.settle();
        assert!(allows(&state, 1), "the smaller one has room");
        remove(&mut state, "a", "q");
        assert!(!allows(&state, 1));
        for number in 4..20 {
            state.set_pod(&ObjectKey::new("a", format!("p{number}")), None);
        }
        set_policy(&mut state, "a", "q", 2);
        remove(&mut state, "a", "q");
        assert!(allows(&state, 1), "there is room again when the other goes");
    }
}
