//! Schedules of cron jobs: five fields of a time, or a descriptor such as `@hourly` or `@every 1h30m`.
//!
//! What is accepted, and the words for what is not, are those of the parser that upstream uses
//! (`ParseStandard` of robfig/cron).

use std::time::Duration;

use coracle_values::duration;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The times whose parts are all in the fields.
    Times(Times),
    /// Again and again after this long.
    Every(Duration),
}

/// The parts of a time, each as the set of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 1 to 31.
    pub days_of_month: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0, Sunday, to 6.
    pub days_of_week: u64,
    /// Whether both fields of days restrict: a day then needs to be in one of them only.
    pub either_day: bool,
}

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Parses a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        let free = |field: &str| field.starts_with(['*', '?']);
        Ok(Schedule::Times(Times {
            minutes: set(minutes, &MINUTES)?,
            hours: set(hours, &HOURS)?,
            days_of_month: set(days, &DAYS)?,
            months: set(months, &MONTHS)?,
            days_of_week: set(weekdays, &WEEKDAYS)?,
            either_day: !free(days) && !free(weekdays),
        }))
    }
}

/// A schedule that names no day within so many years names none.
const YEARS: i16 = 5;

impl Schedule {
    /// The first time of the schedule after another one, by the clock of a time zone. `None` when there is none, as on a 31st
    /// of February.
    ///
    /// What a clock that is set forward leaves out is left out that day; what it shows twice when it is set back comes twice.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Times(times) => times.next(after, zone),
            Schedule::Every(every) => {
                let seconds = i64::try_from(every.as_secs()).ok()?;
                Timestamp::from_second(after.as_second().checked_add(seconds)?).ok()
            }
        }
    }
}

impl Times {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut time = later(&Timestamp::from_second(after.as_second()).ok()?.to_zoned(zone.clone()), 1)?;
        let last = time.year().checked_add(YEARS)?;
        // Each step leads to the next time at which a field that does not fit may.
        while time.year() <= last {
            time = if !has(self.months, time.month()) {
                time.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()?
            } else if !self.has_day(&time) {
                time.tomorrow().ok()?.start_of_day().ok()?
            } else if !has(self.hours, time.hour()) {
                later(&time, 3600 - i64::from(time.minute()) * 60 - i64::from(time.second()))?
            } else if !has(self.minutes, time.minute()) || time.second() != 0 {
                later(&time, 60 - i64::from(time.second()))?
            } else {
                return Some(time.timestamp());
            };
        }
        None
    }

    fn has_day(&self, time: &Zoned) -> bool {
        let of_month = has(self.days_of_month, time.day());
        let of_week = has(self.days_of_week, Weekday::to_sunday_zero_offset(time.weekday()));
        if self.either_day { of_month || of_week } else { of_month && of_week }
    }
}

fn has(bits: u64, number: i8) -> bool {
    bits >> number & 1 == 1
}

fn later(time: &Zoned, seconds: i64) -> Option<Zoned> {
    time.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let why =
                || format!("failed to parse duration {text}: time: invalid duration {}", crate::field::quote(every));
            // A second is the least, also where it is to be less than nothing.
            let every =
                duration::nanoseconds(every).ok_or_else(why)?.try_into().map_or(Duration::ZERO, Duration::from_nanos);
            return Ok(Schedule::Every(every.max(Duration::from_secs(1))));
        }
    };
    Schedule::parse(fields)
}

/// The bits of a field: ranges with commas between.
fn set(field: &str, bounds: &Bounds) -> Result<u64, String> {
    // What is between two commas next to each other is nothing.
    field.split(',').filter(|part| !part.is_empty()).try_fold(0, |bits, part| Ok(bits | range(part, bounds)?))
}

