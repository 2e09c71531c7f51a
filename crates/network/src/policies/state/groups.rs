//! Groups: all pods of this node with the same policies for a direction, and the chains by which they are asked.

use std::collections::BTreeSet;

use coracle_client::ObjectKey;

use super::super::policy::{Direction, PolicyKey, Tier};
use super::super::render::{self, Group, NODE_CHAINS};
use super::{Counted, Id, State, let_go, policy_chain};
use crate::nft::{Data, Verdict};

fn group_chain(direction: Direction, id: Id) -> String {
    format!("{}-group-{id}", direction.name())
}

/// For what the policies of administrators leave to others.
fn rest_chain(direction: Direction, id: Id) -> String {
    format!("{}-rest-{id}", direction.name())
}

/// A group's chains for what is sent to the node itself.
fn node_chains(id: Id) -> [String; 2] {
    [format!("node-group-{id}"), format!("node-rest-{id}")]
}

impl State {
    /// Has a pod in the groups that its policies make.
    pub(super) fn regroup(&mut self, key: &ObjectKey) {
        let Some(known) = self.pods.get(key) else { return };
        let (selected_by, old) = (known.selected_by.clone(), known.groups);
        let wanted = Direction::ALL.map(|direction| self.asked(direction, &selected_by));
        let mut groups = [None; 2];
        for ((group, direction), ids) in groups.iter_mut().zip(Direction::ALL).zip(wanted) {
            *group = (!ids.is_empty()).then(|| self.acquire_group(direction, ids));
        }
        if let Some(known) = self.pods.get_mut(key) {
            known.groups = groups;
        }
        for (direction, group) in Direction::ALL.into_iter().zip(old) {
            self.release_group(direction, group);
        }
        self.narrowed |= groups != old;
    }

    /// Those of a pod's policies that have a say in a direction, in the order in which they are asked. Of the same priority,
    /// that is by name: no order is documented.
    fn asked(&self, direction: Direction, selected_by: &BTreeSet<Id>) -> Vec<Id> {
        let of_cluster =
            self.ids.range(..PolicyKey::first_of("")).map(|(_, id)| id).filter(|id| selected_by.contains(id));
        let others = selected_by.iter().filter(|id| self.tier(**id) == Some(Tier::Network));
        let all = of_cluster.chain(others).copied();
        let has_rules = |id: &Id| self.policies.get(id).is_some_and(|entry| entry.policy.rules(direction).is_some());
        let mut asked: Vec<Id> = all.filter(has_rules).collect();
        asked.sort_by_key(|id| self.tier(*id));
        if asked.iter().any(|id| self.tier(*id) == Some(Tier::Network)) {
            asked.retain(|id| self.tier(*id) != Some(Tier::Baseline));
        }
        asked
    }

    pub(super) fn tier(&self, id: Id) -> Option<Tier> {
        self.policies.get(&id).map(|entry| entry.policy.tier)
    }

    fn acquire_group(&mut self, direction: Direction, ids: Vec<Id>) -> Id {
        if let Some(group) = self.groups.get_mut(&(direction, ids.clone())) {
            group.users += 1;
            return group.id;
        }
        let id = self.new_id();
        let mut group = Group::default();
        for policy in &ids {
            let chain = policy_chain(direction, *policy);
            match self.tier(*policy) {
                Some(Tier::Admin(_)) => group.admin.push(chain),
                Some(Tier::Network) => group.network.push(chain),
                Some(Tier::Baseline) => group.baseline = Some(chain),
                None => {}
            }
        }
        let name = group_chain(direction, id);
        let mut chains = group.chains(&name, &rest_chain(direction, id));
        let mut leads = vec![(render::chains(direction), name)];
        if direction == Direction::Egress && group.governs() {
            let [name, rest] = node_chains(id);
            chains.extend(group.node_chains(&name, &rest));
            leads.push((NODE_CHAINS, name));
        }
        for table in &mut self.tables {
            for (chain, rules) in &chains {
                table.set_chain(chain, rules.clone());
            }
            for (map, chain) in &leads {
                table.put(map, id.to_ne_bytes().to_vec(), Some(Data::Verdict(Verdict(chain.clone()))));
            }
        }
        self.groups.insert((direction, ids.clone()), Counted { id, users: 1 });
        self.group_of.insert(id, (direction, ids));
        id
    }

    pub(super) fn release_group(&mut self, direction: Direction, group: Option<Id>) {
        let Some(id) = group else { return };
        let Some(key) = self.group_of.get(&id).cloned() else { return };
        if let_go(&mut self.groups, &key).is_some() {
            self.group_of.remove(&id);
            let mut maps = vec![render::chains(direction)];
            let mut chains = vec![group_chain(direction, id), rest_chain(direction, id)];
            if direction == Direction::Egress {
                maps.push(NODE_CHAINS);
                chains.extend(node_chains(id));
            }
            for table in &mut self.tables {
                maps.iter().for_each(|map| table.take(map, &id.to_ne_bytes()));
                chains.iter().for_each(|chain| table.remove_chain(chain));
            }
        }
    }

    /// Whether a group has a say in what is sent to the node itself.
    pub(super) fn governs(&self, group: Id) -> bool {
        let policies = self.group_of.get(&group).map(|(_, policies)| policies.as_slice()).unwrap_or_default();
        policies.iter().any(|id| self.tier(*id).is_some_and(|tier| tier != Tier::Network))
    }
}
