//! Conversions that only a webhook can make. What is computed without waiting notes those that it is missing, and is
//! computed again once they are known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// A conversion that is missing: the object, and the version that it is wanted in.
pub type Wanted = (Value, String);

/// What conversions came to, and those that are missing still.
#[derive(Debug, Default)]
pub struct Awaited(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// A write asks for a handful of them.
    known: Vec<(Wanted, Value)>,
    wanted: Vec<Wanted>,
}

impl Awaited {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object in another version; noted as missing when that is not known.
    pub fn get(&self, object: &Value, to: &str) -> Option<Value> {
        let mut state = self.state();
        let is_it = |(known, version): &Wanted| version == to && known == object;
        if let Some((_, converted)) = state.known.iter().find(|(wanted, _)| is_it(wanted)) {
            return Some(converted.clone());
        }
        if !state.wanted.iter().any(is_it) {
            state.wanted.push((object.clone(), to.to_owned()));
        }
        None
    }

    /// Those that were missing since this was asked last.
    pub fn take_wanted(&self) -> Vec<Wanted> {
        std::mem::take(&mut self.state().wanted)
    }

    /// Notes what a conversion came to.
    pub fn put(&self, wanted: Wanted, converted: Value) {
        self.state().known.push((wanted, converted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_noted_once_and_known_when_it_was_put() {
        let awaited = Awaited::default();
        assert_eq!([awaited.get(&json!(1), "v1"), awaited.get(&json!(1), "v1")], [None, None]);
        assert_eq!(awaited.take_wanted(), [(json!(1), "v1".to_owned())]);
        awaited.put((json!(1), "v1".to_owned()), json!(2));
        assert_eq!(awaited.get(&json!(1), "v1"), Some(json!(2)));
        assert!(awaited.take_wanted().is_empty());
    }
}
