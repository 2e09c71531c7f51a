//! A table as it is wanted. What changed goes to the kernel in one transaction that touches nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use super::{Batch, Data, Expr, Family, Type};
use crate::netlink::Socket;

/// A step of a rule: an expression, or one that refers to a set of the rule's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Do(Expr),
    /// Goes on only if the first registers are in one of the intervals: beginning, and first key behind.
    Within(Type, Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// Goes on only if the first registers are one of these values, which follow each other.
    OneOf(Type, Vec<u8>),
}

/// What a rule does, in order.
pub type Rule = Vec<Part>;

/// The chains and sets of a table, and what of them the kernel does not have yet.
///
/// # Guarantees
/// A transaction is made as a whole or not at all. When the kernel refuses one, the table is made anew, in one transaction
/// as well, so that no packet sees less of it.
pub struct Table {
    family: Family,
    name: &'static str,
    /// Makes what does not change: base chains, and the sets to which they refer.
    base: fn(Family, &mut Batch),
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Vec<Rule>>,
    changed: Changed,
}

struct Set {
    key: Type,
    value: Option<Type>,
    /// Rules fill it: how long it remembers what, and how much.
    memory: Option<(Duration, u32)>,
    elements: HashMap<Vec<u8>, Element>,
}

impl Set {
    fn new(key: Type, value: Option<Type>) -> Set {
        Set { key, value, memory: None, elements: HashMap::new() }
    }
}

#[derive(Clone)]
struct Element {
    value: Option<Data>,
    /// How often it was put: the set has it until it was taken as often.
    count: u32,
}

/// What was changed since the kernel last had everything.
#[derive(Default)]
struct Changed {
    /// Sets that the kernel has not.
    new_sets: BTreeSet<String>,
    old_sets: BTreeSet<String>,
    /// By set and key: the value that the kernel has, if it has the key.
    elements: BTreeMap<String, BTreeMap<Vec<u8>, Option<Option<Data>>>>,
    chains: BTreeSet<String>,
    /// Of those, the ones that the kernel has.
    known_chains: BTreeSet<String>,
    everything: bool,
}

impl Changed {
    fn is_empty(&self) -> bool {
        !self.everything
            && self.new_sets.is_empty()
            && self.old_sets.is_empty()
            && self.elements.is_empty()
            && self.chains.is_empty()
    }
}

impl Table {
    /// A table of which the kernel has nothing: the first [`Table::commit`] makes it anew. `sets` are those to which the
    /// base chains refer.
    pub fn new(
        family: Family,
        name: &'static str,
        base: fn(Family, &mut Batch),
        sets: &[(&str, Type, Option<Type>)],
    ) -> Table {
        let sets = sets.iter().map(|(name, key, value)| (name.to_string(), Set::new(*key, *value)));
        let (sets, changed) = (sets.collect(), Changed { everything: true, ..Changed::default() });
        Table { family, name, base, sets, chains: BTreeMap::new(), changed }
    }

    /// The addresses of its packets.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Adds a set, or a map when it has a value type. One of that name was always of these types.
    pub fn add_set(&mut self, name: &str, key: Type, value: Option<Type>) {
        self.insert_set(name, Set::new(key, value));
    }

    /// Adds a map that rules fill, as [`Batch::memory`] makes it.
    pub fn add_memory(&mut self, name: &str, key: Type, value: Type, timeout: Duration, size: u32) {
        self.insert_set(name, Set { memory: Some((timeout, size)), ..Set::new(key, Some(value)) });
    }

    fn insert_set(&mut self, name: &str, set: Set) {
        self.sets.insert(name.to_owned(), set);
        // One that is removed and comes back before the kernel heard of it stays as it is.
        if !self.changed.old_sets.remove(name) {
            self.changed.new_sets.insert(name.to_owned());
        }
    }

    /// Removes a set. No rule may refer to it any more when the change is committed.
    pub fn remove_set(&mut self, name: &str) {
        if self.sets.remove(name).is_some() {
            self.changed.elements.remove(name);
            if !self.changed.new_sets.remove(name) {
                self.changed.old_sets.insert(name.to_owned());
            }
        }
    }

    /// Puts a key into a set, or a value into a map in place of the one before.
    pub fn put(&mut self, set: &str, key: Vec<u8>, value: Option<Data>) {
        let Some(found) = self.sets.get_mut(set) else { return };
        let before = found.elements.get(&key).cloned();
        let count = if value.is_some() { 1 } else { before.as_ref().map_or(1, |element| element.count + 1) };
        found.elements.insert(key.clone(), Element { value: value.clone(), count });
        if before.as_ref().map(|element| &element.value) != Some(&value) {
            self.note(set, key, before);
        }
    }

