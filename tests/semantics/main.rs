//! The API as clients know it: codes, messages, watches, pages, patches and deletion.
#![allow(missing_docs, reason = "tests are no interface")]

mod access;
mod apply;
mod certificates;
mod changes;
mod custom;
mod deletion;
mod metrics;
mod nodes;
mod quotas;
mod reading;
mod refusals;
mod tokens;
