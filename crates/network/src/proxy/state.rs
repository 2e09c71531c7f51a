//! What services there are, what they ask of the node, and the table that follows, changed with each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use coracle_client::ObjectKey;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::costs::{Costs, cost};
use super::endpoints::{Endpoints, Place};
use super::health::Checks;
use super::rules::{self, ENDPOINTS, Entry, LISTS, Lists, NODE_ADDRESSES, TABLE, Way, place_key};
use super::stale::Flows;
use super::wanted::{PortRules, Wanted, wanted};
use super::{FamilyConfig, SERVICE_NAME};
use crate::netlink::Socket;
use crate::nft::{Data, InPackets, Table, Verdict};
use crate::node::address_port;

/// Clients that one service port remembers; further ones get any endpoint each time.
const CLIENTS: u32 = 65_536;

/// The services of a node, of one family of addresses.
pub(crate) struct State {
    config: FamilyConfig,
    place: Place,
    table: Table,
    services: HashMap<ObjectKey, Arc<Service>>,
    slices: HashMap<ObjectKey, Arc<EndpointSlice>>,
    by_service: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    current: HashMap<ObjectKey, Wanted>,
    /// The numbers of ports, of which those of their lists are made.
    numbers: HashMap<String, u32>,
    next_number: u32,
    /// How many ports have endpoints picked by a chain.
    picks: HashMap<(Way, u32), usize>,
    /// Which ports would have a key of a set, and the value that it would have. The first has it: two services may ask for
    /// one address.
    claims: HashMap<(&'static str, Vec<u8>), Claims>,
    changed: BTreeSet<ObjectKey>,
    costs: Costs,
    checks: Checks,
}

/// By the name of a port: what it would have a key lead to.
type Claims = BTreeMap<String, Option<Data>>;

impl State {
    /// No services.
    pub fn new(config: FamilyConfig) -> State {
        let mut table = Table::new(config.family, TABLE, rules::base, &rules::base_sets(config.family));
        table.set_chain(NODE_ADDRESSES, rules::node_addresses(&config));
        State {
            place: Place { family: config.family, node: config.node_name.clone(), zone: None },
            config,
            table,
            services: HashMap::new(),
            slices: HashMap::new(),
            by_service: HashMap::new(),
            current: HashMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
            picks: HashMap::new(),
            claims: HashMap::new(),
            changed: BTreeSet::new(),
            costs: Costs::new(),
            checks: Checks::new(),
        }
    }

    /// What is answered at the ports for health checks.
    pub fn health_checks(&self) -> Checks {
        self.checks.clone()
    }

    /// The zone of the node.
    pub fn set_zone(&mut self, zone: Option<String>) {
        if self.place.zone != zone {
            self.place.zone = zone;
            self.changed.extend(self.services.keys().cloned());
        }
    }

    /// What became of a slice.
    pub fn set_slice(&mut self, key: ObjectKey, slice: Option<Arc<EndpointSlice>>) {
        let service = |slice: &EndpointSlice| {
            let name = slice.labels().get(SERVICE_NAME)?;
            Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
        };
        let old = match &slice {
            Some(slice) => self.slices.insert(key.clone(), slice.clone()),
            None => self.slices.remove(&key),
        };
        if let Some(service) = old.as_deref().and_then(service) {
            if let Some(slices) = self.by_service.get_mut(&service) {
                slices.remove(&key);
                if slices.is_empty() {
                    self.by_service.remove(&service);
                }
            }
            self.changed.insert(service);
        }
        if let Some(service) = slice.as_deref().and_then(service) {
            self.by_service.entry(service.clone()).or_default().insert(key);
            self.changed.insert(service);
        }
    }

    /// What became of a service.
    pub fn set_service(&mut self, key: ObjectKey, service: Option<Arc<Service>>) {
        match service {
            Some(service) => self.services.insert(key.clone(), service),
            None => self.services.remove(&key),
        };
        self.changed.insert(key);
    }

    /// Has the kernel take over what changed.
    ///
    /// # Errors
    /// It refuses.
    pub fn commit(&mut self, socket: &mut Socket) -> io::Result<()> {
        let mut flows = Flows::default();
        while let Some(key) = self.changed.pop_first() {
            let slices = self.by_service.get(&key).into_iter().flatten();
            let slices = slices.filter_map(|slice| self.slices.get(slice).map(|slice| &**slice));
            let (service, before) = (self.services.get(&key), self.costs.of(&key));
            let new = match service {
                Some(service) if self.costs.admit(&key, cost(service, slices.clone())) => {
                    wanted(&self.config, &self.place, service, slices)
                }
                Some(_) => Wanted::default(),
                None => {
                    self.costs.forget(&key);
                    Wanted::default()
                }
            };
            self.changed.extend(self.costs.waiting(&key, before));
            self.change(key, new, &mut flows);
        }
        self.table.commit(socket)?;
        flows.forget(socket, self.config.family);
        Ok(())
    }

