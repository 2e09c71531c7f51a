//! A bounded memory of what others have decided, for a while.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Values that count for a while. When there are too many, the oldest ones go.
pub(crate) struct Expiring<K, V> {
    max: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    values: HashMap<K, (V, Instant), foldhash::fast::RandomState>,
    /// Keys in the order in which they came, each as often as it did.
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V: Clone> Expiring<K, V> {
    /// Holds so many at most.
    pub fn new(max: usize) -> Self {
        Self { max, state: Mutex::new(State { values: HashMap::default(), order: VecDeque::new() }) }
    }

    /// A value that still counts.
    pub fn get(&self, key: &K) -> Option<V> {
        let state = self.state.lock();
        let (value, ends) = state.values.get(key)?;
        (Instant::now() < *ends).then(|| value.clone())
    }

    /// Keeps a value for a while.
    pub fn put(&self, key: K, value: V, during: Duration) {
        let now = Instant::now();
        let Some(ends) = now.checked_add(during).filter(|_| !during.is_zero()) else { return };
        let mut state = self.state.lock();
        state.values.insert(key.clone(), (value, ends));
        state.order.push_back(key);
        while state.order.len() > self.max {
            if let Some(oldest) = state.order.pop_front() {
                state.values.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_a_while_and_only_some_are_kept() {
        let known = Expiring::new(2);
        known.put(1, 'a', Duration::from_secs(3600));
        known.put(2, 'b', Duration::ZERO);
        assert_eq!((known.get(&1), known.get(&2)), (Some('a'), None));
        known.put(2, 'b', Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(known.get(&2), None);
        for number in 3..=5 {
            known.put(number, 'c', Duration::from_secs(3600));
        }
        assert_eq!([1, 3, 4, 5].map(|number| known.get(&number)), [None, None, Some('c'), Some('c')]);
    }
}
