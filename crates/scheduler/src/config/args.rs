//! The arguments of plugins, and the plugins made of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use coracle_matching::amounts::Resource;
use k8s_openapi::api::core::v1::{NodeAffinity as ApiNodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::{Value, json};

use super::decode;
use crate::framework::Plugin;
use crate::plugins::inter_pod_affinity::InterPodAffinity;
use crate::plugins::node_affinity::NodeAffinity;
use crate::plugins::node_resources::Weighted;
use crate::plugins::node_resources::balanced::BalancedAllocation;
use crate::plugins::node_resources::fit::Fit;
use crate::plugins::node_resources::strategy::{Kind, Strategy};
use crate::plugins::pod_topology_spread::PodTopologySpread;
use crate::plugins::volumes::binding::{self, VolumeBinding};
use crate::preemption::PreemptionArgs;

/// A plugin of its arguments, which are at `path`.
pub(super) type Make = fn(&Value, &str) -> Result<Arc<dyn Plugin>>;

/// The arguments without what says of which kind they are, which must be the plugin's.
fn fields(plugin: &str, args: &Value, path: &str) -> Result<Value> {
    let mut args = match args {
        Value::Null => json!({}),
        other => other.clone(),
    };
    let Some(fields) = args.as_object_mut() else { bail!("{path}: it must be an object") };
    for (field, wanted) in [("kind", format!("{plugin}Args")), ("apiVersion", super::API_VERSION.to_owned())] {
        if let Some(value) = fields.remove(field)
            && value != wanted.as_str()
        {
            bail!("{path}.{field}: it must be {wanted}");
        }
    }
    Ok(args)
}

/// Nothing can be said to a plugin without arguments.
pub(super) fn none(plugin: &str, args: &Value, path: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct None {}
    decode::<None>(&fields(plugin, args, path)?, path).map(drop)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpec {
    name: String,
    #[serde(default)]
    weight: i64,
}

fn weighted(resources: Option<Vec<ResourceSpec>>, path: &str) -> Result<Vec<Weighted>> {
    let Some(resources) = resources.filter(|resources| !resources.is_empty()) else { return Ok(Weighted::defaults()) };
    let weighted = resources.into_iter().enumerate().map(|(at, spec)| {
        let weight = if spec.weight == 0 { 1 } else { spec.weight };
        ensure!(
            (1..=100).contains(&weight),
            "{path}.resources[{at}].weight: resource weight of {} not in valid range [1, 100]",
            spec.name
        );
        Ok(Weighted { resource: Resource::new(&spec.name), weight })
    });
    weighted.collect()
}

/// Adds resources to those that NodeResourcesFit does not look at.
pub(super) fn ignore<'a>(args: &mut Value, resources: impl Iterator<Item = &'a str>) {
    let mut resources = resources.map(Value::from).peekable();
    if resources.peek().is_none() {
        return;
    }
    if args.is_null() {
        *args = json!({});
    }
    let Some(args) = args.as_object_mut() else { return };
    if let Some(ignored) = args.entry("ignoredResources").or_insert_with(|| json!([])).as_array_mut() {
        ignored.extend(resources);
    }
}

pub(super) fn fit(args: &Value, path: &str) -> Result<Arc<dyn Plugin>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        ignored_resources: Vec<String>,
        ignored_resource_groups: Vec<String>,
        scoring_strategy: Option<ScoringStrategy>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct ScoringStrategy {
        #[serde(rename = "type", default)]
        kind: Option<String>,
        resources: Option<Vec<ResourceSpec>>,
        requested_to_capacity_ratio: Option<RatioParam>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct RatioParam {
        #[serde(default)]
        shape: Vec<Point>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Point {
        #[serde(default)]
        utilization: i64,
        #[serde(default)]
        score: i64,
    }
    let args: Args = decode(&fields("NodeResourcesFit", args, path)?, path)?;
    for (at, group) in args.ignored_resource_groups.iter().enumerate() {
        ensure!(!group.contains('/'), "{path}.ignoredResourceGroups[{at}]: resource group name can't contain '/'");
    }
    let Some(strategy) = args.scoring_strategy else {
        return Ok(Arc::new(Fit {
            strategy: Strategy::default(),
            ignored_resources: args.ignored_resources,
            ignored_groups: args.ignored_resource_groups,
        }));
    };
    let path = format!("{path}.scoringStrategy");
    let kind = match strategy.kind.as_deref() {
        None | Some("LeastAllocated") => Kind::LeastAllocated,
        Some("MostAllocated") => Kind::MostAllocated,
        Some("RequestedToCapacityRatio") => {
            let path = format!("{path}.requestedToCapacityRatio.shape");
            let points = strategy.requested_to_capacity_ratio.map(|param| param.shape).unwrap_or_default();
            ensure!(!points.is_empty(), "{path}: Required value: at least one point must be specified");
            let mut shape: Vec<(i64, i64)> = Vec::with_capacity(points.len());
            for (at, Point { utilization, score }) in points.into_iter().enumerate() {
                let valid = (0..=100).contains(&utilization);
                ensure!(valid, "{path}[{at}].utilization: {utilization} is not in valid range [0, 100]");
                ensure!((0..=10).contains(&score), "{path}[{at}].score: {score} is not in valid range [0, 10]");
                let rises = shape.last().is_none_or(|(before, _)| *before < utilization);
                ensure!(rises, "{path}[{at}].utilization: values must be sorted in increasing order");
                // Scores are up to 10 there, and up to 100 here.
                shape.push((utilization, score * 10));
            }
            Kind::RequestedToCapacityRatio(shape)
        }
        Some(other) => bail!(
            "{path}.type: Unsupported value: \"{other}\": supported values: \"LeastAllocated\", \"MostAllocated\", \
             \"RequestedToCapacityRatio\""
        ),
    };
    let strategy = Strategy { kind, resources: weighted(strategy.resources, &path)? };
    Ok(Arc::new(Fit {
        strategy,
        ignored_resources: args.ignored_resources,
        ignored_groups: args.ignored_resource_groups,
    }))
}

pub(super) fn balanced(args: &Value, path: &str) -> Result<Arc<dyn Plugin>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        resources: Option<Vec<ResourceSpec>>,
    }
    let args: Args = decode(&fields("NodeResourcesBalancedAllocation", args, path)?, path)?;
    let resources = weighted(args.resources, path)?;
    ensure!(
        resources.iter().all(|weighted| weighted.weight == 1),
        "{path}.resources: the weight of each resource must be 1"
    );
    Ok(Arc::new(BalancedAllocation { resources }))
}

