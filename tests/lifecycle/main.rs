//! A cluster comes up, stops, starts, and goes without a trace.
#![allow(missing_docs, reason = "tests are no interface")]

mod backup;
mod backup_on_etcd;
mod broken;
mod claims;
mod drain;
mod full_disk;
mod installing;
mod mounts;
mod on_the_host;
mod ownership;
mod published;
mod registry;
mod scheduler_config;
mod several_servers;
mod up_and_down;
