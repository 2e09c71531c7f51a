//! Which plugins a profile runs at which extension point.
//! <https://kubernetes.io/docs/reference/scheduling/config/#extension-points>

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail, ensure};
use serde_json::Value;

use super::args::{self, Make};
use super::{PluginSet, Plugins, SchedulerConfiguration};
use crate::framework::profile::{Filtering, RELATIVE, Scoring};
use crate::framework::{Normalize, Plugin, Profile, Scope};
use crate::plugins::dynamic_resources::{self, DynamicResources};
use crate::plugins::image_locality::{self, ImageLocality};
use crate::plugins::node_name::{self, NodeName};
use crate::plugins::node_ports::{self, NodePorts};
use crate::plugins::node_resources::{balanced, fit};
use crate::plugins::node_unschedulable::{self, NodeUnschedulable};
use crate::plugins::taint_toleration::{self, TaintToleration};
use crate::plugins::volumes::binding;
use crate::plugins::volumes::limits::{self, NodeVolumeLimits};
use crate::plugins::volumes::restrictions::{self, VolumeRestrictions};
use crate::plugins::volumes::zone::{self, VolumeZone};
use crate::plugins::{inter_pod_affinity, node_affinity, pod_topology_spread};
use crate::preemption;

/// Where plugins have a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

use Point::{Bind, Filter, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score};

const POINTS: [Point; 12] = [
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Point::Permit,
    PreBind,
    Bind,
    Point::PostBind,
];

impl Plugins {
    fn at(&self, point: Point) -> &PluginSet {
        match point {
            PreEnqueue => &self.pre_enqueue,
            QueueSort => &self.queue_sort,
            PreFilter => &self.pre_filter,
            Filter => &self.filter,
            PostFilter => &self.post_filter,
            PreScore => &self.pre_score,
            Score => &self.score,
            Reserve => &self.reserve,
            Point::Permit => &self.permit,
            PreBind => &self.pre_bind,
            Bind => &self.bind,
            Point::PostBind => &self.post_bind,
        }
    }
}

/// What of a plugin there is here.
enum Made {
    Plugin(Make),
    /// It is a part of the scheduler itself.
    BuiltIn,
    /// It is upstream's, and not here.
    Missing,
}

/// A plugin by its name: whether it is there unless disabled, what its scores weigh then, and where it has a say.
struct Known {
    name: &'static str,
    weight: i64,
    points: &'static [Point],
    made: Made,
}

const fn known(name: &'static str, weight: i64, points: &'static [Point], made: Made) -> Known {
    Known { name, weight, points, made }
}

const PRIORITY_SORT: &str = "PrioritySort";
const SCHEDULING_GATES: &str = "SchedulingGates";
const DEFAULT_BINDER: &str = "DefaultBinder";

