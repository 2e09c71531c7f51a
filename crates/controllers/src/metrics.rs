//! What controllers count of their own work, under upstream's names.
//! <https://kubernetes.io/docs/reference/instrumentation/metrics/>

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use coracle_metrics::{
    CONTROLLERS, Counter, DOUBLING_FROM_A_MILLISECOND, Family, Histogram, Page, Showing, Slot, exponential,
};

/// All of them.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// What is counted. What there is, is shown by whoever knows it.
pub(crate) struct Metrics {
    pub job_syncs: Arc<Family<Counter, 3>>,
    pub job_sync_durations: Arc<Family<Histogram, 3>>,
    pub jobs_finished: Arc<Family<Counter, 3>>,
    pub job_pods_finished: Arc<Family<Counter, 2>>,
    pub job_pods_to_count: Arc<Family<Counter, 1>>,
    pub cron_job_skew: Arc<Histogram>,
    pub job_deletions: Arc<Histogram>,
    pub evictions: Arc<Family<Counter, 1>>,
    pub slice_changes: Arc<Family<Counter, 1>>,
    pub mirrored_slice_changes: Arc<Family<Counter, 1>>,
    pub slice_syncs: Arc<Family<Counter, 1>>,
    pub slices_changed: Arc<Family<Histogram, 2>>,
    pub endpoints_added: Arc<Histogram>,
    pub endpoints_removed: Arc<Histogram>,
    pub autoscaler_looks: Arc<Family<Counter, 2>>,
    pub autoscaler_durations: Arc<Family<Histogram, 2>>,
    pub metric_computations: Arc<Family<Counter, 3>>,
    pub metric_durations: Arc<Family<Histogram, 3>>,
    pub ephemeral_claims: Arc<Counter>,
    pub ephemeral_failures: Arc<Counter>,
    pub force_deleted_pods: Arc<Family<Counter, 2>>,
    pub forced_detaches: Arc<Family<Counter, 1>>,
    attached: Slot,
    nodes: Slot,
    slices: Slot,
    volumes: Slot,
}

impl Metrics {
    fn new() -> Metrics {
        let (r, bounds) = (&CONTROLLERS, &DOUBLING_FROM_A_MILLISECOND);
        let (of_job, of_look) = (["action", "completion_mode", "result"], ["action", "error"]);
        let of_metric = ["action", "error", "metric_type"];
        Metrics {
            job_syncs: r.counters("job_controller_job_syncs_total", "Passes over jobs", of_job),
            job_sync_durations: r.histograms(
                "job_controller_job_sync_duration_seconds",
                "Seconds of a pass over a job",
                of_job,
                bounds,
            ),
            jobs_finished: r.counters(
                "job_controller_jobs_finished_total",
                "Jobs that came to their end",
                ["completion_mode", "reason", "result"],
            ),
            job_pods_finished: r.counters(
                "job_controller_job_pods_finished_total",
                "Pods of jobs that ended and were counted",
                ["completion_mode", "result"],
            ),
            job_pods_to_count: r.counters(
                "job_controller_terminated_pods_tracking_finalizer_total",
                "Pods that ended with the finalizer of jobs (add), and those of them that lost it (delete)",
                ["event"],
            ),
            cron_job_skew: r.histogram(
                "cronjob_controller_job_creation_skew_duration_seconds",
                "Seconds from when a run was to start until its job was made",
                &exponential(1.0, 2.0, 10),
            ),
            job_deletions: r.histogram(
                "ttl_after_finished_controller_job_deletion_duration_seconds",
                "Seconds from when the time of a job was over until it was deleted",
                &exponential(0.1, 2.0, 14),
            ),
            evictions: r.counters(
                "node_collector_evictions_total",
                "Nodes whose pods were told to go, as nothing is heard of them",
                ["zone"],
            ),
            slice_changes: r.counters(
                "endpoint_slice_controller_changes",
                "Slices that were made, changed and deleted",
                ["operation"],
            ),
            mirrored_slice_changes: r.counters(
                "endpoint_slice_mirroring_controller_changes",
                "Slices of endpoints that others made that were made, changed and deleted",
                ["operation"],
            ),
            slice_syncs: r.counters("endpoint_slice_controller_syncs", "Looks at services", ["result"]),
            slices_changed: r.histograms(
                "endpoint_slice_controller_endpointslices_changed_per_sync",
                "Slices that a look at a service had made, changed or deleted",
                ["topology", "traffic_distribution"],
                &exponential(1.0, 2.0, 10),
            ),
            endpoints_added: r.histogram(
                "endpoint_slice_controller_endpoints_added_per_sync",
                "Endpoints that came to a service at one look",
                &exponential(2.0, 2.0, 15),
            ),
            endpoints_removed: r.histogram(
                "endpoint_slice_controller_endpoints_removed_per_sync",
                "Endpoints that a service lost at one look",
                &exponential(2.0, 2.0, 15),
            ),
            autoscaler_looks: r.counters(
                "horizontal_pod_autoscaler_controller_reconciliations_total",
                "Looks at autoscalers",
                of_look,
            ),
            autoscaler_durations: r.histograms(
                "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
                "Seconds of a look at an autoscaler",
                of_look,
                bounds,
            ),
            metric_computations: r.counters(
                "horizontal_pod_autoscaler_controller_metric_computation_total",
                "Metrics that were asked what they want",
                of_metric,
            ),
            metric_durations: r.histograms(
                "horizontal_pod_autoscaler_controller_metric_computation_duration_seconds",
                "Seconds until a metric said what it wants",
                of_metric,
                bounds,
            ),
            ephemeral_claims: r.counter(
                "ephemeral_volume_controller_create_total",
                "Claims of ephemeral volumes that were to be made",
            ),
            ephemeral_failures: r.counter(
                "ephemeral_volume_controller_create_failures_total",
                "Claims of ephemeral volumes that could not be made",
            ),
            force_deleted_pods: r.counters(
                "pod_gc_collector_force_delete_pods_total",
                "Pods that were deleted without waiting for their node",
                ["namespace", "reason"],
            ),
            forced_detaches: r.counters(
                "attachdetach_controller_forced_detaches",
                "Volumes that were detached though their node did not say that it has them no more",
                ["reason"],
            ),
            attached: r.slot(),
            nodes: r.slot(),
            slices: r.slot(),
            volumes: r.slot(),
        }
    }

