//! The status of an autoscaler: its conditions, and what its metrics are now.

use coracle_api::quantity::Quantity as Amount;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus, MetricValueStatus, ObjectMetricStatus, PodsMetricStatus,
    ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::common::now;

/// Sets a condition. Its time moves only when its status does.
pub(super) fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    kind: &str,
    holds: bool,
    reason: &str,
    message: impl Into<String>,
) {
    let conditions = status.conditions.get_or_insert_default();
    let value = if holds { "True" } else { "False" };
    let place = match conditions.iter_mut().position(|condition| condition.type_ == kind) {
        Some(place) => place,
        None => {
            conditions.push(HorizontalPodAutoscalerCondition { type_: kind.into(), ..Default::default() });
            conditions.len().saturating_sub(1)
        }
    };
    if let Some(condition) = conditions.get_mut(place) {
        if condition.status != value {
            condition.status = value.into();
            condition.last_transition_time = Some(now());
        }
        condition.reason = Some(reason.into());
        condition.message = Some(message.into());
    }
}

/// A metric as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Current {
    /// A percentage of what is requested.
    pub utilization: Option<i32>,
    /// Thousandths: of each pod, or of all together.
    pub average: Option<i64>,
    pub value: Option<i64>,
}

impl Current {
    fn shown(&self) -> MetricValueStatus {
        MetricValueStatus {
            average_utilization: self.utilization,
            average_value: self.average.map(quantity),
            value: self.value.map(quantity),
        }
    }

    /// As the status names the metric of a specification.
    pub fn of(&self, spec: &MetricSpec) -> MetricStatus {
        let current = self.shown();
        MetricStatus {
            type_: spec.type_.clone(),
            resource: spec
                .resource
                .as_ref()
                .map(|source| ResourceMetricStatus { name: source.name.clone(), current: current.clone() }),
            container_resource: spec.container_resource.as_ref().map(|source| ContainerResourceMetricStatus {
                name: source.name.clone(),
                container: source.container.clone(),
                current: current.clone(),
            }),
            pods: spec
                .pods
                .as_ref()
                .map(|source| PodsMetricStatus { metric: source.metric.clone(), current: current.clone() }),
            object: spec.object.as_ref().map(|source| ObjectMetricStatus {
                metric: source.metric.clone(),
                described_object: source.described_object.clone(),
                current: current.clone(),
            }),
            external: spec
                .external
                .as_ref()
                .map(|source| ExternalMetricStatus { metric: source.metric.clone(), current }),
        }
    }
}

/// Thousandths as the API writes them.
fn quantity(milli: i64) -> Quantity {
    Quantity(format!("{milli}m").parse::<Amount>().unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_moves_with_its_status_only() {
        let mut status = HorizontalPodAutoscalerStatus::default();
        set(&mut status, "AbleToScale", true, "A", "a");
        let mut conditions = status.conditions.clone().unwrap();
        conditions[0].last_transition_time = None;
        status.conditions = Some(conditions);
        set(&mut status, "AbleToScale", true, "B", "b");
        let condition = &status.conditions.as_ref().unwrap()[0];
        assert_eq!((condition.reason.as_deref(), &condition.last_transition_time), (Some("B"), &None));
        set(&mut status, "AbleToScale", false, "C", "c");
        assert!(status.conditions.unwrap()[0].last_transition_time.is_some());
    }

    #[test]
    fn amounts_are_written_as_the_api_writes_them() {
        assert_eq!((quantity(2000).0, quantity(1500).0), ("2".to_owned(), "1500m".to_owned()));
    }
}