pub(super) fn node_affinity(args: &Value, path: &str) -> Result<Arc<dyn Plugin>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        added_affinity: Option<ApiNodeAffinity>,
    }
    let args: Args = decode(&fields("NodeAffinity", args, path)?, path)?;
    let added = args.added_affinity.unwrap_or_default();
    Ok(Arc::new(NodeAffinity {
        added_required: added.required_during_scheduling_ignored_during_execution,
        added_preferred: added.preferred_during_scheduling_ignored_during_execution.unwrap_or_default(),
    }))
}

pub(super) fn inter_pod_affinity(args: &Value, path: &str) -> Result<Arc<dyn Plugin>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        hard_pod_affinity_weight: Option<i64>,
        ignore_preferred_terms_of_existing_pods: bool,
    }
    let args: Args = decode(&fields("InterPodAffinity", args, path)?, path)?;
    let weight = args.hard_pod_affinity_weight.unwrap_or(1);
    ensure!((0..=100).contains(&weight), "{path}.hardPodAffinityWeight: {weight} is not in valid range [0-100]");
    Ok(Arc::new(InterPodAffinity {
        hard_pod_affinity_weight: weight,
        ignore_preferred_terms_of_existing_pods: args.ignore_preferred_terms_of_existing_pods,
    }))
}

pub(super) fn pod_topology_spread(args: &Value, path: &str) -> Result<Arc<dyn Plugin>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        default_constraints: Vec<TopologySpreadConstraint>,
        defaulting_type: Option<String>,
    }
    let args: Args = decode(&fields("PodTopologySpread", args, path)?, path)?;
    let constraints = args.default_constraints;
    match args.defaulting_type.as_deref() {
        None | Some("System") => {
            ensure!(
                constraints.is_empty() || args.defaulting_type.is_none(),
                "{path}.defaultingType: when .defaultConstraints are not empty it must be \"List\""
            );
            if constraints.is_empty() {
                return Ok(Arc::new(PodTopologySpread { default_constraints: None }));
            }
            bail!("{path}.defaultingType: when .defaultConstraints are not empty it must be \"List\"")
        }
        Some("List") => {}
        Some(other) => {
            bail!("{path}.defaultingType: Unsupported value: \"{other}\": supported values: \"System\", \"List\"")
        }
    }
    for (at, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}.defaultConstraints[{at}]");
        ensure!(constraint.max_skew > 0, "{path}.maxSkew: {} must be greater than zero", constraint.max_skew);
        ensure!(!constraint.topology_key.is_empty(), "{path}.topologyKey: can not be empty");
        let when = constraint.when_unsatisfiable.as_str();
        ensure!(
            matches!(when, "DoNotSchedule" | "ScheduleAnyway"),
            "{path}.whenUnsatisfiable: Unsupported value: \"{when}\": supported values: \"DoNotSchedule\", \
             \"ScheduleAnyway\""
        );
        ensure!(
            constraint.label_selector.is_none(),
            "{path}.labelSelector: constraint must not define a selector, as they deduced for each pod"
        );
    }
    Ok(Arc::new(PodTopologySpread { default_constraints: Some(constraints) }))
}

pub(super) fn preemption(args: &Value, path: &str) -> Result<PreemptionArgs> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        min_candidate_nodes_percentage: Option<i64>,
        min_candidate_nodes_absolute: Option<i64>,
    }
    let args: Args = decode(&fields("DefaultPreemption", args, path)?, path)?;
    let percentage = args.min_candidate_nodes_percentage.unwrap_or(10);
    let absolute = args.min_candidate_nodes_absolute.unwrap_or(100);
    let valid = (0..=100).contains(&percentage);
    ensure!(valid, "{path}.minCandidateNodesPercentage: {percentage} is not in valid range [0, 100]");
    ensure!(absolute >= 0, "{path}.minCandidateNodesAbsolute: {absolute} is not in valid range [0, inf)");
    ensure!(
        percentage > 0 || absolute > 0,
        "{path}: both minCandidateNodesPercentage and minCandidateNodesAbsolute cannot be zero"
    );
    let number = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(PreemptionArgs {
        min_candidate_nodes_percentage: number(percentage),
        min_candidate_nodes_absolute: number(absolute),
    })
}

pub(super) fn volume_binding(args: &Value, path: &str) -> Result<Arc<dyn Plugin>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        bind_timeout_seconds: Option<i64>,
    }
    let args: Args = decode(&fields(binding::NAME, args, path)?, path)?;
    let Some(seconds) = args.bind_timeout_seconds else { return Ok(Arc::new(VolumeBinding::default())) };
    let seconds = u64::try_from(seconds);
    let seconds = seconds.with_context(|| {
        format!("{path}.bindTimeoutSeconds: invalid BindTimeoutSeconds, should not be a negative value")
    })?;
    Ok(Arc::new(VolumeBinding { timeout: Duration::from_secs(seconds) }))
}
