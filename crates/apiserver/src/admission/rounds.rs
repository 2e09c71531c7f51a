//! The rounds of webhooks that change what is written: at most two.

use parking_lot::Mutex;
use serde_json::Value;

/// Tells a webhook from others.
type Id = (String, usize);

/// What happened in the rounds so far.
#[derive(Default)]
pub(crate) struct Rounds(Mutex<State>);

#[derive(Default)]
struct State {
    round: usize,
    /// Whether a webhook changed something.
    again: bool,
    /// Those that want to be asked again if something changes after them.
    asked: Vec<Id>,
    /// Those that are to be asked again.
    wanted: Vec<Id>,
    /// What the last of them made.
    made: Option<Value>,
}

impl State {
    /// Something changed: those that were asked before are asked again.
    fn require(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.wanted.extend(asked);
    }
}

impl Rounds {
    /// Whether everything is to be asked once more; from now on that is the round.
    pub fn is_next(&self) -> bool {
        let mut state = self.0.lock();
        let next = state.again && state.round == 0;
        if next {
            state.round = 1;
        }
        next
    }

    /// 0 in the first round, 1 in the second.
    pub fn number(&self) -> usize {
        self.0.lock().round
    }

    /// Begins to ask webhooks about an object; whether it is the second round.
    pub fn begin(&self, object: &Value) -> bool {
        let mut state = self.0.lock();
        if state.round > 0 && state.made.as_ref().is_some_and(|made| made != object) {
            state.require();
        }
        state.round > 0
    }

    /// Notes what all of them made.
    pub fn end(&self, object: &Value) {
        let mut state = self.0.lock();
        if state.again {
            state.made = Some(object.clone());
        }
    }

    /// Whether a webhook is to be asked again.
    pub fn wants(&self, (configuration, index): (&str, usize)) -> bool {
        self.0.lock().wanted.iter().any(|(known, place)| known == configuration && *place == index)
    }

    /// Notes that a webhook changed the object.
    pub fn changed(&self) {
        let mut state = self.0.lock();
        state.again = true;
        state.require();
    }

    /// Notes that a webhook was asked that wants to be asked again after changes.
    pub fn asked(&self, (configuration, index): (&str, usize)) {
        self.0.lock().asked.push((configuration.to_owned(), index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn those_before_a_change_are_asked_again_and_no_others() {
        let rounds = Rounds::default();
        assert!(!rounds.begin(&json!(0)));
        rounds.asked(("a", 0));
        rounds.changed();
        rounds.asked(("b", 0));
        rounds.end(&json!(1));
        assert!(rounds.is_next());
        assert!(rounds.begin(&json!(1)));
        assert!(rounds.wants(("a", 0)) && !rounds.wants(("b", 0)));
        rounds.end(&json!(1));
        assert!(!rounds.is_next());
    }

    #[test]
    fn what_others_change_between_the_rounds_counts() {
        let rounds = Rounds::default();
        rounds.begin(&json!(0));
        rounds.changed();
        rounds.asked(("b", 0));
        rounds.end(&json!(1));
        assert!(rounds.is_next());
        rounds.begin(&json!(2));
        assert!(rounds.wants(("b", 0)));
    }
}
