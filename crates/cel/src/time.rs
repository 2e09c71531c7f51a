//! Times and durations as texts.

use coracle_values::duration;
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

/// Nanoseconds of a text such as `1h30m` or `-1.5s`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, EvalError> {
    duration::nanoseconds(text).ok_or_else(|| EvalError::new(format!("time: invalid duration {text:?}")))
}

/// A duration in seconds, as `string()` shows it.
pub(crate) fn duration_text(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}
