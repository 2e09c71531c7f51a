//! What policies, pods and namespaces there are, and the tables that follow from them, changed with each of them.
//!
//! A change costs what it touches: a pod is asked of each set of peers, a policy of each pod of its namespace. Sets and
//! chains are there for the policies only that are about a pod of this node.

mod groups;
mod room;
mod sets;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use coracle_client::ObjectKey;

use super::objects::{Labels, Node, Pod};
use super::policy::{Direction, Labelled, Namespaces, Pods, Policy, PolicyKey, Tier};
use super::render::{self, ALWAYS, GOVERNED, HELD, ISOLATED, SELF, TABLE, address_key, port_key};
use crate::netlink::Socket;
use crate::nft::{Data, Family, Table};
use crate::room::Room;
use room::{ROOM, Taken};
use sets::{Sets, nodes_name, pods_name};

const DNS_PORT: u16 = 53;

/// The number of a policy, of a group or of a set, which is never given to another.
type Id = u32;

/// What is known and what follows from it.
pub(crate) struct State {
    tables: [Table; 2],
    /// Whether pods of this node have addresses of the family: without, the kernel is not bothered with a table.
    in_use: [bool; 2],
    pods: BTreeMap<ObjectKey, Known>,
    /// Pods whose namespaces are not known: whom selectors of namespaces mean by them is not either, so they are as if they were
    /// not known themselves.
    early: BTreeMap<ObjectKey, Pod>,
    namespaces: HashMap<String, Labels>,
    nodes: HashMap<String, Node>,
    ids: BTreeMap<PolicyKey, Id>,
    policies: HashMap<Id, Entry>,
    sets: Sets,
    groups: HashMap<(Direction, Vec<Id>), Counted>,
    group_of: HashMap<Id, (Direction, Vec<Id>)>,
    /// The local pods that have an address; the last of them has it by what is known.
    claims: HashMap<IpAddr, Vec<ObjectKey>>,
    /// The pods for which sandboxes got addresses; without a name when that was before this process.
    attached: HashMap<IpAddr, Option<ObjectKey>>,
    /// Which pods there are is known. Without policies nobody asks.
    pods_known: bool,
    next_id: Id,
    /// Something may be forbidden now that was allowed.
    narrowed: bool,
    /// How many policies there are about pods of this node whose rules also forbid: who joins a set may be kept out then.
    forbidding: usize,
    /// How many members sets got since it was counted what policies take.
    joined: usize,
    room: Room,
    /// Where the node answers whatever policies say.
    always: Option<IpAddr>,
}

struct Known {
    pod: Pod,
    selected_by: BTreeSet<Id>,
    /// Its groups, by direction.
    groups: [Option<Id>; 2],
}

struct Entry {
    policy: Policy,
    /// How many pods of this node it is about.
    subjects: usize,
    taken: Taken,
}

/// Something that is there while it is used.
struct Counted {
    id: Id,
    users: usize,
}

fn policy_chain(direction: Direction, id: Id) -> String {
    format!("{}-policy-{id}", direction.name())
}

/// All chains of a policy.
fn policy_chains(policy: &Policy, id: Id) -> BTreeSet<String> {
    let with_rules = |direction| Some((direction, policy.rules(direction)?));
    let directions = Direction::ALL.into_iter().filter_map(with_rules);
    directions.flat_map(|(direction, rules)| render::policy_chains(&policy_chain(direction, id), rules)).collect()
}

impl State {
    /// Nothing is known. What is sent to the port for names at the address `dns` no policy forbids.
    pub fn new(families: &[Family], dns: Option<IpAddr>) -> State {
        let mut state = State {
            tables: Family::ALL.map(|family| Table::new(family, TABLE, render::base, &render::base_sets(family))),
            in_use: Family::ALL.map(|family| families.contains(&family)),
            pods: BTreeMap::new(),
            early: BTreeMap::new(),
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
            ids: BTreeMap::new(),
            policies: HashMap::new(),
            sets: Sets::default(),
            groups: HashMap::new(),
            group_of: HashMap::new(),
            claims: HashMap::new(),
            attached: HashMap::new(),
            pods_known: false,
            next_id: 0,
            narrowed: false,
            forbidding: 0,
            joined: 0,
            room: ROOM,
            always: dns,
        };
        for (address, protocol) in dns.into_iter().flat_map(|address| [(address, 6), (address, 17)]) {
            state.table(address).put(ALWAYS, port_key(address, protocol, DNS_PORT), None);
        }
        state
    }