    /// Takes a key from a set; one that was put several times stays until it was taken as often.
    pub fn take(&mut self, set: &str, key: &[u8]) {
        let Some(found) = self.sets.get_mut(set) else { return };
        match found.elements.get_mut(key) {
            Some(element) if element.count > 1 => element.count -= 1,
            Some(_) => {
                let before = found.elements.remove(key);
                self.note(set, key.to_vec(), before);
            }
            None => {}
        }
    }

    /// Whether a set has a key.
    pub fn has(&self, set: &str, key: &[u8]) -> bool {
        self.sets.get(set).is_some_and(|set| set.elements.contains_key(key))
    }

    /// How many keys a set has.
    pub fn size(&self, set: &str) -> usize {
        self.sets.get(set).map_or(0, |set| set.elements.len())
    }

    fn note(&mut self, set: &str, key: Vec<u8>, before: Option<Element>) {
        let changes = self.changed.elements.entry(set.to_owned()).or_default();
        changes.entry(key).or_insert_with(|| before.map(|element| element.value));
    }

    /// Makes a chain, or replaces its rules.
    pub fn set_chain(&mut self, name: &str, rules: Vec<Rule>) {
        let before = self.chains.insert(name.to_owned(), rules);
        self.note_chain(name, before.is_some());
    }

    /// Removes a chain. Nothing may lead there any more when the change is committed.
    pub fn remove_chain(&mut self, name: &str) {
        if self.chains.remove(name).is_some() {
            self.note_chain(name, true);
        }
    }

    fn note_chain(&mut self, name: &str, known: bool) {
        if self.changed.chains.insert(name.to_owned()) && known {
            self.changed.known_chains.insert(name.to_owned());
        }
    }

    /// Has the next [`Table::commit`] make the table anew: the kernel has something that is not known here.
    pub fn renew(&mut self) {
        self.changed.everything = true;
    }

