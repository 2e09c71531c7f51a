//! Working with a cluster through unmodified kubectl.
#![allow(missing_docs, reason = "tests are no interface")]

mod autoscaling;
mod jobs;
mod looking;
mod manifests;
mod measuring;
mod persistent_volumes;
mod pod_resources;
mod pressure;
mod resizing;
mod sets;
mod standard_class;
mod streams;
mod volumes;
mod walkthrough;
mod why;
