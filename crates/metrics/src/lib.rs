//! What the parts of a process count of their own work, and how Prometheus is told.
//!
//! Owns: counters, gauges and histograms that are counted by atomic operations alone, [`Family`]s of them by labels, the
//! [`Registry`] of each part of the process, and the [`Page`] on which they are shown. Names, labels and buckets are upstream's, so
//! that dashboards made for it find them; several of them are none that OpenMetrics allows, which is why no client library of
//! that is used.
//! Never: decides what is counted; each crate has a file `metrics` for that.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod buckets;
mod family;
mod page;
mod process;
mod registry;
mod value;

pub use buckets::{DOUBLING_FROM_A_MILLISECOND, REST, exponential};
pub use family::Family;
pub use page::{Labels, Named, Page, seconds};
pub use process::process;
pub use registry::{API_SERVER, CONTROLLERS, Registry, SCHEDULER, SHARED, Showing, Slot};
pub use value::{Counter, Gauge, Histogram, Value};