/// The bits of `*`, `n`, `n-m`, or one of them with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let single = ends.len() == 1;
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [one] => (number_or_name(one, bounds)?, number_or_name(one, bounds)?),
        [start, end] => (number_or_name(start, bounds)?, number_or_name(end, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            // `n/step` means from n to the end.
            if single {
                end = bounds.max;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok((start..=end).step_by(step as usize).fold(0, |bits, n| bits | 1 << n))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.min + at as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => {
            let quoted = crate::field::quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(text: &str) -> Times {
        match Schedule::parse(text) {
            Ok(Schedule::Times(times)) => times,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn fields_are_sets() {
        assert_eq!(times("*/15 0 * * *").minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(times("5/30 1-3,9 * * *").minutes, 1 << 5 | 1 << 35);
        assert_eq!(times("0 1-3,9 * * *").hours, 0b10_0000_1110);
        assert_eq!(times("0 0 * JAN,mar *").months, 0b1010);
        assert_eq!(times("0 0 ? * mon-Fri").days_of_week, 0b11_1110);
        assert!(times("0 0 1 * 1").either_day && !times("0 0 * * 1").either_day);
        assert_eq!(Schedule::parse("@weekly"), Schedule::parse("0 0 * * 0"));
        assert_eq!(Schedule::parse("@every 1h30m"), Ok(Schedule::Every(Duration::from_secs(5400))));
    }

    #[test]
    fn what_is_wrong_is_told_as_upstream() {
        for (text, why) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* * * 13 *", "end of range (13) above maximum (12): 13"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("1,2,x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@foo", "unrecognized descriptor: @foo"),
            ("@every 9999999h", "failed to parse duration @every 9999999h: time: invalid duration \"9999999h\""),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(Schedule::parse(text), Err(why.into()), "{text}");
        }
    }

    fn next(schedule: &str, after: &str, zone: &str) -> Option<String> {
        let zone = TimeZone::get(zone).unwrap();
        let next = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone)?;
        Some(next.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }

    fn utc(schedule: &str, after: &str) -> Option<String> {
        next(schedule, after, "UTC").map(|time| time.trim_end_matches("+00:00").to_owned())
    }

    #[test]
    fn the_next_time_is_after_the_last() {
        for (schedule, after, next) in [
            ("*/15 * * * *", "2026-07-09T14:45:00Z", "2026-07-09T15:00:00"),
            ("*/15 * * * *", "2026-07-09T14:59:59.5Z", "2026-07-09T15:00:00"),
            ("20-35/15 * * * *", "2026-07-09T15:45:00Z", "2026-07-09T16:20:00"),
            ("0 0 1 1 *", "2026-07-09T00:00:00Z", "2027-01-01T00:00:00"),
            ("0 0 29 2 *", "2026-07-09T00:00:00Z", "2028-02-29T00:00:00"),
            ("30 3 * * mon", "2026-07-09T00:00:00Z", "2026-07-13T03:30:00"),
            // Either of both days.
            ("0 0 13 * fri", "2026-07-09T00:00:00Z", "2026-07-10T00:00:00"),
            ("0 0 11 * fri", "2026-07-10T00:00:00Z", "2026-07-11T00:00:00"),
            ("@every 90s", "2026-07-09T00:00:00.7Z", "2026-07-09T00:01:30"),
            ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00"),
        ] {
            assert_eq!(utc(schedule, after).as_deref(), Some(next), "{schedule}");
        }
        assert_eq!(utc("0 0 31 2 *", "2026-07-09T00:00:00Z"), None);
    }

    #[test]
    fn a_clock_that_is_set_leaves_out_and_repeats() {
        let york = |schedule: &str, after: &str| next(schedule, after, "America/New_York").unwrap();
        assert_eq!(york("0 * * * *", "2012-03-11T01:00:00-05:00"), "2012-03-11T03:00:00-04:00");
        assert_eq!(york("30 2 * * *", "2012-03-11T00:00:00-05:00"), "2012-03-12T02:30:00-04:00");
        assert_eq!(york("0 1 * * *", "2012-11-04T00:00:00-04:00"), "2012-11-04T01:00:00-04:00");
        assert_eq!(york("0 1 * * *", "2012-11-04T01:00:00-04:00"), "2012-11-04T01:00:00-05:00");
        assert_eq!(york("0 1 * * *", "2012-11-04T01:00:00-05:00"), "2012-11-05T01:00:00-05:00");
        let berlin = next("0 9 * * *", "2026-07-09T12:00:00Z", "Europe/Berlin").unwrap();
        assert_eq!(berlin, "2026-07-10T09:00:00+02:00");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", fields in "[-0-9*/,@a-z ]{0,30}") {
            let _ = Schedule::parse(&text);
            let _ = Schedule::parse(&fields);
        }

        #[test]
        fn no_time_panics(second in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(), minute in 0..60, day in 1..32) {
            let (after, zone) = (Timestamp::from_second(second).unwrap(), TimeZone::get("Australia/Lord_Howe").unwrap());
            let next = Schedule::parse(&format!("{minute} 2 {day} * *")).unwrap().next(after, &zone);
            prop_assert!(next.is_none_or(|next| next > after));
            let _ = Schedule::parse("@every 2562047h").unwrap().next(after, &zone);
        }
    }
}
