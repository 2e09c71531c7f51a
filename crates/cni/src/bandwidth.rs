//! Limits of a pod's traffic, as its annotations say.
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/#support-traffic-shaping>

use std::collections::BTreeMap;

use coracle_values::quantity::Quantity;

/// The annotation that limits what comes to a pod.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// The annotation that limits what a pod sends.
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// The least limit, and the greatest.
const LEAST: i64 = 1000;
const GREATEST: i64 = 1_000_000_000_000_000;

/// Limits in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Of what comes to the pod.
    pub ingress: Option<u64>,
    /// Of what it sends.
    pub egress: Option<u64>,
}

impl Bandwidth {
    /// What annotations ask for.
    ///
    /// # Errors
    /// A limit is no quantity, or not between 1k and 1P.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Bandwidth, String> {
        let limit = |annotation: &str| annotations.get(annotation).map(|text| limit(annotation, text)).transpose();
        Ok(Bandwidth { ingress: limit(INGRESS)?, egress: limit(EGRESS)? })
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(self) -> bool {
        self == Bandwidth::default()
    }
}

fn limit(annotation: &str, text: &str) -> Result<u64, String> {
    let quantity: Quantity = text.parse().map_err(|error| format!("{annotation}: {text:?}: {error}"))?;
    match quantity.value() {
        value if value < LEAST => Err(format!("{annotation}: resource is unreasonably small (< 1kbit)")),
        value if value > GREATEST => Err(format!("{annotation}: resource is unreasonably large (> 1Pbit)")),
        value => Ok(value.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ingress: &str, egress: &str) -> Result<Bandwidth, String> {
        let all = [(INGRESS, ingress), (EGRESS, egress)].into_iter().filter(|(_, text)| *text != "none");
        Bandwidth::of(&all.map(|(key, text)| (key.to_owned(), text.to_owned())).collect())
    }

    #[test]
    fn limits_are_quantities_between_one_thousand_and_one_quadrillion_bits() {
        assert!(of("none", "none").unwrap().is_unlimited());
        assert_eq!(of("10M", "none"), Ok(Bandwidth { ingress: Some(10_000_000), egress: None }));
        assert_eq!(of("1k", "1P"), Ok(Bandwidth { ingress: Some(1000), egress: Some(1_000_000_000_000_000) }));
        for wrong in ["999", "0", "-1M", "1.1P", "10E", "", "fast", "10 M"] {
            let told = of("none", wrong).unwrap_err();
            assert!(told.starts_with(EGRESS), "{wrong}: {told}");
        }
    }
}
