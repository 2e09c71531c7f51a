//! Webhooks: others are asked over HTTPS about what is written, and may change or refuse it.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

mod hooks;
mod mutating;
mod validating;

pub(super) use mutating::MutatingAdmissionWebhook;
pub(super) use validating::ValidatingAdmissionWebhook;
