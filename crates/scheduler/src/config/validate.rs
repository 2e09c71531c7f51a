//! What a configuration has to be like, beyond its form.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail, ensure};
use coracle_client::Election;

use super::{ExtenderConfiguration, SchedulerConfiguration};

pub(super) fn configuration(config: &SchedulerConfiguration) -> Result<()> {
    ensure!(config.parallelism > 0, "parallelism: {} should be an integer value greater than zero", config.parallelism);
    percentage("percentageOfNodesToScore", config.percentage_of_nodes_to_score)?;
    let initial = config.pod_initial_backoff_seconds;
    ensure!(initial > 0, "podInitialBackoffSeconds: {initial} must be greater than 0");
    let max = config.pod_max_backoff_seconds;
    ensure!(max >= initial, "podMaxBackoffSeconds: {max} must be greater than or equal to podInitialBackoffSeconds");
    leader_election(config)?;
    if config.client_connection.kubeconfig.as_ref().is_some_and(|path| !path.is_empty()) {
        bail!("clientConnection.kubeconfig: this scheduler reaches the API server of its own process");
    }
    profiles(config)?;
    extenders(&config.extenders)
}

fn percentage(path: &str, percentage: Option<i32>) -> Result<()> {
    let in_range = percentage.is_none_or(|percentage| (0..=100).contains(&percentage));
    ensure!(in_range, "{path}: {} is not in valid range [0-100]", percentage.unwrap_or_default());
    Ok(())
}

/// The lease is one, and its holder gives it up before others may take it.
fn leader_election(config: &SchedulerConfiguration) -> Result<()> {
    let election = &config.leader_election;
    if election.resource_lock.as_deref().is_some_and(|lock| lock != "leases") {
        bail!("leaderElection.resourceLock: only \"leases\" is supported");
    }
    config.election(Election::default()).check().map_err(|error| anyhow!("leaderElection.{error}"))
}

fn profiles(config: &SchedulerConfiguration) -> Result<()> {
    let mut names = BTreeSet::new();
    for (number, profile) in config.profiles.iter().enumerate() {
        let path = format!("profiles[{number}]");
        let name = config.scheduler_name(number);
        ensure!(!name.is_empty(), "{path}.schedulerName: Required value");
        ensure!(names.insert(name), "{path}.schedulerName: Duplicate value: \"{name}\"");
        percentage(&format!("{path}.percentageOfNodesToScore"), profile.percentage_of_nodes_to_score)?;
        let mut configured = BTreeSet::new();
        for (at, plugin) in profile.plugin_config.iter().enumerate() {
            let name = &plugin.name;
            ensure!(configured.insert(name), "{path}.pluginConfig[{at}]: Duplicate value: \"{name}\"");
        }
    }
    Ok(())
}

fn extenders(extenders: &[ExtenderConfiguration]) -> Result<()> {
    let mut resources = BTreeSet::new();
    for (number, extender) in extenders.iter().enumerate() {
        let path = format!("extenders[{number}]");
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            bail!("{path}.weight: {} must have a positive weight applied to it", extender.weight);
        }
        for (at, resource) in extender.managed_resources.iter().enumerate() {
            let path = format!("{path}.managedResources[{at}].name");
            let name = &resource.name;
            ensure!(name.contains('/'), "{path}: \"{name}\" is an invalid extended resource name");
            ensure!(resources.insert(name), "{path}: Duplicate value: \"{name}\"");
        }
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    ensure!(binders <= 1, "extenders: found {binders} extenders implementing bind, only one may");
    Ok(())
}
