//! How NodeResourcesFit scores what a node has left.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/>

use super::{Assume, Weighted, percent, use_of};
use crate::pod::PodInfo;
use crate::table::NodeInfo;

/// What is scored, and how.
#[derive(Clone, Debug)]
pub(crate) struct Strategy {
    pub kind: Kind,
    pub resources: Vec<Weighted>,
}

/// The ways to score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// More for nodes with more left.
    LeastAllocated,
    /// More for nodes with less left.
    MostAllocated,
    /// By a line through points of utilization, in hundredths, and score, up to 100; by utilization.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

impl Default for Strategy {
    fn default() -> Self {
        Strategy { kind: Kind::LeastAllocated, resources: Weighted::defaults() }
    }
}

impl Strategy {
    /// The score of a node with the pod, up to 100.
    pub fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0_i64, 0_i64);
        for Weighted { resource, weight } in &self.resources {
            let (capacity, used) = use_of(resource, Assume::Defaults, pod, node);
            if capacity <= 0 {
                continue;
            }
            let score = match &self.kind {
                Kind::LeastAllocated if used > capacity => 0,
                Kind::LeastAllocated => percent(capacity - used, capacity),
                Kind::MostAllocated => percent(used.min(capacity), capacity),
                Kind::RequestedToCapacityRatio(shape) => {
                    let score = on_line(shape, percent(used.min(capacity), capacity));
                    // A resource that scores nothing does not count.
                    if score <= 0 {
                        continue;
                    }
                    score
                }
            };
            sum += score * weight;
            weights += weight;
        }
        match &self.kind {
            _ if weights == 0 => 0,
            Kind::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }
}

/// The score at a utilization: between two points on the line that joins them, outside that of the nearest one.
fn on_line(shape: &[(i64, i64)], at: i64) -> i64 {
    let next = shape.partition_point(|(utilization, _)| *utilization < at);
    match (next.checked_sub(1).and_then(|before| shape.get(before)), shape.get(next)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (at - x0) / (x1 - x0).max(1),
        (Some((_, score)), None) | (None, Some((_, score))) => *score,
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_a_line_through_its_points() {
        let shape = [(0, 0), (50, 80), (100, 20)];
        assert_eq!([0, 25, 50, 75, 100].map(|at| on_line(&shape, at)), [0, 40, 80, 50, 20]);
        assert_eq!([10, 90].map(|at| on_line(&[(20, 5), (80, 9)], at)), [5, 9]);
    }
}
