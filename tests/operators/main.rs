//! Operators and API servers of others, built as their users build them: what they do against a cluster is what they do
//! against upstream's.
#![allow(missing_docs, reason = "tests are no interface")]

mod gadgets;
mod kube_state_metrics;
mod program;
mod prometheus;
mod sample_apiserver;
