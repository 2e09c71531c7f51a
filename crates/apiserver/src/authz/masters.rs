//! `system:masters` may do everything, so that an administrator gets in whatever else is broken.

use super::{Answer, Attributes, Authorizer, Decision, Rules};
use crate::auth::{MASTERS, User};

/// Allows the group `system:masters` everything. What it may is listed by its binding to `cluster-admin`.
pub struct Masters;

impl Authorizer for Masters {
    fn authorize<'a>(&'a self, user: &'a User, _: &'a Attributes<'a>) -> Answer<'a> {
        Answer::Now(if user.is_in(MASTERS) { Decision::ALLOW } else { Decision::NO_OPINION })
    }

    fn rules(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}