    /// Shows how many volumes of each plugin are to be attached and are.
    pub fn show_attached(
        &self,
        count: impl Fn() -> BTreeMap<String, (usize, usize)> + Send + Sync + 'static,
    ) -> Showing {
        self.attached.show(move |page| {
            let name = "attachdetach_controller_total_volumes";
            page.family(name, "gauge", "Volumes that are to be attached, and that are");
            for (plugin, (wanted, there)) in count() {
                for (state, count) in [("desired_state_of_world", wanted), ("actual_state_of_world", there)] {
                    page.sample(name, &[("plugin_name", &plugin), ("state", state)], count);
                }
            }
        })
    }

    /// Shows nodes by their zones, and how many of them are not ready.
    pub fn show_nodes(&self, of_zones: impl Fn() -> BTreeMap<String, Zone> + Send + Sync + 'static) -> Showing {
        self.nodes.show(move |page| {
            let zones = of_zones();
            let mut show = |name: &str, help: &str, value: fn(&Zone) -> f64| {
                page.family(name, "gauge", help);
                zones.iter().for_each(|(zone, found)| page.sample(name, &[("zone", zone)], value(found)));
            };
            show("node_collector_zone_size", "Nodes of a zone", |zone| zone.nodes as f64);
            show("node_collector_zone_health", "Nodes of a zone that are ready, in percent", |zone| {
                100.0 - 100.0 * zone.unhealthy as f64 / zone.nodes.max(1) as f64
            });
            show("node_collector_unhealthy_nodes_in_zone", "Nodes of a zone that are not ready", |zone| {
                zone.unhealthy as f64
            });
        })
    }

    /// Shows how many slices and endpoints there are, and how few slices would do.
    pub fn show_slices(&self, count: impl Fn() -> [usize; 3] + Send + Sync + 'static) -> Showing {
        self.slices.show(move |page| {
            let [slices, desired, endpoints] = count();
            let single = |page: &mut Page, name, help, count| page.single(name, "gauge", help, count);
            single(page, "endpoint_slice_controller_num_endpoint_slices", "Slices that there are", slices);
            let name = "endpoint_slice_controller_desired_endpoint_slices";
            single(page, name, "Slices that there would be if all but one of a service were full", desired);
            single(page, "endpoint_slice_controller_endpoints_desired", "Endpoints in them", endpoints);
        })
    }

    /// Shows how many volumes and claims are bound and are not.
    pub fn show_volumes(&self, count: impl Fn() -> Volumes + Send + Sync + 'static) -> Showing {
        self.volumes.show(move |page| {
            let found = count();
            let bound = |is_bound: bool| if is_bound { "bound" } else { "unbound" };
            let total = "pv_collector_total_pv_count";
            page.family(total, "gauge", "Volumes by what they are of, and whether they have a file system");
            for ((plugin, mode), count) in &found.of_plugins {
                page.sample(total, &[("plugin_name", plugin), ("volume_mode", mode)], count);
            }
            for (is_bound, help) in [(true, "Volumes that are bound"), (false, "Volumes that are not bound")] {
                let name = format!("pv_collector_{}_pv_count", bound(is_bound));
                page.family(&name, "gauge", help);
                for ((_, class), count) in found.volumes.iter().filter(|((bound, _), _)| *bound == is_bound) {
                    page.sample(&name, &[("storage_class", class)], count);
                }
            }
            for (is_bound, help) in [(true, "Claims that are bound"), (false, "Claims that are not bound")] {
                let name = format!("pv_collector_{}_pvc_count", bound(is_bound));
                page.family(&name, "gauge", help);
                for ((_, [namespace, class, attributes]), count) in
                    found.claims.iter().filter(|((bound, _), _)| *bound == is_bound)
                {
                    let labels = [
                        ("namespace", &**namespace),
                        ("storage_class", &**class),
                        ("volume_attributes_class", &**attributes),
                    ];
                    page.sample(&name, &labels, count);
                }
            }
        })
    }
}

/// The nodes of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    pub nodes: usize,
    pub unhealthy: usize,
}

/// How many volumes and claims there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Volumes {
    /// By plugin and mode.
    pub of_plugins: BTreeMap<(String, String), usize>,
    /// By whether they are bound, and storage class.
    pub volumes: BTreeMap<(bool, String), usize>,
    /// By whether they are bound, and namespace, storage class and class of attributes.
    pub claims: BTreeMap<(bool, [String; 3]), usize>,
}