/// In upstream's order.
static KNOWN: [Known; 20] = [
    known(SCHEDULING_GATES, 0, &[PreEnqueue], Made::BuiltIn),
    known(PRIORITY_SORT, 0, &[QueueSort], Made::BuiltIn),
    known(node_unschedulable::NAME, 0, &[Filter], Made::Plugin(|_, _| Ok(Arc::new(NodeUnschedulable)))),
    known(node_name::NAME, 0, &[Filter], Made::Plugin(|_, _| Ok(Arc::new(NodeName)))),
    known(taint_toleration::NAME, 3, &[Filter, PreScore, Score], Made::Plugin(|_, _| Ok(Arc::new(TaintToleration)))),
    known(node_affinity::NAME, 2, &[PreFilter, Filter, PreScore, Score], Made::Plugin(args::node_affinity)),
    known(node_ports::NAME, 0, &[PreFilter, Filter], Made::Plugin(|_, _| Ok(Arc::new(NodePorts)))),
    known(fit::NAME, 1, &[PreFilter, Filter, PreScore, Score], Made::Plugin(args::fit)),
    known(restrictions::NAME, 0, &[PreFilter, Filter], Made::Plugin(|_, _| Ok(Arc::new(VolumeRestrictions)))),
    known(limits::NAME, 0, &[PreFilter, Filter], Made::Plugin(|_, _| Ok(Arc::new(NodeVolumeLimits)))),
    known(binding::NAME, 0, &[PreFilter, Filter, Reserve, PreBind], Made::Plugin(args::volume_binding)),
    known(zone::NAME, 0, &[PreFilter, Filter], Made::Plugin(|_, _| Ok(Arc::new(VolumeZone)))),
    known(pod_topology_spread::NAME, 2, &[PreFilter, Filter, PreScore, Score], Made::Plugin(args::pod_topology_spread)),
    known(inter_pod_affinity::NAME, 2, &[PreFilter, Filter, PreScore, Score], Made::Plugin(args::inter_pod_affinity)),
    known(
        dynamic_resources::NAME,
        2,
        &[PreEnqueue, PreFilter, Filter, PostFilter, Reserve, PreBind],
        Made::Plugin(|_, _| Ok(Arc::new(DynamicResources))),
    ),
    known(preemption::NAME, 0, &[PostFilter, PreEnqueue], Made::BuiltIn),
    known(balanced::NAME, 1, &[PreScore, Score], Made::Plugin(args::balanced)),
    known(image_locality::NAME, 1, &[Score], Made::Plugin(|_, _| Ok(Arc::new(ImageLocality)))),
    known(DEFAULT_BINDER, 0, &[Bind], Made::BuiltIn),
    known("NodeDeclaredFeatures", 0, &[PreFilter, Filter], Made::Missing),
];

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// A plugin that is enabled, and its weight where one is given.
type Enabled = (&'static Known, i64);

/// The plugins that a set names, at a point or at all of theirs.
fn named(set: &PluginSet, point: Option<Point>, path: &str) -> Result<Vec<Enabled>> {
    let names = set.enabled.iter().enumerate().map(|(at, plugin)| {
        let (path, name) = (format!("{path}.enabled[{at}]"), &plugin.name);
        let known = find(name).ok_or_else(|| anyhow!("{path}: plugin \"{name}\" does not exist"))?;
        ensure!(!matches!(known.made, Made::Missing), "{path}: plugin \"{name}\" is not in this scheduler");
        if let Some(point) = point.filter(|point| !known.points.contains(point)) {
            bail!("{path}: plugin \"{name}\" does not extend {point:?} plugin");
        }
        ensure!(plugin.weight >= 0, "{path}.weight: {} must not be negative", plugin.weight);
        Ok((known, plugin.weight))
    });
    let names: Vec<Enabled> = names.collect::<Result<_>>()?;
    for (at, (known, _)) in names.iter().enumerate() {
        let again = names[..at].iter().any(|(other, _)| other.name == known.name);
        ensure!(!again, "{path}.enabled[{at}]: plugin \"{}\" already registered", known.name);
    }
    Ok(names)
}

fn is_disabled(set: &PluginSet, name: &str) -> bool {
    set.disabled.iter().any(|plugin| plugin.name == name || plugin.name == "*")
}

/// The plugins that are enabled wherever they have a say: the default ones in their order, those named again in their place,
/// then the others.
fn multi_point(set: &PluginSet, path: &str) -> Result<Vec<Enabled>> {
    let own = named(set, None, path)?;
    let own_of = |name: &str| own.iter().find(|(known, _)| known.name == name).copied();
    let defaults = KNOWN.iter().filter(|known| !matches!(known.made, Made::Missing));
    let kept = defaults.filter(|known| !is_disabled(set, known.name));
    let mut all: Vec<Enabled> = kept.map(|known| own_of(known.name).unwrap_or((known, known.weight))).collect();
    for plugin in own {
        if !all.iter().any(|(known, _)| known.name == plugin.0.name) {
            all.push(plugin);
        }
    }
    Ok(all)
}

/// The plugins of one point: those that are named there in place of what they are everywhere, then the rest of what is
/// enabled everywhere, then the others that are named there.
fn at_point(plugins: &Plugins, everywhere: &[Enabled], point: Point, path: &str) -> Result<Vec<Enabled>> {
    let set = plugins.at(point);
    let own = named(set, Some(point), path)?;
    let extends = |enabled: &&Enabled| enabled.0.points.contains(&point);
    let kept: Vec<Enabled> =
        everywhere.iter().filter(extends).filter(|(known, _)| !is_disabled(set, known.name)).copied().collect();
    let has = |list: &[Enabled], name: &str| list.iter().any(|(known, _)| known.name == name);
    let (replacing, others): (Vec<Enabled>, Vec<Enabled>) =
        own.iter().copied().partition(|(known, _)| has(&kept, known.name));
    let rest = kept.into_iter().filter(|(known, _)| !has(&own, known.name));
    Ok(replacing.iter().copied().chain(rest).chain(others).collect())
}

/// The name of a point in a file.
fn field(point: Point) -> String {
    let name = format!("{point:?}");
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_lowercase())
}

