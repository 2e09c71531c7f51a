//! Admission policies and webhooks: what they are about, and what expressions say of it.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>

mod conditions;
mod matching;
mod mutating;
mod request;
mod review;
mod scope;
pub mod type_check;
mod validating;

pub use coracle_cel::Type;
pub use coracle_cel::library::authorizer;

pub use conditions::{Conditions, Verdict};
pub use matching::{Resource, is_selected, matches_rules, matching_resource};
pub use mutating::{Change, MutatingPolicy};
pub use request::{Admitted, review_request};
pub use review::{ReviewVersion, Reviewed, refusal, review, reviewed};
pub use scope::Scope;
pub use validating::{Annotation, Decision, Outcome, ValidatingPolicy};
