//! NodeResourcesBalancedAllocation: more for nodes whose resources are used to about the same share.

use super::{Assume, Weighted, use_of};
use crate::framework::{Actions, MAX_SCORE, Plugin};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "NodeResourcesBalancedAllocation";

/// The plugin, with its arguments.
pub(crate) struct BalancedAllocation {
    pub resources: Vec<Weighted>,
}

impl Default for BalancedAllocation {
    fn default() -> Self {
        BalancedAllocation { resources: Weighted::defaults() }
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _table: &Table) -> i64 {
        // Else all pods that ask for nothing would go to the one most balanced node.
        if self.resources.iter().all(|weighted| pod.requests.get(&weighted.resource) == 0) {
            return 0;
        }
        let share = |weighted: &Weighted| {
            let (capacity, used) = use_of(&weighted.resource, Assume::Nothing, pod, node);
            (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
        };
        let shares: Vec<f64> = self.resources.iter().filter_map(share).collect();
        let deviation = match shares.as_slice() {
            [] | [_] => 0.0,
            [one, other] => (one - other).abs() / 2.0,
            more => {
                let mean = more.iter().sum::<f64>() / more.len() as f64;
                (more.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / more.len() as f64).sqrt()
            }
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }

    fn events(&self) -> Actions {
        Actions::NONE
    }
}
