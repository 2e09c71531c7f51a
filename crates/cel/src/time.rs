//! Times and durations as texts.

use jiff::Timestamp;

use crate::error::EvalError;

/// Nanoseconds of a second.
pub(crate) const SECOND: i128 = 1_000_000_000;
/// Seconds of 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, between which all timestamps are.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The time so many seconds and nanoseconds after 1970.
pub(crate) fn at(seconds: i64, nanos: i32) -> Result<Timestamp, EvalError> {
    let valid = YEARS.contains(&seconds).then(|| Timestamp::new(seconds, nanos).ok()).flatten();
    valid.ok_or_else(|| EvalError::new("timestamp overflow"))
}

/// A time as in RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, EvalError> {
    let wrong = || EvalError::new(format!("invalid timestamp: {text:?} is not as in RFC 3339"));
    let shaped = text.len() >= 20 && text.as_bytes()[10] == b'T' && text.as_bytes()[4] == b'-';
    let parsed: Timestamp = if shaped { text.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    if YEARS.contains(&parsed.as_second()) { Ok(parsed) } else { Err(wrong()) }
}

/// A time as in RFC 3339, or the midnight that a date begins with.
pub(crate) fn parse_date_or_time(text: &str) -> Result<Timestamp, EvalError> {
    if text.len() == 10 { parse_timestamp(&format!("{text}T00:00:00Z")) } else { parse_timestamp(text) }
}

/// The parts of a duration: name and nanoseconds.
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

/// Nanoseconds of a text such as `1h30m` or `-1.5s`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, EvalError> {
    let wrong = || EvalError::new(format!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale).ok_or_else(wrong)?;
        total = total.saturating_add(scaled(number, scale).ok_or_else(wrong)?);
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| wrong())
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

/// A duration in seconds, as `string()` shows it.
pub(crate) fn duration_text(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}