    pub(super) fn change(&mut self, key: ObjectKey, new: Wanted, flows: &mut Flows) {
        let old = self.current.remove(&key).unwrap_or_default();
        if old.health != new.health {
            if let Some((port, _)) = old.health {
                self.checks.remove(&port);
            }
            self.checks.extend(new.health.clone());
        }
        let names: BTreeSet<&String> = old.ports.keys().chain(new.ports.keys()).collect();
        for name in names {
            let (before, now) = (old.ports.get(name), new.ports.get(name));
            if before != now {
                self.change_port(name, before, now);
                flows.change(before, now);
            }
        }
        if new != Wanted::default() {
            self.current.insert(key, new);
        }
    }

    fn change_port(&mut self, name: &str, old: Option<&PortRules>, new: Option<&PortRules>) {
        let first = self.number(name).wrapping_mul(LISTS);
        self.change_memory(name, old, new);
        self.change_endpoints(first, old, new);
        self.change_picks(old, new);
        let chains = |rules: Option<&PortRules>, config: &FamilyConfig| {
            rules.map(|rules| rules::chains(name, rules, first, config)).unwrap_or_default()
        };
        let (old_chains, new_chains) = (chains(old, &self.config), chains(new, &self.config));
        for (chain, _) in &old_chains {
            if !new_chains.iter().any(|(other, _)| other == chain) {
                self.table.remove_chain(chain);
            }
        }
        for (chain, rules) in new_chains {
            self.table.set_chain(&chain, rules);
        }
        let entries =
            |rules: Option<&PortRules>| rules.map(|rules| rules::entries(name, rules, first)).unwrap_or_default();
        let mut touched = BTreeSet::new();
        for Entry { set, key, .. } in entries(old) {
            if let Some(ports) = self.claims.get_mut(&(set, key.clone())) {
                ports.remove(name);
            }
            touched.insert((set, key));
        }
        for Entry { set, key, value } in entries(new) {
            self.claims.entry((set, key.clone())).or_default().insert(name.to_owned(), value);
            touched.insert((set, key));
        }
        touched.into_iter().for_each(|(set, key)| self.decide(set, key));
        if new.is_none() {
            self.numbers.remove(name);
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.next_number = self.next_number.wrapping_add(1);
        self.numbers.insert(name.to_owned(), self.next_number);
        self.next_number
    }

    fn change_memory(&mut self, name: &str, old: Option<&PortRules>, new: Option<&PortRules>) {
        let memory = |rules: Option<&PortRules>| rules.and_then(|rules| rules::memory(name, rules));
        let (forgotten, remembered) = (memory(old), memory(new));
        if forgotten != remembered {
            if let Some(memory) = forgotten {
                self.table.remove_set(&memory);
            }
            if let (Some(memory), Some(time)) = (remembered, new.and_then(|rules| rules.affinity)) {
                let (client, endpoint) = (self.config.family.address(), self.config.family.address_port());
                self.table.add_memory(&memory, client, endpoint, time, CLIENTS);
            }
        }
    }

    fn change_endpoints(&mut self, first: u32, old: Option<&PortRules>, new: Option<&PortRules>) {
        let lists = |rules: Option<&PortRules>| rules.map(|rules| Lists::of(rules).lists).unwrap_or_default();
        let (old, new) = (lists(old), lists(new));
        for number in 0..LISTS as usize {
            let list = |lists: &[Endpoints]| lists.get(number).cloned().unwrap_or_else(|| Endpoints::from([]));
            let (old, new) = (list(&old), list(&new));
            let id = first.wrapping_add(number as u32);
            for (place, (address, port)) in (0..).zip(new.iter()) {
                let value = Data::Bytes(address_port(*address, *port));
                self.table.put(ENDPOINTS, place_key(place, id), Some(value));
            }
            for place in new.len()..old.len() {
                self.table.take(ENDPOINTS, &place_key(place as u32, id));
            }
        }
    }

    fn change_picks(&mut self, old: Option<&PortRules>, new: Option<&PortRules>) {
        let picks = |rules: Option<&PortRules>| rules.map(rules::picks).unwrap_or_default();
        for pick in picks(new) {
            let users = self.picks.entry(pick).or_default();
            *users += 1;
            if *users == 1 {
                let (way, count) = pick;
                let (chain, rules) = rules::pick(way, count, &self.config);
                self.table.set_chain(&chain, rules);
                let value = Data::Verdict(Verdict(chain));
                self.table.put(way.picks(), count.to_ne_bytes().to_vec(), Some(value));
            }
        }
        for (way, count) in picks(old) {
            let Some(users) = self.picks.get_mut(&(way, count)) else { continue };
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.picks.remove(&(way, count));
                self.table.remove_chain(&rules::pick(way, count, &self.config).0);
                self.table.take(way.picks(), &count.to_ne_bytes());
            }
        }
    }

    /// Has a key the value of the first that would have it.
    fn decide(&mut self, set: &'static str, key: Vec<u8>) {
        let ports = self.claims.get(&(set, key.clone()));
        match ports.and_then(|ports| ports.values().next()) {
            // A set counts how often a key was put.
            Some(None) if self.table.has(set, &key) => {}
            Some(value) => self.table.put(set, key, value.clone()),
            None => {
                self.table.take(set, &key);
                self.claims.remove(&(set, key));
            }
        }
    }
}
