//! Authorizers that say the same of every question.

use super::rbac::Rule;
use super::{Answer, Attributes, Authorizer, Decision, Rules};
use crate::auth::User;

/// Allows everything.
pub struct AlwaysAllow;

/// Allows nothing, and leaves it to others to do so.
pub struct AlwaysDeny;

impl Authorizer for AlwaysAllow {
    fn authorize<'a>(&'a self, _: &'a User, _: &'a Attributes<'a>) -> Answer<'a> {
        Answer::Now(Decision::ALLOW)
    }

    fn rules(&self, _: &User, _: &str) -> Rules {
        let all = || vec![Box::from("*")];
        let resources = Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() };
        let paths = Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() };
        Rules { rules: vec![resources, paths], ..Rules::default() }
    }
}

impl Authorizer for AlwaysDeny {
    fn authorize<'a>(&'a self, _: &'a User, _: &'a Attributes<'a>) -> Answer<'a> {
        Answer::Now(Decision::NoOpinion("Everything is forbidden.".to_owned().into()))
    }

    fn rules(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}
