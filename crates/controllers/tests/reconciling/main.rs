//! What the controllers make of objects, asked of a real API server in this process: no socket, no node, no root.

mod attaching;
mod autoscalers;
mod budgets;
mod cluster;
mod conformance;
mod cron_jobs;
mod daemon_sets;
mod garbage;
mod hollow_nodes;
mod jobs;
mod leading;
mod load_balancers;
mod provisioning;
mod stateful_sets;
mod volumes;
