//! What policies say of objects: Pod Security Standards, limit ranges, quotas, and admission policies in expressions.
//!
//! Owns: the decision, as a function of the policy and of the object that it is about, with upstream's messages.
//! Never: reads a cluster. Whoever asks brings along what there is: the API server's admission, and the controllers.
#![forbid(unsafe_code)]

pub mod admission;
pub mod limit_range;
pub mod pod_resources;
pub mod pod_security;
pub mod quota;

pub use coracle_api::amounts;
