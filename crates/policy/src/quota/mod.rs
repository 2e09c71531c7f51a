//! Quotas: what an object uses of the resources that a quota limits, and whether there is enough of them.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

mod charge;
mod claims;
mod pods;
mod scopes;
mod services;
mod usage;

pub use charge::{Charge, Refusal, charge};
pub use scopes::covers;
pub use usage::{Resource, is_tracked, usage};

use coracle_api::meta;
use serde_json::Value;

use crate::amounts::Amounts;

/// What a quota limits, once its controller has seen it: the names in `status.hard`.
pub fn limited(quota: &Value) -> impl Iterator<Item = &str> {
    meta::string_map(&quota["status"]["hard"]).map(|(name, _)| name)
}

/// The status of a quota of whose resources so much is used.
pub fn status(quota: &Value, used: &Amounts) -> Value {
    let hard = Amounts::of(&quota["spec"]["hard"]);
    let zero = coracle_api::quantity::Quantity::default();
    let mut counted = Amounts::default();
    for name in hard.0.keys() {
        counted.set(name, used.get(name).unwrap_or(zero));
    }
    serde_json::json!({"hard": hard.to_value(), "used": counted.to_value()})
}
