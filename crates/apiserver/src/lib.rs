//! The API server: HTTPS, authentication, authorization, admission, REST storage, the watch cache,
//! discovery and OpenAPI.
//!
//! Owns: everything between a request and the store. [`Server`] answers requests whether they come from
//! a socket ([`Server::serve`]) or from a component in the same process ([`Server::service`]).
//! Never: reconciles anything but the objects that every cluster has and the endpoints of this server ([`bootstrap`]), and
//! the kinds that definitions define (`custom`), or
//! talks to nodes and pods except to tunnel exec, attach, logs, port-forward and proxied requests.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod admission;
mod aggregation;
pub mod audit;
pub mod auth;
pub mod authz;
mod body;
pub mod bootstrap;
mod cache;
mod compress;
mod connect;
mod connections;
mod context;
mod conversion;
mod custom;
mod discovery;
mod documents;
mod encode;
mod expiring;
mod health;
mod index;
pub mod kinds;
mod kubelet;
mod listener;
mod metrics;
mod negotiate;
mod notes;
mod object;
mod objects;
mod operation;
mod peer;
mod policy_status;
mod request;
mod resource_metrics;
mod rest;
mod runtime_config;
mod selected;
mod server;
mod services;
mod shares;
mod state;
mod storage;
mod stored;
mod tls;
mod token_tracking;
mod tree;
mod unreadable;
mod upload;
mod version;
mod warnings;
mod webhook_client;
mod webhook_config;
mod websocket;

pub use admission::Options as AdmissionOptions;
pub use body::{Body, BoxError};
pub use metrics::Pages;
pub use runtime_config::RuntimeConfig;
pub use server::{Config, InProcess, Server};
pub use unreadable::Unserved;

/// The Kubernetes version whose API is served.
pub const KUBERNETES_VERSION: &str = "v1.35.0";