    /// Has the kernel take over what changed.
    ///
    /// # Errors
    /// The kernel also refuses the table made anew; what it has stays, and the next call tries again.
    pub fn commit(&mut self, socket: &mut Socket) -> io::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if !self.changed.everything {
            let batch = self.difference();
            match batch.commit(socket) {
                Ok(()) => {
                    self.changed = Changed::default();
                    return Ok(());
                }
                // Tests see every difference that is not right.
                Err(error) if cfg!(test) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, table = self.name, "failed to change an nftables table; it is made anew");
                    self.changed.everything = true;
                }
            }
        }
        self.whole().commit(socket)?;
        self.changed = Changed::default();
        Ok(())
    }

    /// The order is that of the references: sets, then chains, what is in them, and what leads to them.
    fn difference(&self) -> Batch {
        let (mut batch, changed) = (Batch::of(self.family), &self.changed);
        for name in &changed.new_sets {
            self.declare(&mut batch, name);
        }
        for name in &changed.chains {
            if self.chains.contains_key(name) && !changed.known_chains.contains(name) {
                batch.chain(self.name, name);
            }
        }
        for name in &changed.known_chains {
            batch.flush_chain(self.name, name);
        }
        for name in &changed.chains {
            self.fill(&mut batch, name);
        }
        for (name, changes) in &changed.elements {
            self.change_elements(&mut batch, name, changes);
        }
        for name in changed.known_chains.iter().filter(|name| !self.chains.contains_key(*name)) {
            batch.delete_chain(self.name, name);
        }
        for name in &changed.old_sets {
            batch.delete_set(self.name, name);
        }
        batch
    }

    fn whole(&self) -> Batch {
        let mut batch = Batch::of(self.family);
        batch.renew_table(self.name);
        self.sets.keys().for_each(|name| self.declare(&mut batch, name));
        (self.base)(self.family, &mut batch);
        self.chains.keys().for_each(|name| batch.chain(self.name, name));
        self.chains.keys().for_each(|name| self.fill(&mut batch, name));
        for (name, set) in &self.sets {
            let all = set.elements.keys().map(|key| (key.clone(), None)).collect();
            self.change_elements(&mut batch, name, &all);
        }
        batch
    }

    fn declare(&self, batch: &mut Batch, name: &str) {
        let Some(set) = self.sets.get(name) else { return };
        match (set.memory, set.value) {
            (Some((timeout, size)), Some(value)) => batch.memory(self.name, name, set.key, Some(value), timeout, size),
            _ => batch.set(self.name, name, set.key, set.value),
        }
    }

    fn fill(&self, batch: &mut Batch, chain: &str) {
        for rule in self.chains.get(chain).into_iter().flatten() {
            let steps: Vec<Expr> = rule.iter().flat_map(|part| self.steps(batch, part)).collect();
            batch.rule(self.name, chain, &steps);
        }
    }

    fn steps(&self, batch: &mut Batch, part: &Part) -> Vec<Expr> {
        let split = |key: Type, values: &[u8]| {
            values.chunks_exact(key.length() as usize).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        match part {
            Part::Do(expr) => vec![expr.clone()],
            // Sets without names cost each other: the kernel looks at all of them for the next one's number.
            Part::Within(_, intervals) if intervals.len() == 1 => intervals
                .iter()
                .map(|(first, end)| Expr::Between(first.clone(), before(end.as_deref(), first)))
                .collect(),
            Part::Within(key, intervals) => {
                vec![Expr::InAnonymousSet(batch.anonymous_intervals(self.name, *key, intervals))]
            }
            Part::OneOf(key, values) => {
                vec![Expr::InAnonymousSet(batch.anonymous_set(self.name, *key, &split(*key, values)))]
            }
        }
    }

    fn change_elements(&self, batch: &mut Batch, name: &str, changes: &BTreeMap<Vec<u8>, Option<Option<Data>>>) {
        let Some(set) = self.sets.get(name) else { return };
        let now = |key: &Vec<u8>| set.elements.get(key).map(|element| &element.value);
        let differs = changes.iter().filter(|(key, before)| now(key) != before.as_ref());
        let (mut gone, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (key, before) in differs {
            if before.is_some() {
                gone.push(key.clone());
            }
            match now(key) {
                Some(Some(value)) => values.push((key.clone(), value.clone())),
                Some(None) => keys.push(key.clone()),
                None => {}
            }
        }
        batch.delete_elements(self.name, name, &gone);
        batch.add_set_elements(self.name, name, &keys);
        batch.add_map_elements(self.name, name, &values);
    }
}

/// The key before another; the last one of as many bytes as `like` before none.
fn before(key: Option<&[u8]>, like: &[u8]) -> Vec<u8> {
    let mut before = key.map_or_else(|| vec![0; like.len()], <[u8]>::to_vec);
    for byte in before.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != u8::MAX {
            break;
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::Verdict;

    const BASE: [(&str, Type, Option<Type>); 1] = [("map", Type::Address, Some(Type::Verdict))];

    /// A table of which the kernel has everything so far.
    fn known(fill: impl Fn(&mut Table)) -> Table {
        let mut table = Table::new(Family::V4, "t", |_, _| (), &BASE);
        fill(&mut table);
        table.changed = Changed::default();
        table
    }

    fn to(chain: &str) -> Option<Data> {
        Some(Data::Verdict(Verdict(chain.to_owned())))
    }

    fn with_two(table: &mut Table) {
        for (n, name) in ["chain-a", "chain-b"].into_iter().enumerate() {
            table.set_chain(name, vec![vec![Part::Do(Expr::Drop)]]);
            table.put("map", vec![10, 0, 0, n as u8], to(name));
        }
    }

    #[test]
    fn what_was_undone_is_no_change() {
        let mut table = known(with_two);
        table.put("map", vec![10, 0, 0, 0], to("chain-b"));
        table.put("map", vec![10, 0, 0, 0], to("chain-a"));
        table.take("map", &[10, 0, 0, 1]);
        table.put("map", vec![10, 0, 0, 1], to("chain-b"));
        table.put("map", vec![10, 0, 0, 9], to("chain-b"));
        table.take("map", &[10, 0, 0, 9]);
        table.add_set("set", Type::Address, None);
        table.remove_set("set");
        assert!(table.difference().is_empty());
    }

    #[test]
    fn the_last_key_of_an_interval_is_that_before_its_end() {
        assert_eq!(before(Some(&[10, 0, 1, 0]), &[0; 4]), [10, 0, 0, 255]);
        assert_eq!(before(None, &[0; 2]), [255, 255]);
        assert_eq!(before(Some(&[1, 0, 0]), &[0; 3]), [0, 255, 255]);
    }

    #[test]
    fn a_change_names_nothing_else() {
        let mut table = known(with_two);
        table.set_chain("chain-b", Vec::new());
        let batch = table.difference();
        assert!(batch.names("chain-b") && !batch.names("chain-a") && !batch.names("map"));
    }

    #[test]
    fn a_key_stays_until_it_was_taken_as_often_as_it_was_put() {
        let mut table = known(|table| table.add_set("set", Type::Address, None));
        (0..2).for_each(|_| table.put("set", vec![1; 4], None));
        table.take("set", &[1; 4]);
        assert!(table.has("set", &[1; 4]));
        table.take("set", &[1; 4]);
        assert!(!table.has("set", &[1; 4]) && table.difference().is_empty());
    }
}
