//! What policies, pods and namespaces there are, and the tables that follow from them, changed with each of them.
//!
//! A change costs what it touches: a pod is asked of each set of peers, a policy of each pod of its namespace. Sets and
//! chains are there for the policies only that are about a pod of this node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use coracle_client::ObjectKey;

use super::objects::{Labels, Pod};
use super::policy::{Direction, Namespaces, Peer, Pods, Policy, Port, Rule};
use super::render::{self, HELD, ISOLATED, Names, SELF, TABLE, address_key, port_key};
use crate::netlink::Socket;
use crate::nft::{Data, Family, InPackets, Table, Verdict};

/// The number of a policy, of a group or of a set, which is never given to another.
type Id = u32;

/// What is known and what follows from it.
pub(crate) struct State {
    tables: [Table; 2],
    /// Whether pods of this node have addresses of the family: without, the kernel is not bothered with a table.
    in_use: [bool; 2],
    pods: BTreeMap<ObjectKey, Known>,
    namespaces: HashMap<String, Labels>,
    ids: BTreeMap<ObjectKey, Id>,
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
}

/// Something that is there while it is used.
struct Counted {
    id: Id,
    users: usize,
}

/// Sets of peers and of named ports, by what they are of.
#[derive(Default)]
struct Sets {
    pods: HashMap<Pods, Counted>,
    ports: HashMap<(u8, String), Counted>,
}

impl Names for Sets {
    fn of_pods(&self, pods: &Pods) -> Option<String> {
        self.pods.get(pods).map(|set| pods_name(set.id))
    }

    fn of_ports(&self, protocol: u8, name: &str) -> Option<String> {
        self.ports.get(&(protocol, name.to_owned())).map(|set| ports_name(set.id))
    }
}

fn pods_name(id: Id) -> String {
    format!("pods-{id}")
}