/// One profile of a configuration.
///
/// # Errors
/// What is wrong with its plugins or their arguments.
pub(crate) fn profile(config: &SchedulerConfiguration, number: usize) -> Result<Profile> {
    let own = config.profiles.get(number).cloned().unwrap_or_default();
    let path = format!("profiles[{number}]");
    let everywhere = multi_point(&own.plugins.multi_point, &format!("{path}.plugins.multiPoint"))?;
    let mut points: BTreeMap<Point, Vec<Enabled>> = BTreeMap::new();
    for point in POINTS {
        let path = format!("{path}.plugins.{}", field(point));
        points.insert(point, at_point(&own.plugins, &everywhere, point, &path)?);
    }
    let mut made: BTreeMap<&'static str, Arc<dyn Plugin>> = BTreeMap::new();
    for known in &KNOWN {
        if let Made::Plugin(make) = known.made {
            let (mut args, path) = args_of(&own, known.name, &path);
            if known.name == fit::NAME {
                args::ignore(&mut args, config.ignored_resources());
            }
            made.insert(known.name, make(&args, &path)?);
        }
    }
    check_args(&own, &path)?;
    let plugins = |point: Point| -> Vec<Arc<dyn Plugin>> {
        let enabled = points.get(&point).into_iter().flatten();
        enabled.filter_map(|(known, _)| made.get(known.name).cloned()).collect()
    };
    let has = |point: Point, name: &str| points.get(&point).into_iter().flatten().any(|(known, _)| known.name == name);
    ensure!(has(QueueSort, PRIORITY_SORT), "{path}.plugins.queueSort: no queue sort plugin is enabled");
    ensure!(has(Bind, DEFAULT_BINDER), "{path}.plugins.bind: at least one bind plugin is needed");
    let preemption = if has(PostFilter, preemption::NAME) {
        let (args, path) = args_of(&own, preemption::NAME, &path);
        Some(args::preemption(&args, &path)?)
    } else {
        None
    };
    let mut filters: Vec<Filtering> = plugins(Filter)
        .into_iter()
        .map(|plugin| Filtering {
            scope: plugin.scope(),
            sees_pods: plugin.sees_pods(),
            pre_filters: has(PreFilter, plugin.name()),
            filters: true,
            plugin,
        })
        .collect();
    for plugin in plugins(PreFilter) {
        if !has(Filter, plugin.name()) {
            let (scope, sees_pods) = (plugin.scope(), plugin.sees_pods());
            filters.push(Filtering { scope, sees_pods, pre_filters: true, filters: false, plugin });
        }
    }
    let scores = points.get(&Score).into_iter().flatten();
    let scores: Vec<Scoring> = scores
        .filter_map(|(known, weight)| {
            let plugin = made.get(known.name)?.clone();
            Some(Scoring { scope: plugin.scope(), plugin, weight: (*weight).max(1) })
        })
        .collect();
    let relative =
        scores.iter().filter(|score| score.scope == Scope::Node && score.plugin.normalize() != Normalize::No);
    ensure!(relative.count() <= RELATIVE, "{path}.plugins.score: too many plugins");
    let percentage = own.percentage_of_nodes_to_score.or(config.percentage_of_nodes_to_score);
    Ok(Profile {
        scheduler_name: config.scheduler_name(number).to_owned(),
        percentage_of_nodes_to_score: percentage
            .and_then(|percentage| u64::try_from(percentage).ok())
            .filter(|p| *p > 0),
        gates: has(PreEnqueue, SCHEDULING_GATES),
        filters,
        scores,
        reserve: plugins(Reserve),
        pre_bind: plugins(PreBind),
        preemption,
    })
}

