//! The rounds of policies and webhooks that change what is written: at most two.

use parking_lot::Mutex;
use serde_json::Value;

/// Tells a policy or webhook from others of its kind.
type Id = (String, usize);

/// Who changes what is written.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Policies,
    Webhooks,
}

/// What happened in the rounds so far.
#[derive(Default)]
pub(crate) struct Rounds(Mutex<Both>);

#[derive(Default)]
struct Both {
    round: usize,
    /// Whether something was changed.
    again: bool,
    policies: State,
    webhooks: State,
}

impl Both {
    fn of(&mut self, stage: Stage) -> &mut State {
        match stage {
            Stage::Policies => &mut self.policies,
            Stage::Webhooks => &mut self.webhooks,
        }
    }
}

/// What is known of one stage.
#[derive(Default)]
struct State {
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

    /// What is known of a stage.
    pub fn of(&self, stage: Stage) -> Round<'_> {
        Round { all: self, stage }
    }
}

/// A stage in the round that is now.
pub(super) struct Round<'a> {
    all: &'a Rounds,
    stage: Stage,
}

impl Round<'_> {
    /// 0 in the first round, 1 in the second.
    pub fn number(&self) -> usize {
        self.all.0.lock().round
    }

    /// Begins to ask them about an object; whether it is the second round.
    pub fn begin(&self, object: &Value) -> bool {
        let mut all = self.all.0.lock();
        let round = all.round;
        let state = all.of(self.stage);
        if round > 0 && state.made.as_ref().is_some_and(|made| made != object) {
            state.require();
        }
        round > 0
    }

    /// Notes what all of them made.
    pub fn end(&self, object: &Value) {
        self.all.0.lock().of(self.stage).made = Some(object.clone());
    }

    /// Whether one is to be asked again.
    pub fn wants(&self, (configuration, index): (&str, usize)) -> bool {
        self.all.0.lock().of(self.stage).wanted.iter().any(|(known, place)| known == configuration && *place == index)
    }

    /// Notes that one changed the object.
    pub fn changed(&self) {
        let mut all = self.all.0.lock();
        all.again = true;
        all.of(self.stage).require();
    }

    /// Notes that one was asked that wants to be asked again after changes.
    pub fn asked(&self, (configuration, index): (&str, usize)) {
        self.all.0.lock().of(self.stage).asked.push((configuration.to_owned(), index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn those_before_a_change_are_asked_again_and_no_others() {
        let both = Rounds::default();
        let rounds = both.of(Stage::Webhooks);
        assert!(!rounds.begin(&json!(0)));
        rounds.asked(("a", 0));
        rounds.changed();
        rounds.asked(("b", 0));
        rounds.end(&json!(1));
        assert!(both.is_next());
        assert!(rounds.begin(&json!(1)));
        assert!(rounds.wants(("a", 0)) && !rounds.wants(("b", 0)));
        rounds.end(&json!(1));
        assert!(!both.is_next());
    }

    #[test]
    fn what_others_change_between_the_rounds_counts() {
        let both = Rounds::default();
        let rounds = both.of(Stage::Webhooks);
        rounds.begin(&json!(0));
        rounds.changed();
        rounds.asked(("b", 0));
        rounds.end(&json!(1));
        assert!(both.is_next());
        rounds.begin(&json!(2));
        assert!(rounds.wants(("b", 0)));
    }
}
