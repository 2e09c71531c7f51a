//! ImageLocality: more for nodes that have large images of the pod, in as far as other nodes have them too: else all pods of an
//! image would end up on the one node that pulled it first.

use crate::framework::{Actions, MAX_SCORE, Plugin};
use crate::pod::PodInfo;
use crate::table::{NodeInfo, Table};

pub(crate) const NAME: &str = "ImageLocality";

const MIB: i64 = 1 << 20;
/// Less than this is not worth looking at, and more of one container's image counts no more.
const LEAST: i64 = 23 * MIB;
const MOST: i64 = 1000 * MIB;

/// The plugin. It has no arguments.
pub(crate) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        NAME
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, table: &Table) -> i64 {
        let scaled = |image: &String| {
            let size = node.images.get(image)?;
            let spread = table.image_nodes.get(image).copied().unwrap_or(0) as f64 / table.count().max(1) as f64;
            Some((*size as f64 * spread) as i64)
        };
        let sum: i64 = pod.images.iter().filter_map(scaled).fold(0, i64::saturating_add);
        let most = MOST.saturating_mul(pod.images.len().max(1) as i64);
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }

    fn events(&self) -> Actions {
        Actions::NONE
    }
}
