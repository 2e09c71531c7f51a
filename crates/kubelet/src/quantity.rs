//! Kubernetes quantities (`100m`, `1Gi`, `2e3`) as whole numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;

/// The quantity in billionths; `None` when it is malformed or too large.
fn nanos(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut scale: i128 = 1;
    for digit in fraction.chars().take(12) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))?;
        scale *= 10;
    }
    let (factor, divisor): (i128, i128) = match suffix {
        "" => (NANO, 1),
        "n" => (1, 1),
        "u" => (1_000, 1),
        "m" => (1_000_000, 1),
        "k" => (NANO * 1_000, 1),
        "M" => (NANO * 1_000_000, 1),
        "G" => (NANO * NANO, 1),
        "T" => (NANO * NANO * 1_000, 1),
        "P" => (NANO * NANO * 1_000_000, 1),
        "E" => (NANO * NANO * NANO, 1),
        "Ki" => (NANO << 10, 1),
        "Mi" => (NANO << 20, 1),
        "Gi" => (NANO << 30, 1),
        "Ti" => (NANO << 40, 1),
        "Pi" => (NANO << 50, 1),
        "Ei" => (NANO << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let ten = 10i128.checked_pow(power.unsigned_abs())?;
            if power >= 0 { (NANO.checked_mul(ten)?, 1) } else { (NANO, ten) }
        }
    };
    let product = value.checked_mul(factor)?;
    // Digits finer than a billionth round up, as upstream's do.
    let value = product.div_euclid(scale.checked_mul(divisor)?) + i128::from(product.rem_euclid(scale * divisor) != 0);
    Some(if negative { -value } else { value })
}

fn clamp(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

/// The value rounded up to a whole number; 0 when malformed.
pub fn value(quantity: &Quantity) -> i64 {
    clamp(div_ceil(nanos(&quantity.0).unwrap_or(0), NANO))
}

/// The value in thousandths, rounded up; 0 when malformed.
pub fn milli_value(quantity: &Quantity) -> i64 {
    clamp(div_ceil(nanos(&quantity.0).unwrap_or(0), NANO / 1000))
}

/// `quantity / divisor`, rounded up; a zero or malformed divisor counts as one.
pub fn divided(quantity: &Quantity, divisor: &Quantity) -> i64 {
    let divisor = nanos(&divisor.0).filter(|divisor| *divisor > 0).unwrap_or(NANO);
    clamp(div_ceil(nanos(&quantity.0).unwrap_or(0), divisor))
}

/// Whether the value is zero.
pub fn is_zero(quantity: &Quantity) -> bool {
    nanos(&quantity.0).unwrap_or(0) == 0
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
        assert_eq!(value(&q("99999999999999999999Ei")), 0);
        assert_eq!(divided(&q("250m"), &q("1m")), 250);
        assert_eq!(divided(&q("64Mi"), &q("1Mi")), 64);
    }
}