/// The arguments of a plugin, and where they are.
fn args_of(profile: &super::ProfileConfiguration, name: &str, path: &str) -> (Value, String) {
    let found = profile.plugin_config.iter().enumerate().find(|(_, config)| config.name == name);
    match found {
        Some((at, config)) => (config.args.clone(), format!("{path}.pluginConfig[{at}].args")),
        None => (Value::Null, path.to_owned()),
    }
}

/// Arguments are for plugins that there are, and that have some.
fn check_args(profile: &super::ProfileConfiguration, path: &str) -> Result<()> {
    const WITH_ARGS: [&str; 7] = [
        fit::NAME,
        balanced::NAME,
        node_affinity::NAME,
        binding::NAME,
        inter_pod_affinity::NAME,
        pod_topology_spread::NAME,
        preemption::NAME,
    ];
    for (at, config) in profile.plugin_config.iter().enumerate() {
        let (path, name) = (format!("{path}.pluginConfig[{at}]"), config.name.as_str());
        match find(name) {
            None => bail!("{path}.name: plugin \"{name}\" does not exist"),
            Some(Known { made: Made::Missing, .. }) => bail!("{path}.name: plugin \"{name}\" is not in this scheduler"),
            Some(_) if WITH_ARGS.contains(&name) => {}
            Some(_) => args::none(name, &config.args, &format!("{path}.args"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> (Vec<&'static str>, Vec<(&'static str, i64)>) {
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        let config = SchedulerConfiguration::parse(&format!("{head}{text}")).unwrap();
        let profile = profile(&config, 0).unwrap();
        let filters = profile.filters.iter().map(|filtering| filtering.plugin.name()).collect();
        (filters, profile.scores.iter().map(|scoring| (scoring.plugin.name(), scoring.weight)).collect())
    }

    #[test]
    fn defaults_are_upstreams() {
        let (filters, scores) = names("");
        assert_eq!(filters[..3], ["NodeUnschedulable", "NodeName", "TaintToleration"]);
        let expected = [
            ("TaintToleration", 3),
            ("NodeAffinity", 2),
            ("NodeResourcesFit", 1),
            ("PodTopologySpread", 2),
            ("InterPodAffinity", 2),
            ("NodeResourcesBalancedAllocation", 1),
            ("ImageLocality", 1),
        ];
        assert_eq!(scores, expected);
    }

    #[test]
    fn a_point_may_say_otherwise_than_all_points() {
        let text = "profiles: [{plugins: {multiPoint: {disabled: [{name: ImageLocality}]}, filter: {disabled: [{name: \
                    NodePorts}]}, score: {enabled: [{name: NodeResourcesFit, weight: 9}], disabled: [{name: \
                    TaintToleration}]}}}]";
        let (filters, scores) = names(text);
        // It still prepares itself.
        assert_eq!(filters.last(), Some(&"NodePorts"));
        assert_eq!(scores[..2], [("NodeResourcesFit", 9), ("NodeAffinity", 2)]);
        assert!(scores.iter().all(|(name, _)| !["TaintToleration", "ImageLocality"].contains(name)));
    }

    #[test]
    fn all_can_be_disabled_but_one() {
        let text = "profiles: [{plugins: {filter: {disabled: [{name: '*'}], enabled: [{name: NodeName}]}, preFilter: \
                    {disabled: [{name: '*'}]}}}]";
        assert_eq!(names(text).0, ["NodeName"]);
    }
}
