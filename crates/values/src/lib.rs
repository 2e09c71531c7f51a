//! Values of the API that are texts with a form: quantities, durations, names, ranges of addresses; and what those of a pod's containers come to.
//! Everything that reads objects builds on them.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod duration;
pub mod hollow;
pub mod limits;
pub mod names;
pub mod pods;
pub mod quantity;
