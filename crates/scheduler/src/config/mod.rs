//! The configuration: upstream's `KubeSchedulerConfiguration` of `kubescheduler.config.k8s.io/v1`.
//! <https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/>

mod args;
mod plugins;
mod validate;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coracle_client::Election;
use jiff::SignedDuration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use plugins::profile;

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// What the scheduler does, for whom and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulerConfiguration {
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    api_version: String,
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    kind: String,
    /// Upstream's threads for one decision. Decisions here are made by one thread, whatever it says.
    #[serde(default = "sixteen")]
    parallelism: i32,
    #[serde(default)]
    leader_election: LeaderElection,
    #[serde(default)]
    client_connection: ClientConnection,
    #[serde(default)]
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    enable_profiling: Option<bool>,
    #[serde(default)]
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    enable_contention_profiling: Option<bool>,
    /// Informers start with the scheduler, and that starts with the lease: they are idle before anyway.
    #[serde(default)]
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    delay_cache_until_active: bool,
    percentage_of_nodes_to_score: Option<i32>,
    #[serde(default = "one")]
    pod_initial_backoff_seconds: i64,
    #[serde(default = "ten")]
    pod_max_backoff_seconds: i64,
    #[serde(default)]
    pub(crate) profiles: Vec<ProfileConfiguration>,
    #[serde(default)]
    pub(crate) extenders: Vec<ExtenderConfiguration>,
}

fn one() -> i64 {
    1
}

fn ten() -> i64 {
    10
}

fn sixteen() -> i32 {
    16
}

/// Who schedules, of several that could.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: Option<SignedDuration>,
    pub renew_deadline: Option<SignedDuration>,
    pub retry_period: Option<SignedDuration>,
    pub resource_lock: Option<String>,
    pub resource_name: Option<String>,
    pub resource_namespace: Option<String>,
}

/// How upstream's scheduler reaches the API server. This one is told by who starts it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClientConnection {
    pub kubeconfig: Option<String>,
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    pub accept_content_types: Option<String>,
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    pub content_type: Option<String>,
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    pub qps: Option<f64>,
    #[allow(dead_code, reason = "upstream files have it; here nothing depends on it")]
    pub burst: Option<i32>,
}

/// What is done with the pods of one `schedulerName`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProfileConfiguration {
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<i32>,
    #[serde(default)]
    pub plugins: Plugins,
    #[serde(default)]
    pub plugin_config: Vec<PluginConfig>,
}

/// The plugins at each extension point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Plugins {
    #[serde(default)]
    pub pre_enqueue: PluginSet,
    #[serde(default)]
    pub queue_sort: PluginSet,
    #[serde(default)]
    pub pre_filter: PluginSet,
    #[serde(default)]
    pub filter: PluginSet,
    #[serde(default)]
    pub post_filter: PluginSet,
    #[serde(default)]
    pub pre_score: PluginSet,
    #[serde(default)]
    pub score: PluginSet,
    #[serde(default)]
    pub reserve: PluginSet,
    #[serde(default)]
    pub permit: PluginSet,
    #[serde(default)]
    pub pre_bind: PluginSet,
    #[serde(default)]
    pub bind: PluginSet,
    #[serde(default)]
    pub post_bind: PluginSet,
    #[serde(default)]
    pub multi_point: PluginSet,
}

/// Changes of the plugins that there are by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PluginSet {
    #[serde(default)]
    pub enabled: Vec<PluginName>,
    #[serde(default)]
    pub disabled: Vec<PluginName>,
}

/// A plugin, and how much its scores count.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PluginName {
    pub name: String,
    #[serde(default)]
    pub weight: i64,
}

/// The arguments of a plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PluginConfig {
    pub name: String,
    #[serde(default)]
    pub args: Value,
}

