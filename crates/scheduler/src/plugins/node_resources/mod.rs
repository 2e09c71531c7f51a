//! What of a node's resources is used: [`fit`] keeps pods off that ask for more than there is, and both score.

pub(crate) mod balanced;
pub(crate) mod fit;
pub(crate) mod strategy;

use coracle_matching::amounts::Resource;

use crate::pod::PodInfo;
use crate::table::NodeInfo;

/// A resource that counts when nodes are scored, and how much.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighted {
    pub resource: Resource,
    pub weight: i64,
}

impl Weighted {
    /// CPU and memory, alike.
    pub fn defaults() -> Vec<Weighted> {
        [Resource::Cpu, Resource::Memory].map(|resource| Weighted { resource, weight: 1 }).into()
    }
}

/// Whether containers that ask for nothing are taken to ask for something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Assume {
    Defaults,
    Nothing,
}

/// How much of a resource a node has, and how much of it would be used with the pod. Nothing where the pod asks for no
/// such extended resource.
fn use_of(resource: &Resource, assume: Assume, pod: &PodInfo, node: &NodeInfo) -> (i64, i64) {
    let used = match (resource, assume) {
        (Resource::Cpu, Assume::Defaults) => node.scored.0.saturating_add(pod.scored.0),
        (Resource::Memory, Assume::Defaults) => node.scored.1.saturating_add(pod.scored.1),
        _ => {
            let asked = pod.requests.get(resource);
            if asked == 0 && matches!(resource, Resource::Scalar(_)) {
                return (0, 0);
            }
            node.requested.get(resource).saturating_add(asked)
        }
    };
    (node.allocatable.get(resource), used)
}

/// A part of a whole that is more than nothing, in hundredths.
fn percent(part: i64, whole: i64) -> i64 {
    (i128::from(part) * 100 / i128::from(whole)) as i64
}
