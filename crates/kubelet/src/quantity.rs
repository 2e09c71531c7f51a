//! Kubernetes quantities (`100m`, `1Gi`, `2e3`) as whole numbers; one that is malformed counts as zero.

use coracle_api::quantity::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

fn parse(quantity: &Quantity) -> Amount {
    quantity.0.trim().parse().unwrap_or_else(|_| Amount::from_bytes(0))
}

/// The value rounded up to a whole number.
pub fn value(quantity: &Quantity) -> i64 {
    parse(quantity).value()
}

/// The value in thousandths, rounded up.
pub fn milli_value(quantity: &Quantity) -> i64 {
    parse(quantity).milli_value()
}

/// `quantity / divisor`, rounded up; a divisor that is not positive counts as one. Divisors are whole thousandths, as
/// the API allows no others.
pub fn divided(quantity: &Quantity, divisor: &Quantity) -> i64 {
    let (quantity, divisor) = (parse(quantity), parse(divisor));
    let (value, by) = match divisor.is_integer() {
        true => (quantity.value(), divisor.value()),
        false => (quantity.milli_value(), divisor.milli_value()),
    };
    let by = if by > 0 { by } else { 1 };
    value / by + i64::from(value % by > 0)
}

/// Whether the value is zero.
pub fn is_zero(quantity: &Quantity) -> bool {
    parse(quantity).is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let q = |text: &str| Quantity(text.into());
        assert_eq!(milli_value(&q("100m")), 100);
        assert_eq!(milli_value(&q("0.5")), 500);
        assert_eq!(value(&q("0.5")), 1);
        assert_eq!(value(&q("1.5Gi")), 1_610_612_736);
        assert_eq!(value(&q("2e3")), 2000);
        assert_eq!(value(&q("1E")), 1_000_000_000_000_000_000);
        assert_eq!(value(&q("nonsense")), 0);
        assert_eq!(value(&q("99999999999999999999Ei")), i64::MAX);
        assert_eq!(divided(&q("250m"), &q("1m")), 250);
        assert_eq!(divided(&q("250m"), &q("1")), 1);
        assert_eq!(divided(&q("65Mi"), &q("0")), 65 << 20);
        assert_eq!(divided(&q("64Mi"), &q("1Mi")), 64);
    }
}