/// A server that has a say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExtenderConfiguration {
    pub url_prefix: String,
    #[serde(default)]
    pub filter_verb: String,
    #[serde(default)]
    pub preempt_verb: String,
    #[serde(default)]
    pub prioritize_verb: String,
    #[serde(default)]
    pub weight: i64,
    #[serde(default)]
    pub bind_verb: String,
    #[serde(default, rename = "enableHTTPS")]
    pub enable_https: bool,
    #[serde(default)]
    pub tls_config: Option<ExtenderTls>,
    #[serde(default, rename = "httpTimeout")]
    pub http_timeout: Option<SignedDuration>,
    #[serde(default)]
    pub node_cache_capable: bool,
    #[serde(default)]
    pub managed_resources: Vec<ManagedResource>,
    #[serde(default)]
    pub ignorable: bool,
}

/// How an extender is known, and knows the scheduler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExtenderTls {
    #[serde(default)]
    pub insecure: bool,
    #[serde(default)]
    pub server_name: String,
    #[serde(default)]
    pub cert_file: String,
    #[serde(default)]
    pub key_file: String,
    #[serde(default)]
    pub ca_file: String,
    /// In base64, as the other data are.
    #[serde(default)]
    pub cert_data: String,
    #[serde(default)]
    pub key_data: String,
    #[serde(default)]
    pub ca_data: String,
}

/// An extended resource of an extender's.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ManagedResource {
    pub name: String,
    #[serde(default)]
    pub ignored_by_scheduler: bool,
}

/// One profile, `default-scheduler`, with upstream's plugins.
impl Default for SchedulerConfiguration {
    fn default() -> Self {
        SchedulerConfiguration {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            parallelism: sixteen(),
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            enable_profiling: None,
            enable_contention_profiling: None,
            delay_cache_until_active: false,
            percentage_of_nodes_to_score: None,
            pod_initial_backoff_seconds: one(),
            pod_max_backoff_seconds: ten(),
            profiles: vec![ProfileConfiguration::default()],
            extenders: Vec::new(),
        }
    }
}

/// The fields of a configuration that are read and change nothing.
fn without_effect(config: &Value) -> Vec<&'static str> {
    const FIELDS: [&str; 8] = [
        "/parallelism",
        "/enableProfiling",
        "/enableContentionProfiling",
        "/delayCacheUntilActive",
        "/clientConnection/acceptContentTypes",
        "/clientConnection/contentType",
        "/clientConnection/qps",
        "/clientConnection/burst",
    ];
    FIELDS.into_iter().filter(|field| config.pointer(field).is_some_and(|value| !value.is_null())).collect()
}

#[cfg(test)]
mod effects {
    use serde_json::json;

    #[test]
    fn what_changes_nothing_is_said() {
        let config =
            json!({"parallelism": 4, "podInitialBackoffSeconds": 2, "clientConnection": {"qps": 5, "burst": null}});
        assert_eq!(super::without_effect(&config), ["/parallelism", "/clientConnection/qps"]);
    }
}

