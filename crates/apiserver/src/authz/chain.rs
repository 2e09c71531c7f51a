//! Authorizers that are asked one after the other, until one has an opinion.

use super::{Answer, Attributes, Authorizer, Decision, Reason, Rules};
use crate::auth::User;

/// Several authorizers as one. The reasons of those that had no opinion are told, a line each.
pub struct Chain(Vec<Box<dyn Authorizer>>);

impl Chain {
    /// Those that are asked, the first one first.
    pub fn new(authorizers: Vec<Box<dyn Authorizer>>) -> Chain {
        Chain(authorizers)
    }
}

impl Authorizer for Chain {
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a> {
        ask(&self.0, user, what, Vec::new())
    }

    fn rules(&self, user: &User, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for authorizer in &self.0 {
            let own = authorizer.rules(user, namespace);
            all.rules.extend(own.rules);
            all.errors.extend(own.errors);
            all.incomplete |= own.incomplete;
        }
        all
    }
}

/// Asks the first of them, and the others when it has no opinion. Only one that asks elsewhere costs an allocation.
fn ask<'a>(
    authorizers: &'a [Box<dyn Authorizer>],
    user: &'a User,
    what: &'a Attributes<'a>,
    mut reasons: Vec<Reason>,
) -> Answer<'a> {
    for (number, authorizer) in authorizers.iter().enumerate() {
        match authorizer.authorize(user, what) {
            Answer::Now(Decision::NoOpinion(reason)) => reasons.push(reason),
            Answer::Now(decision) => return Answer::Now(decision),
            Answer::Later(decision) => {
                let others = authorizers.get(number.saturating_add(1)..).unwrap_or_default();
                return Answer::Later(Box::pin(async move {
                    let reason = match decision.await {
                        Decision::NoOpinion(reason) => reason,
                        decision => return decision,
                    };
                    reasons.push(reason);
                    match ask(others, user, what, reasons) {
                        Answer::Now(decision) => decision,
                        Answer::Later(decision) => decision.await,
                    }
                }));
            }
        }
    }
    Answer::Now(Decision::NoOpinion(joined(reasons)))
}

fn joined(mut reasons: Vec<Reason>) -> Reason {
    reasons.retain(|reason| !reason.is_empty());
    match reasons.len() {
        0 | 1 => reasons.pop().unwrap_or_default(),
        _ => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::decide;

    /// Decides always the same, at once or after a while.
    struct Fixed(Decision, bool);

    impl Authorizer for Fixed {
        fn authorize<'a>(&'a self, _: &'a User, _: &'a Attributes<'a>) -> Answer<'a> {
            let decision = self.0.clone();
            match self.1 {
                false => Answer::Now(decision),
                true => Answer::Later(Box::pin(async move {
                    tokio::task::yield_now().await;
                    decision
                })),
            }
        }

        fn rules(&self, _: &User, _: &str) -> Rules {
            Rules { incomplete: self.1, ..Rules::default() }
        }
    }

    fn because(text: &str) -> Reason {
        text.to_owned().into()
    }

    async fn of(decisions: Vec<(Decision, bool)>) -> Decision {
        let chain = decisions.into_iter().map(|(decision, late)| Box::new(Fixed(decision, late)) as _).collect();
        decide(&Chain::new(chain), &User::anonymous(), &Attributes::default()).await
    }

    #[tokio::test]
    async fn the_first_opinion_counts_whether_it_comes_at_once_or_later() {
        for late in [false, true] {
            let none = (Decision::NoOpinion(because("who?")), late);
            let decision =
                of(vec![none.clone(), (Decision::Deny(because("no")), late), (Decision::ALLOW, false)]).await;
            assert_eq!(decision, Decision::Deny(because("no")));
            assert_eq!(of(vec![none.clone(), (Decision::ALLOW, !late)]).await, Decision::ALLOW);
        }
    }

    #[tokio::test]
    async fn without_an_opinion_all_reasons_are_told() {
        let none = |text: &str, late| (Decision::NoOpinion(because(text)), late);
        assert_eq!(of(vec![none("", false), none("a", true), none("b", false)]).await, none("a\nb", false).0);
        assert_eq!(of(Vec::new()).await, Decision::NO_OPINION);
    }

    #[test]
    fn rules_are_those_of_all() {
        let chain = Chain::new(vec![Box::new(Fixed(Decision::ALLOW, false)), Box::new(Fixed(Decision::ALLOW, true))]);
        assert!(chain.rules(&User::anonymous(), "").incomplete);
    }
}