    /// Has the next commit make the tables anew.
    pub fn renew(&mut self) {
        self.tables.iter_mut().for_each(Table::renew);
    }

    /// The families of which pods of this node have addresses.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().zip(self.in_use).filter(|(_, in_use)| *in_use).map(|(family, _)| family)
    }

    /// Has the kernel take over what changed.
    pub fn commit(&mut self, socket: &mut Socket) -> io::Result<()> {
        self.settle();
        for (table, in_use) in self.tables.iter_mut().zip(self.in_use) {
            if in_use {
                table.commit(socket)?;
            }
        }
        Ok(())
    }

    /// Whether flows may have become forbidden since the last call.
    pub fn take_narrowed(&mut self) -> bool {
        std::mem::take(&mut self.narrowed) && self.pods.values().any(|known| known.groups != [None; 2])
    }

    /// Whether it is known which pods there are: addresses of sandboxes are held only then.
    pub fn knows_pods(&mut self, known: bool) {
        self.pods_known = known;
        let attached: Vec<IpAddr> = self.attached.keys().copied().collect();
        attached.into_iter().for_each(|address| self.update_address(address));
    }

    /// A sandbox has an address: that of the pod, or of one that is not known.
    pub fn attach(&mut self, address: IpAddr, pod: Option<ObjectKey>) {
        if pod.is_none() && self.attached.contains_key(&address) {
            return;
        }
        self.attached.insert(address, pod.clone());
        // Who was said to have it before has it no longer.
        let others = self.claims.get(&address).cloned().unwrap_or_default();
        for key in others.into_iter().chain(pod) {
            if let Some(known) = self.pods.get(&key) {
                let seen = known.pod.clone();
                self.set_pod(&key, Some(seen));
            }
        }
        self.update_address(address);
    }

    /// No sandbox has an address any more.
    pub fn detach(&mut self, address: IpAddr) {
        self.attached.remove(&address);
        self.update_address(address);
    }

    /// What became of a pod.
    pub fn set_pod(&mut self, key: &ObjectKey, seen: Option<Pod>) {
        self.early.remove(key);
        let seen = match seen {
            Some(pod) if !self.namespaces.contains_key(&key.namespace) => {
                self.early.insert(key.clone(), pod);
                None
            }
            seen => seen,
        };
        let new = seen.map(|pod| self.with_attached(key, pod));
        if new.as_ref() == self.pods.get(key).map(|known| &known.pod) {
            return;
        }
        let old = self.pods.remove(key);
        self.change_members(key, old.as_ref().map(|known| &known.pod), new.as_ref());
        let old_local = old.as_ref().filter(|known| known.pod.local);
        let mut touched: BTreeSet<IpAddr> = old_local.iter().flat_map(|known| known.pod.addresses.clone()).collect();
        for address in &touched {
            if let Some(claims) = self.claims.get_mut(address) {
                claims.retain(|claimant| claimant != key);
                if claims.is_empty() {
                    self.claims.remove(address);
                }
            }
        }
        if let Some(pod) = new {
            self.enter(key, pod, &mut touched);
        }
        if let Some(old) = old {
            self.leave(&old);
        }
        touched.into_iter().for_each(|address| self.update_address(address));
    }

    /// Its addresses by what sandboxes have: the API is told later.
    fn with_attached(&self, key: &ObjectKey, mut pod: Pod) -> Pod {
        if pod.local {
            let own = |owner: &Option<ObjectKey>| owner.as_ref().is_none_or(|owner| owner == key);
            pod.addresses.retain(|address| self.attached.get(address).is_none_or(own));
            let given = self.attached.iter().filter(|(_, owner)| owner.as_ref() == Some(key));
            pod.addresses.extend(given.map(|(address, _)| *address));
            pod.addresses.sort();
            pod.addresses.dedup();
        }
        pod
    }

    fn enter(&mut self, key: &ObjectKey, pod: Pod, touched: &mut BTreeSet<IpAddr>) {
        if pod.local {
            for address in &pod.addresses {
                self.claims.entry(*address).or_default().push(key.clone());
                touched.insert(*address);
            }
        }
        let selected_by: BTreeSet<Id> = match pod.local {
            true => self.ids_for(&key.namespace).filter(|id| self.is_about(*id, &key.namespace, &pod)).collect(),
            false => BTreeSet::new(),
        };
        self.pods.insert(key.clone(), Known { pod, selected_by: selected_by.clone(), groups: [None; 2] });
        selected_by.into_iter().for_each(|id| self.count_subject(id));
        self.regroup(key);
    }

    /// The policies that may be about pods of a namespace.
    fn ids_for(&self, namespace: &str) -> impl Iterator<Item = Id> {
        let of_cluster = self.ids.range(..PolicyKey::first_of(""));
        let own = self.ids.range(PolicyKey::first_of(namespace)..).take_while(|(key, _)| key.is_of(namespace));
        of_cluster.chain(own).map(|(_, id)| *id)
    }

    fn is_about(&self, id: Id, namespace: &str, pod: &Pod) -> bool {
        self.policies.get(&id).is_some_and(|entry| {
            let subjects = &entry.policy.subjects;
            self.is_of(&subjects.namespaces, namespace) && subjects.labels.matches(&pod.labels)
        })
    }

    fn is_of(&self, namespaces: &Namespaces, namespace: &str) -> bool {
        match namespaces {
            Namespaces::One(name) => name == namespace,
            Namespaces::Labelled(selector) => self.namespaces.get(namespace).is_some_and(|own| selector.matches(own)),
        }
    }

    fn leave(&mut self, old: &Known) {
        for (direction, group) in Direction::ALL.into_iter().zip(old.groups) {
            self.release_group(direction, group);
        }
        old.selected_by.iter().for_each(|id| self.discount_subject(*id));
    }

    fn table(&mut self, address: IpAddr) -> &mut Table {
        &mut self.tables[index(address)]
    }

    /// The labels of a namespace; none when it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match (self.namespaces.contains_key(name), labels) {
            (true, Some(labels)) => self.relabel(name, labels),
            (false, Some(labels)) => {
                self.namespaces.insert(name.to_owned(), labels);
                let early = of_namespace(&self.early, name).map(|(key, pod)| (key.clone(), pod.clone()));
                for (key, pod) in early.collect::<Vec<_>>() {
                    self.set_pod(&key, Some(pod));
                }
            }
            (true, None) => {
                let known = of_namespace(&self.pods, name).map(|(key, known)| (key.clone(), known.pod.clone()));
                let known: Vec<_> = known.collect();
                known.iter().for_each(|(key, _)| self.set_pod(key, None));
                self.namespaces.remove(name);
                self.early.extend(known);
            }
            (false, None) => {}
        }
    }

    fn relabel(&mut self, name: &str, new: Labels) {
        let Some(old) = self.namespaces.insert(name.to_owned(), new.clone()).filter(|old| *old != new) else { return };
        let changed: Vec<(Pods, Id, bool)> = self
            .sets
            .pods
            .iter()
            .filter_map(|(pods, set)| match &pods.namespaces {
                Namespaces::Labelled(selector) if selector.matches(&old) != selector.matches(&new) => {
                    Some((pods.clone(), set.id, selector.matches(&new)))
                }
                _ => None,
            })
            .collect();
        for (pods, id, joins) in changed {
            for address in self.members(&pods, Some(name)) {
                let (set, key) = (pods_name(id), address_key(address));
                if joins {
                    self.put(&set, address, key);
                } else {
                    self.take(&set, address, &key);
                }
            }
        }
        let is_about = |of: &Namespaces| match of {
            Namespaces::Labelled(selector) => selector.matches(&old) != selector.matches(&new),
            Namespaces::One(_) => false,
        };
        let of_cluster = self.ids.range(..PolicyKey::first_of(""));
        let affected: Vec<(PolicyKey, Id)> = of_cluster
            .filter(|(_, id)| self.policies.get(id).is_some_and(|entry| is_about(&entry.policy.subjects.namespaces)))
            .map(|(key, id)| (key.clone(), *id))
            .collect();
        affected.into_iter().for_each(|(key, id)| self.reselect(&key, id));
    }

    /// What became of a node.
    pub fn set_node(&mut self, name: &str, node: Option<Node>) {
        let old = self.nodes.remove(name).unwrap_or_default();
        let new = node.clone().unwrap_or_default();
        if let Some(node) = node {
            self.nodes.insert(name.to_owned(), node);
        }
        if old == new {
            return;
        }
        let of = |node: &Node, selector: &Labelled| match selector.matches(&node.labels) {
            true => node.addresses.clone(),
            false => Vec::new(),
        };
        let changed = self.sets.nodes.iter().map(|(selector, set)| (set.id, of(&old, selector), of(&new, selector)));
        for (id, old, new) in changed.collect::<Vec<_>>() {
            new.into_iter().for_each(|address| self.put(&nodes_name(id), address, address_key(address)));
            old.into_iter().for_each(|address| self.take(&nodes_name(id), address, &address_key(address)));
        }
    }

    /// What became of a policy.
    pub fn set_policy(&mut self, key: &PolicyKey, policy: Option<Policy>) {
        let known = self.ids.get(key).copied();
        match (known, policy) {
            (None, None) => {}
            (Some(id), Some(policy)) => self.replace_policy(key, id, policy),
            (None, Some(policy)) => {
                let id = self.new_id();
                self.ids.insert(key.clone(), id);
                self.policies.insert(id, Entry { policy, subjects: 0, taken: Taken::default() });
                self.reselect(key, id);
            }
            (Some(id), None) => {
                self.ids.remove(key);
                self.reselect(key, id);
                self.policies.remove(&id);
            }
        }
    }

    fn replace_policy(&mut self, key: &PolicyKey, id: Id, policy: Policy) {
        let Some(entry) = self.policies.get(&id) else { return };
        if *entry.taken.asked.as_ref().unwrap_or(&entry.policy) == policy {
            return;
        }
        self.exchange(key, id, policy);
        if let PolicyKey::Network(key) = key {
            self.reopen(&key.namespace);
        }
    }

    fn exchange(&mut self, key: &PolicyKey, id: Id, policy: Policy) {
        let active = self.policies.get(&id).is_some_and(|entry| entry.subjects > 0);
        let policy = if active { self.admit(id, policy) } else { policy };
        let Some(entry) = self.policies.get_mut(&id) else { return };
        let old = std::mem::replace(&mut entry.policy, policy.clone());
        if active {
            self.acquire(&policy);
            self.write_chains(id);
            let kept = policy_chains(&policy, id);
            policy_chains(&old, id).difference(&kept).for_each(|chain| self.remove_chain(chain));
            self.release(&old);
            self.narrowed = true;
        }
        self.reselect(key, id);
    }

    /// Looks which pods of this node a policy is about now.
    fn reselect(&mut self, policy: &PolicyKey, id: Id) {
        let exists = self.ids.contains_key(policy);
        let one = match policy {
            PolicyKey::Network(key) => Some(&key.namespace),
            PolicyKey::Admin(_) | PolicyKey::Baseline => None,
        };
        let from = ObjectKey::new(one.cloned().unwrap_or_default(), "");
        let pods = self.pods.range(from..).take_while(|(key, _)| one.is_none_or(|one| key.namespace == *one));
        let affected: Vec<(ObjectKey, bool, bool)> = pods
            .filter(|(_, known)| known.pod.local)
            .map(|(key, known)| {
                let now = exists && self.is_about(id, &key.namespace, &known.pod);
                (key.clone(), known.selected_by.contains(&id), now)
            })
            .filter(|(_, before, now)| *before || *now)
            .collect();
        // Those that come first, so that nothing is made anew that one of them goes on to use.
        let (coming, others): (Vec<_>, Vec<_>) = affected.into_iter().partition(|(_, before, now)| !before && *now);
        for (key, before, now) in coming.into_iter().chain(others) {
            if before != now {
                if let Some(known) = self.pods.get_mut(&key) {
                    if now {
                        known.selected_by.insert(id)
                    } else {
                        known.selected_by.remove(&id)
                    };
                }
                if now {
                    self.count_subject(id);
                }
            }
            self.regroup(&key);
            if before && !now {
                self.discount_subject(id);
            }
            let addresses = self.pods.get(&key).map(|known| known.pod.addresses.clone()).unwrap_or_default();
            addresses.into_iter().for_each(|address| self.update_address(address));
        }
    }

    fn count_subject(&mut self, id: Id) {
        let Some(entry) = self.policies.get_mut(&id) else { return };
        entry.subjects += 1;
        if entry.subjects == 1 {
            let policy = entry.policy.clone();
            let policy = self.admit(id, policy);
            if let Some(entry) = self.policies.get_mut(&id) {
                entry.policy = policy.clone();
            }
            self.forbidding += usize::from(policy.tier != Tier::Network);
            self.acquire(&policy);
            self.write_chains(id);
        }
    }

    fn discount_subject(&mut self, id: Id) {
        let Some(entry) = self.policies.get_mut(&id) else { return };
        entry.subjects = entry.subjects.saturating_sub(1);
        if entry.subjects == 0 {
            let policy = entry.policy.clone();
            self.forbidding = self.forbidding.saturating_sub(usize::from(policy.tier != Tier::Network));
            policy_chains(&policy, id).iter().for_each(|chain| self.remove_chain(chain));
            self.release(&policy);
            self.leave_room(id);
            if let Namespaces::One(namespace) = &policy.subjects.namespaces {
                self.reopen(namespace);
            }
        }
    }

    fn write_chains(&mut self, id: Id) {
        let Some(entry) = self.policies.get(&id) else { return };
        for direction in Direction::ALL {
            let Some(rules) = entry.policy.rules(direction) else { continue };
            for table in &mut self.tables {
                let name = policy_chain(direction, id);
                for (chain, rules) in render::policy(&name, table.family(), direction, rules, &self.sets) {
                    table.set_chain(&chain, rules);
                }
            }
        }
    }

    fn remove_chain(&mut self, name: &str) {
        self.tables.iter_mut().for_each(|table| table.remove_chain(name));
    }

    /// Has the tables say of an address what its pod's groups are, or that it is held.
    fn update_address(&mut self, address: IpAddr) {
        let claimant = self.claims.get(&address).and_then(|claims| claims.last());
        let known = claimant.and_then(|key| self.pods.get(key));
        let held = self.pods_known && known.is_none() && self.attached.contains_key(&address);
        let groups = known.map_or([None; 2], |known| known.groups);
        self.in_use[index(address)] |= known.is_some() || held;
        let key = address_key(address);
        let governed = groups[Direction::Egress as usize].is_some_and(|group| self.governs(group));
        let table = &mut self.tables[index(address)];
        for (direction, group) in Direction::ALL.into_iter().zip(groups) {
            match group {
                Some(id) => table.put(direction.name(), key.clone(), Some(Data::Bytes(id.to_ne_bytes().into()))),
                None => table.take(direction.name(), &key),
            }
        }
        let isolated = groups != [None; 2];
        for (set, key, wanted) in [
            (ISOLATED, key.clone(), isolated),
            (SELF, [&key[..], &key[..]].concat(), isolated),
            (GOVERNED, key.clone(), governed),
            (HELD, key.clone(), held),
        ] {
            match (wanted, table.has(set, &key)) {
                (true, false) => table.put(set, key, None),
                (false, true) => table.take(set, &key),
                _ => {}
            }
        }
    }

    fn new_id(&mut self) -> Id {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// What there is of a namespace.
fn of_namespace<'a, T>(all: &'a BTreeMap<ObjectKey, T>, name: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a T)> {
    all.range(ObjectKey::new(name, "")..).take_while(move |(key, _)| key.namespace == name)
}

fn index(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// Counts one user less; answers with the number of what nobody uses any more, which is forgotten.
fn let_go<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Counted>, key: &K) -> Option<Id> {
    let counted = all.get_mut(key)?;
    counted.users = counted.users.saturating_sub(1);
    if counted.users > 0 {
        return None;
    }
    all.remove(key).map(|counted| counted.id)
}
