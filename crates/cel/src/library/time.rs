//! Points in time: parsing, arithmetic and parts by time zone.

use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::error::EvalError;
use crate::function::{Cost, Function};
use crate::value::CelValue;

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);
const SECOND: i128 = 1_000_000_000;
/// Seconds of 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, between which all timestamps are.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("_+_(timestamp, duration) -> timestamp", ONE, |_, args| match args {
        [CelValue::Timestamp(at), CelValue::Duration(by)] => shift(*at, i128::from(*by)),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("_+_(duration, timestamp) -> timestamp", ONE, |_, args| match args {
        [CelValue::Duration(by), CelValue::Timestamp(at)] => shift(*at, i128::from(*by)),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("_-_(timestamp, duration) -> timestamp", ONE, |_, args| match args {
        [CelValue::Timestamp(at), CelValue::Duration(by)] => shift(*at, -i128::from(*by)),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("_-_(timestamp, timestamp) -> duration", ONE, |_, args| match args {
        [CelValue::Timestamp(a), CelValue::Timestamp(b)] => {
            let nanos = i64::try_from(a.as_nanosecond() - b.as_nanosecond());
            nanos.map(CelValue::Duration).map_err(|_| EvalError::new("duration overflow"))
        }
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::member("timestamp", "getFullYear() -> int", ONE, |_, args| part(args, |at| at.year().into())),
    Function::member("timestamp", "getFullYear(string) -> int", ONE, |_, args| part(args, |at| at.year().into())),
    Function::member("timestamp", "getMonth() -> int", ONE, |_, args| part(args, |at| i64::from(at.month()) - 1)),
    Function::member("timestamp", "getMonth(string) -> int", ONE, |_, args| part(args, |at| i64::from(at.month()) - 1)),
    Function::member("timestamp", "getDate() -> int", ONE, |_, args| part(args, |at| at.day().into())),
    Function::member("timestamp", "getDate(string) -> int", ONE, |_, args| part(args, |at| at.day().into())),
    Function::member("timestamp", "getDayOfMonth() -> int", ONE, |_, args| part(args, |at| i64::from(at.day()) - 1)),
    Function::member("timestamp", "getDayOfMonth(string) -> int", ONE, |_, args| {
        part(args, |at| i64::from(at.day()) - 1)
    }),
    Function::member("timestamp", "getDayOfWeek() -> int", ONE, |_, args| part(args, day_of_week)),
    Function::member("timestamp", "getDayOfWeek(string) -> int", ONE, |_, args| part(args, day_of_week)),
    Function::member("timestamp", "getDayOfYear() -> int", ONE, |_, args| part(args, day_of_year)),
    Function::member("timestamp", "getDayOfYear(string) -> int", ONE, |_, args| part(args, day_of_year)),
    Function::member("timestamp", "getHours() -> int", ONE, |_, args| part(args, |at| at.hour().into())),
    Function::member("timestamp", "getHours(string) -> int", ONE, |_, args| part(args, |at| at.hour().into())),
    Function::member("timestamp", "getMinutes() -> int", ONE, |_, args| part(args, |at| at.minute().into())),
    Function::member("timestamp", "getMinutes(string) -> int", ONE, |_, args| part(args, |at| at.minute().into())),
    Function::member("timestamp", "getSeconds() -> int", ONE, |_, args| part(args, |at| at.second().into())),
    Function::member("timestamp", "getSeconds(string) -> int", ONE, |_, args| part(args, |at| at.second().into())),
    Function::member("timestamp", "getMilliseconds() -> int", ONE, |_, args| part(args, |at| at.millisecond().into())),
    Function::member("timestamp", "getMilliseconds(string) -> int", ONE, |_, args| {
        part(args, |at| at.millisecond().into())
    }),
];

/// The time so many seconds and nanoseconds after 1970.
pub(crate) fn at(seconds: i64, nanos: i32) -> Result<Timestamp, EvalError> {
    let valid = YEARS.contains(&seconds).then(|| Timestamp::new(seconds, nanos).ok()).flatten();
    valid.ok_or_else(|| EvalError::new("timestamp overflow"))
}

fn shift<'a>(from: Timestamp, by: i128) -> Value<'a> {
    let nanos = from.as_nanosecond() + by;
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).map_err(|_| EvalError::new("timestamp overflow"))?;
    at(seconds, i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or(0)).map(CelValue::Timestamp)
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

fn part<'a>(args: &[CelValue<'a>], of: fn(&Zoned) -> i64) -> Value<'a> {
    let (at, zone) = match args {
        [CelValue::Timestamp(at)] => (at, TimeZone::UTC),
        [CelValue::Timestamp(at), CelValue::String(name)] => (at, time_zone(name)?),
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::Int(of(&at.to_zoned(zone))))
}

/// A zone by its name, or by its distance to UTC such as `-08:00`.
fn time_zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::new(format!("unknown time zone {name}"));
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let Some((hours, minutes)) = name.split_once(':') else { return TimeZone::get(name).map_err(|_| unknown()) };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
        return Err(unknown());
    }
    let seconds = (hours * 60 + minutes) * 60;
    let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).map_err(|_| unknown())?;
    Ok(TimeZone::fixed(offset))
}

fn day_of_week(at: &Zoned) -> i64 {
    match at.weekday() {
        Weekday::Sunday => 0,
        other => i64::from(other.to_monday_one_offset()),
    }
}

fn day_of_year(at: &Zoned) -> i64 {
    i64::from(at.day_of_year()) - 1
}
