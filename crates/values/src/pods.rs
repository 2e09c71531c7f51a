//! What the containers of a pod come to together, in whatever form their resources were read.

use crate::quantity::Quantity;

/// Amounts of several resources that are put together.
pub trait Sum: Clone + Default {
    /// Adds the amounts of another.
    fn add(&mut self, other: &Self);
    /// Takes over those amounts of another that are larger.
    fn raise(&mut self, other: &Self);
}

/// What containers and init containers need together; of the latter it is said whether each is a sidecar.
///
/// Containers and sidecars run side by side, and an init container beside the sidecars that were started before it; what is
/// more of both counts.
/// <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>
pub fn together<A: Sum>(
    containers: impl IntoIterator<Item = A>,
    init_containers: impl IntoIterator<Item = (A, bool)>,
) -> A {
    let mut running = A::default();
    for needed in containers {
        running.add(&needed);
    }
    let (mut sidecars, mut starting) = (A::default(), A::default());
    for (mut needed, is_sidecar) in init_containers {
        if is_sidecar {
            running.add(&needed);
            sidecars.add(&needed);
            needed = sidecars.clone();
        } else {
            needed.add(&sidecars);
        }
        starting.raise(&needed);
    }
    running.raise(&starting);
    running
}

/// Whether a pod as a whole, and not only its containers, may request a resource or be limited in it.
pub fn may_be_of_pod(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-")
}

/// A pod's quality of service class.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Requests and limits of CPU and memory are there and equal.
    Guaranteed,
    /// There is some request or limit.
    Burstable,
    /// There is none.
    BestEffort,
}

/// Requests and limits of CPU and memory, in that order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// What is requested of each; zero is nothing.
    pub requests: [Quantity; 2],
    /// The limit of each; zero is none.
    pub limits: [Quantity; 2],
}

impl Qos {
    /// The class of a pod with such sizes: those of the pod as a whole where it has any, else those of each container and init
    /// container.
    pub fn of(sizes: impl IntoIterator<Item = Sizes>) -> Self {
        let mut sum = Sizes::default();
        let mut all_limited = true;
        for one in sizes {
            for (sum, more) in sum.requests.iter_mut().zip(one.requests) {
                *sum = *sum + more;
            }
            for (sum, more) in sum.limits.iter_mut().zip(one.limits) {
                *sum = *sum + more;
            }
            all_limited &= one.limits.iter().all(|limit| !limit.is_zero());
        }
        if sum.requests.iter().chain(&sum.limits).all(|amount| amount.is_zero()) {
            Self::BestEffort
        } else if all_limited && sum.requests == sum.limits {
            Self::Guaranteed
        } else {
            Self::Burstable
        }
    }

    /// As `status.qosClass` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sum for u32 {
        fn add(&mut self, other: &Self) {
            *self += other;
        }
        fn raise(&mut self, other: &Self) {
            *self = *other.max(self);
        }
    }

    #[test]
    fn init_containers_run_before_and_sidecars_beside() {
        assert_eq!(together([200, 300], [(550, false), (100, true), (550, false)]), 650);
        assert_eq!(together([200, 300], [(100, true)]), 600);
        assert_eq!(together([200], []), 200);
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        let sizes = |texts: [&str; 4]| {
            let [a, b, c, d] = texts.map(|text| text.parse().expect("a quantity"));
            Sizes { requests: [a, b], limits: [c, d] }
        };
        let equal = sizes(["1", "1Gi", "1000m", "1Gi"]);
        assert_eq!(Qos::of([]), Qos::BestEffort);
        assert_eq!(Qos::of([Sizes::default()]), Qos::BestEffort);
        assert_eq!(Qos::of([equal, equal]), Qos::Guaranteed);
        assert_eq!(Qos::of([equal, Sizes::default()]), Qos::Burstable);
        assert_eq!(Qos::of([sizes(["1m", "0", "0", "0"])]), Qos::Burstable);
        assert_eq!(Qos::of([sizes(["1", "0", "1", "1Gi"])]), Qos::Burstable);
        assert_eq!(Qos::of([sizes(["1", "0", "1", "0"])]), Qos::Burstable);
    }
}