impl SchedulerConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is not as it has to be: the message says what, and where.
    pub fn read(path: &Path) -> Result<SchedulerConfiguration> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the scheduler's configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the scheduler's configuration {}", path.display()))
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// As [`SchedulerConfiguration::read`].
    pub fn parse(text: &str) -> Result<SchedulerConfiguration> {
        let value = coracle_api::config::value(text).map_err(anyhow::Error::msg)?;
        let version = value["apiVersion"].as_str().unwrap_or_default();
        if value["kind"] != KIND || version != API_VERSION {
            bail!("it must be of the kind {KIND} in the version {API_VERSION}");
        }
        let mut config: SchedulerConfiguration = decode(&value, "")?;
        if config.profiles.is_empty() {
            config.profiles.push(ProfileConfiguration::default());
        }
        validate::configuration(&config)?;
        for field in without_effect(&value) {
            tracing::warn!("the scheduler's configuration: {field} has no effect in this version");
        }
        // What is wrong with plugins is said now, and not when the first pod comes.
        for number in 0..config.profiles.len() {
            profile(&config, number)?;
        }
        Ok(config)
    }

    /// The same without some plugins.
    pub(crate) fn without(mut self, plugins: &[&str]) -> SchedulerConfiguration {
        let names = plugins.iter().map(|name| PluginName { name: (*name).to_owned(), weight: 0 });
        let names: Vec<PluginName> = names.collect();
        let profiles = self.profiles.iter_mut();
        profiles.for_each(|profile| profile.plugins.multi_point.disabled.extend(names.iter().cloned()));
        self
    }

    /// The name of a profile.
    pub(crate) fn scheduler_name(&self, number: usize) -> &str {
        let name = self.profiles.get(number).and_then(|profile| profile.scheduler_name.as_deref());
        name.unwrap_or("default-scheduler")
    }

    /// Resources that extenders look after alone.
    pub(crate) fn ignored_resources(&self) -> impl Iterator<Item = &str> {
        let managed = self.extenders.iter().flat_map(|extender| &extender.managed_resources);
        managed.filter(|resource| resource.ignored_by_scheduler).map(|resource| resource.name.as_str())
    }

    /// How long pods wait until they are tried again.
    pub(crate) fn backoff(&self) -> crate::queue::Backoff {
        let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        crate::queue::Backoff {
            initial: seconds(self.pod_initial_backoff_seconds),
            max: seconds(self.pod_max_backoff_seconds),
        }
    }

    /// How schedulers compete for the lease, where it says so, and else as `usual`.
    pub fn election(&self, usual: Election) -> Election {
        let said = &self.leader_election;
        // A time that is negative is none.
        let of = |time: Option<SignedDuration>, usual: Duration| {
            time.map_or(usual, |time| Duration::try_from(time).unwrap_or_default())
        };
        Election {
            elect: said.leader_elect.unwrap_or(usual.elect),
            namespace: said.resource_namespace.clone().unwrap_or(usual.namespace),
            lease_duration: of(said.lease_duration, usual.lease_duration),
            renew_deadline: of(said.renew_deadline, usual.renew_deadline),
            retry_period: of(said.retry_period, usual.retry_period),
        }
    }

    /// The name of the lease.
    pub(crate) fn lease(&self) -> &str {
        self.leader_election.resource_name.as_deref().unwrap_or("kube-scheduler")
    }
}

/// Decodes what is at `path`; errors name the place within.
fn decode<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T> {
    coracle_api::config::decode(value, path).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    fn error(text: &str) -> String {
        format!("{:#}", SchedulerConfiguration::parse(&format!("{HEAD}{text}")).expect_err("it is refused"))
    }

    #[test]
    fn the_times_of_the_lease_are_as_they_are_said() {
        let times = |text: &str| {
            let config = SchedulerConfiguration::parse(&format!("{HEAD}leaderElection: {{{text}}}")).unwrap();
            let Election { lease_duration, renew_deadline, retry_period, .. } = config.election(Election::default());
            [lease_duration, renew_deadline, retry_period].map(|time| time.as_millis())
        };
        assert_eq!(times(""), [15_000, 10_000, 2_000]);
        assert_eq!(times("leaseDuration: 5s, renewDeadline: 3s, retryPeriod: 500ms"), [5_000, 3_000, 500]);
        assert!(error("leaderElection: {leaseDuration: 5s}").contains("must be greater than renewDeadline"));
        assert!(error("leaderElection: {leaseDuration: -20s}").contains("must be greater than zero"));
        assert!(error("leaderElection: {retryPeriod: 9s}").contains("1.2 times retryPeriod"));
        assert!(error("leaderElection: {retryPeriod: 0s}").contains("must be greater than zero"));
    }

    #[test]
    fn unknown_fields_and_values_are_refused_with_their_place() {
        assert!(error("profiles: [{schedulerName: a, plugin: {}}]").starts_with("profiles[0]"));
        assert!(error("profiles: [{plugins: {filter: {enabled: [{name: X}]}}}]").contains("\"X\" does not exist"));
        let text = "profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]";
        assert!(error(text).contains("plugin \"NodeName\" does not extend Score plugin"));
        assert!(error("podInitialBackoffSeconds: 0").contains("podInitialBackoffSeconds"));
        assert!(error("profiles: [{schedulerName: a}, {schedulerName: a}]").contains("profiles[1].schedulerName"));
        let text = "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: X}}}]}]";
        assert!(error(text).contains("profiles[0].pluginConfig[0].args"), "{}", error(text));
        assert!(SchedulerConfiguration::parse("kind: KubeSchedulerConfiguration").is_err());
    }
}
