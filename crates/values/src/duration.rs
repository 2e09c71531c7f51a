//! Durations as Go reads and writes them: `1h30m`, `1.5s`, `100us`.
//! <https://pkg.go.dev/time#ParseDuration>

use std::time::Duration;

const SECOND: i128 = 1_000_000_000;
/// The units: name and nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// A duration that is not below zero; `None` if the text is none, as a number without a unit is not, but for zero.
pub fn parse(text: &str) -> Option<Duration> {
    nanoseconds(text)?.try_into().ok().map(Duration::from_nanos)
}

/// The nanoseconds of a duration, which may be below zero; `None` if the text is none, or too long.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)?;
        total = total.saturating_add(scaled(number, scale)?);
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A decimal number times a unit; what is below a nanosecond is cut off.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 20 {
        return None;
    }
    let mut total = whole.parse::<i128>().ok().or(whole.is_empty().then_some(0))?.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        // The digits behind the point, as long as they count.
        if unit == 0 {
            break;
        }
        total += i128::from(digit - b'0') * unit / 10;
        unit /= 10;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("1m0.5s", 60_500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("100us", 100_000),
            ("1.5µs", 1500),
            (".5s", 500_000_000),
            ("-1.5s", -1_500_000_000),
        ] {
            assert_eq!(nanoseconds(text), Some(nanos), "{text}");
        }
        for text in ["", "5", "s", "1x", "-", "1.2.3s", ".s", "5 apples", "3000000h", "99999999999999999999999s"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
        assert_eq!((parse("-1s"), parse("250ms")), (None, Some(Duration::from_millis(250))));
    }
}