fn ports_name(id: Id) -> String {
    format!("ports-{id}")
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

fn group_chain(direction: Direction, id: Id) -> String {
    format!("{}-group-{id}", direction.name())
}

impl State {
    /// Nothing is known.
    pub fn new(families: &[Family]) -> State {
        State {
            tables: Family::ALL.map(|family| Table::new(family, TABLE, render::base, &render::base_sets(family))),
            in_use: Family::ALL.map(|family| families.contains(&family)),
            pods: BTreeMap::new(),
            namespaces: HashMap::new(),
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
        }
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
        let local = pod.local;
        if local {
            for address in &pod.addresses {
                self.claims.entry(*address).or_default().push(key.clone());
                touched.insert(*address);
            }
        }
        let policies = self.ids.range(ObjectKey::new(key.namespace.clone(), "")..);
        let policies = policies.take_while(|(policy, _)| policy.namespace == key.namespace);
        let about = |id: &Id| self.policies.get(id).is_some_and(|entry| entry.policy.subjects.matches(&pod.labels));
        let selected_by: BTreeSet<Id> = policies.map(|(_, id)| *id).filter(|id| local && about(id)).collect();
        self.pods.insert(key.clone(), Known { pod, selected_by: selected_by.clone(), groups: [None; 2] });
        selected_by.into_iter().for_each(|id| self.count_subject(id));
        self.regroup(key);
    }

    fn leave(&mut self, old: &Known) {
        for (direction, group) in Direction::ALL.into_iter().zip(old.groups) {
            self.release_group(direction, group);
        }
        old.selected_by.iter().for_each(|id| self.discount_subject(*id));
    }

    /// Puts a pod into the sets of peers and named ports that it belongs to now, and takes it from the others.
    fn change_members(&mut self, key: &ObjectKey, old: Option<&Pod>, new: Option<&Pod>) {
        let namespace = self.namespaces.get(&key.namespace).cloned().unwrap_or_default();
        let of_namespace = |of: &Namespaces| match of {
            Namespaces::One(name) => *name == key.namespace,
            Namespaces::Labelled(selector) => selector.matches(&namespace),
        };
        let mut puts = Vec::new();
        let mut takes = Vec::new();
        for (pods, set) in self.sets.pods.iter().filter(|(pods, _)| of_namespace(&pods.namespaces)) {
            let members = |pod: Option<&Pod>| {
                let pod = pod.filter(|pod| pods.labels.matches(&pod.labels));
                pod.map(|pod| pod.addresses.clone()).unwrap_or_default()
            };
            puts.extend(members(new).into_iter().map(|address| (pods_name(set.id), address, address_key(address))));
            takes.extend(members(old).into_iter().map(|address| (pods_name(set.id), address, address_key(address))));
        }
        for ((protocol, name), set) in &self.sets.ports {
            let keys = |pod: Option<&Pod>| pod.map(|pod| named(pod, *protocol, name)).unwrap_or_default();
            puts.extend(keys(new).into_iter().map(|(address, key)| (ports_name(set.id), address, key)));
            takes.extend(keys(old).into_iter().map(|(address, key)| (ports_name(set.id), address, key)));
        }
        for (set, address, key) in puts {
            self.table(address).put(&set, key, None);
        }
        for (set, address, key) in takes {
            self.take(&set, address, &key);
        }
    }

    fn take(&mut self, set: &str, address: IpAddr, key: &[u8]) {
        let table = self.table(address);
        table.take(set, key);
        let gone = !table.has(set, key);
        self.narrowed |= gone;
    }

    fn table(&mut self, address: IpAddr) -> &mut Table {
        &mut self.tables[index(address)]
    }

    /// The labels of a namespace, which has none when it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        let old = self.namespaces.get(name).cloned().unwrap_or_default();
        let new = labels.clone().unwrap_or_default();
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        if old == new {
            return;
        }
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
                    self.table(address).put(&set, key, None);
                } else {
                    self.take(&set, address, &key);
                }
            }
        }
    }

    /// The addresses of the pods with labels, of one namespace or of all that are selected.
    fn members(&self, pods: &Pods, only: Option<&str>) -> Vec<IpAddr> {
        let none = Labels::new();
        let one = only.or(match &pods.namespaces {
            Namespaces::One(name) => Some(name),
            Namespaces::Labelled(_) => None,
        });
        let from = ObjectKey::new(one.unwrap_or_default(), "");
        let candidates = self.pods.range(from..).take_while(|(key, _)| one.is_none_or(|one| key.namespace == one));
        let wanted = |key: &ObjectKey| match &pods.namespaces {
            Namespaces::Labelled(selector) if only.is_none() => {
                selector.matches(self.namespaces.get(&key.namespace).unwrap_or(&none))
            }
            _ => true,
        };
        let found = candidates.filter(|(key, known)| wanted(key) && pods.labels.matches(&known.pod.labels));
        found.flat_map(|(_, known)| known.pod.addresses.iter().copied()).collect()
    }

    /// What became of a policy.
    pub fn set_policy(&mut self, key: &ObjectKey, policy: Option<Policy>) {
        let known = self.ids.get(key).copied();
        match (known, policy) {
            (None, None) => {}
            (Some(id), Some(policy)) => self.replace_policy(key, id, policy),
            (None, Some(policy)) => {
                let id = self.new_id();
                self.ids.insert(key.clone(), id);
                self.policies.insert(id, Entry { policy, subjects: 0 });
                self.reselect(key, id);
            }
            (Some(id), None) => {
                self.ids.remove(key);
                self.reselect(key, id);
                self.policies.remove(&id);
            }
        }
    }

    fn replace_policy(&mut self, key: &ObjectKey, id: Id, policy: Policy) {
        let Some(entry) = self.policies.get_mut(&id) else { return };
        if entry.policy == policy {
            return;
        }
        let active = entry.subjects > 0;
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
    fn reselect(&mut self, policy: &ObjectKey, id: Id) {
        let exists = self.ids.contains_key(policy);
        let subjects = self.policies.get(&id).filter(|_| exists).map(|entry| entry.policy.subjects.clone());
        let from = ObjectKey::new(policy.namespace.clone(), "");
        let pods = self.pods.range(from..).take_while(|(key, _)| key.namespace == policy.namespace);
        let affected: Vec<(ObjectKey, bool, bool)> = pods
            .filter(|(_, known)| known.pod.local)
            .map(|(key, known)| {
                let now = subjects.as_ref().is_some_and(|subjects| subjects.matches(&known.pod.labels));
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
            self.acquire(&policy);
            self.write_chains(id);
        }
    }

    fn discount_subject(&mut self, id: Id) {
        let Some(entry) = self.policies.get_mut(&id) else { return };
        entry.subjects = entry.subjects.saturating_sub(1);
        if entry.subjects == 0 {
            let policy = entry.policy.clone();
            policy_chains(&policy, id).iter().for_each(|chain| self.remove_chain(chain));
            self.release(&policy);
        }
    }

    /// Has the sets to which the rules of a policy refer.
    fn acquire(&mut self, policy: &Policy) {
        let (peers, ports) = references(policy);
        for pods in peers {
            match self.sets.pods.get_mut(&pods) {
                Some(set) => set.users += 1,
                None => self.add_pods(pods),
            }
        }
        for port in ports {
            match self.sets.ports.get_mut(&port) {
                Some(set) => set.users += 1,
                None => self.add_ports(port),
            }
        }
    }

    fn add_pods(&mut self, pods: Pods) {
        let id = self.new_id();
        let name = pods_name(id);
        for table in &mut self.tables {
            table.add_set(&name, table.family().address(), None);
        }
        for address in self.members(&pods, None) {
            self.table(address).put(&name, address_key(address), None);
        }
        self.sets.pods.insert(pods, Counted { id, users: 1 });
    }

    fn add_ports(&mut self, port: (u8, String)) {
        let id = self.new_id();
        let name = ports_name(id);
        for table in &mut self.tables {
            table.add_set(&name, table.family().address_protocol_port(), None);
        }
        let keys: Vec<_> = self.pods.values().flat_map(|known| named(&known.pod, port.0, &port.1)).collect();
        for (address, key) in keys {
            self.table(address).put(&name, key, None);
        }
        self.sets.ports.insert(port, Counted { id, users: 1 });
    }

    fn release(&mut self, policy: &Policy) {
        let (peers, ports) = references(policy);
        let mut unused = Vec::new();
        for pods in peers {
            unused.extend(let_go(&mut self.sets.pods, &pods).map(pods_name));
        }
        for port in ports {
            unused.extend(let_go(&mut self.sets.ports, &port).map(ports_name));
        }
        for name in unused {
            self.tables.iter_mut().for_each(|table| table.remove_set(&name));
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

    /// Has a pod in the groups that its policies make.
    fn regroup(&mut self, key: &ObjectKey) {
        let Some(known) = self.pods.get(key) else { return };
        let (selected_by, old) = (known.selected_by.clone(), known.groups);
        let policies = &self.policies;
        let wanted = Direction::ALL.map(|direction| {
            let has = |id: &Id| policies.get(id).is_some_and(|entry| entry.policy.rules(direction).is_some());
            selected_by.iter().copied().filter(has).collect::<Vec<_>>()
        });
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

    fn acquire_group(&mut self, direction: Direction, ids: Vec<Id>) -> Id {
        if let Some(group) = self.groups.get_mut(&(direction, ids.clone())) {
            group.users += 1;
            return group.id;
        }
        let id = self.new_id();
        let chain = render::group(ids.iter().map(|policy| policy_chain(direction, *policy)));
        for table in &mut self.tables {
            table.set_chain(&group_chain(direction, id), chain.clone());
            let verdict = Data::Verdict(Verdict(group_chain(direction, id)));
            table.put(render::chains(direction), id.to_ne_bytes().to_vec(), Some(verdict));
        }
        self.groups.insert((direction, ids.clone()), Counted { id, users: 1 });
        self.group_of.insert(id, (direction, ids));
        id
    }

    fn release_group(&mut self, direction: Direction, group: Option<Id>) {
        let Some(id) = group else { return };
        let Some(key) = self.group_of.get(&id).cloned() else { return };
        if let_go(&mut self.groups, &key).is_some() {
            self.group_of.remove(&id);
            self.tables.iter_mut().for_each(|table| table.take(render::chains(direction), &id.to_ne_bytes()));
            self.remove_chain(&group_chain(direction, id));
        }
    }

    /// Has the tables say of an address what its pod's groups are, or that it is held.
    fn update_address(&mut self, address: IpAddr) {
        let claimant = self.claims.get(&address).and_then(|claims| claims.last());
        let known = claimant.and_then(|key| self.pods.get(key));
        let held = self.pods_known && known.is_none() && self.attached.contains_key(&address);
        let groups = known.map_or([None; 2], |known| known.groups);
        self.in_use[index(address)] |= known.is_some() || held;
        let key = address_key(address);
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

    /// Whether a connection may be, by what the rules say of its first packet.
    pub fn allows(&self, protocol: u8, client: IpAddr, server: (IpAddr, u16)) -> bool {
        client == server.0
            || self.passes(Direction::Egress, protocol, client, server)
                && self.passes(Direction::Ingress, protocol, client, server)
    }

    fn passes(&self, direction: Direction, protocol: u8, client: IpAddr, server: (IpAddr, u16)) -> bool {
        let (subject, peer) = match direction {
            Direction::Ingress => (server.0, client),
            Direction::Egress => (client, server.0),
        };
        let pod = self.claims.get(&subject).and_then(|claims| self.pods.get(claims.last()?));
        let Some(known) = pod else {
            return !(self.pods_known && self.attached.contains_key(&subject));
        };
        let Some(group) = known.groups[direction as usize] else { return true };
        let policies = self.group_of.get(&group).map(|(_, policies)| policies.as_slice()).unwrap_or_default();
        let rules = policies.iter().filter_map(|id| self.policies.get(id)?.policy.rules(direction)).flatten();
        let allowed = |rule: &Rule| self.is_peer(rule, peer) && self.is_port(rule, protocol, server);
        rules.into_iter().any(allowed)
    }

    fn is_peer(&self, rule: &Rule, peer: IpAddr) -> bool {
        let table = &self.tables[index(peer)];
        rule.peers.as_ref().is_none_or(|peers| {
            peers.iter().any(|one| match one {
                Peer::Pods(pods) => self.sets.of_pods(pods).is_some_and(|set| table.has(&set, &address_key(peer))),
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
                    let set = self.sets.of_ports(*of, name).filter(|_| *of == protocol);
                    set.is_some_and(|set| table.has(&set, &port_key(server.0, protocol, server.1)))
                }
            })
        })
    }
}

fn index(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// The keys of a pod's ports of a name.
fn named(pod: &Pod, protocol: u8, name: &str) -> Vec<(IpAddr, Vec<u8>)> {
    let ports = pod.ports.iter().filter(|port| port.protocol == protocol && port.name == name);
    let keys = ports.flat_map(|port| {
        pod.addresses.iter().map(|address| (*address, port_key(*address, port.protocol, port.number)))
    });
    keys.collect()
}

/// The sets of pods and of named ports that the rules of a policy refer to, each once.
fn references(policy: &Policy) -> (BTreeSet<Pods>, BTreeSet<(u8, String)>) {
    let rules = || policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = rules().flat_map(|rule| rule.peers.iter().flatten()).filter_map(|peer| match peer {
        Peer::Pods(pods) => Some(pods.clone()),
        Peer::Addresses(_) => None,
    });
    let ports = rules().flat_map(|rule| rule.ports.iter().flatten()).filter_map(|port| match port {
        Port::Named { protocol, name } => Some((*protocol, name.clone())),
        Port::Numbers { .. } => None,
    });
    (peers.collect(), ports.collect())
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
