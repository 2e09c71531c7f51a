//! Points in time: parsing, arithmetic and parts by time zone.

use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::error::EvalError;
use crate::function::{Cost, Function};
use crate::time::{SECOND, at};
use crate::value::CelValue;

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);
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

fn shift<'a>(from: Timestamp, by: i128) -> Value<'a> {
    let nanos = from.as_nanosecond() + by;
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).map_err(|_| EvalError::new("timestamp overflow"))?;
    at(seconds, i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or(0)).map(CelValue::Timestamp)
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
