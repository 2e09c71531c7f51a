//! Quantities such as `100m`, `1.5Gi` or `1e3`, read and written as apimachinery's `resource.Quantity`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How a quantity was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Powers of 1024: `Ki`, `Mi`, ...
    Binary,
    /// Powers of 1000: `m`, `k`, `M`, ...
    Decimal,
    /// `e3`, `e6`, ...
    Exponent,
}

/// An exact amount, down to billionths.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    form: Form,
}

/// Nothing.
impl Default for Quantity {
    fn default() -> Self {
        Self::from_count(0)
    }
}

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not have the form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Its suffix is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// Its number is none.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

const NANO: i128 = 1_000_000_000;
const MAX: i128 = (i64::MAX as i128) * NANO;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// A whole number that prints with binary suffixes.
    pub fn from_bytes(value: i64) -> Self {
        Self { nano: i128::from(value) * NANO, form: Form::Binary }
    }

    /// A whole number that prints with decimal suffixes.
    pub fn from_count(value: i64) -> Self {
        Self { nano: i128::from(value) * NANO, form: Form::Decimal }
    }

    /// The value as a whole number, rounded up away from zero.
    pub fn value(self) -> i64 {
        saturate(divide_up(self.nano, NANO))
    }

    /// The value in thousandths, rounded up away from zero.
    pub fn milli_value(self) -> i64 {
        saturate(divide_up(self.nano, 1_000_000))
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// Whether it is a whole number.
    pub fn is_integer(self) -> bool {
        self.nano % NANO == 0
    }

    /// How it prints.
    pub fn form(self) -> Form {
        self.form
    }
}

/// The sum; a zero takes over the form of the other side.
impl std::ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Self) -> Self {
        let form = if self.is_zero() { other.form } else { self.form };
        Self { nano: self.nano.saturating_add(other.nano).clamp(-MAX, MAX), form }
    }
}

/// The difference; a zero takes over the form of the other side.
impl std::ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Self) -> Self {
        self + Self { nano: -other.nano, form: other.form }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(ParseError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(ParseError::Format);
        }
        let (form, base, exponent) = parse_suffix(suffix)?;
        let mut nano = Scaled::new(whole, fraction).times(base, exponent);
        if negative {
            nano = -nano;
        }
        Ok(Self { nano: nano.clamp(-MAX, MAX), form })
    }
}

/// The digits of a number and how many of them are behind the point.
struct Scaled {
    digits: i128,
    behind: i32,
    /// Digits were cut off, so the number is larger than `digits`.
    more: bool,
    /// The number is larger than any quantity.
    huge: bool,
}

impl Scaled {
    fn new(whole: &str, fraction: &str) -> Self {
        let mut out = Self { digits: 0, behind: 0, more: false, huge: false };
        for digit in whole.bytes() {
            out.digits = out.digits * 10 + i128::from(digit - b'0');
            if out.digits > i128::from(i64::MAX) * 1_000_000_000 {
                out.huge = true;
                out.digits = i128::from(i64::MAX);
            }
        }
        for digit in fraction.bytes() {
            if out.digits > i128::from(i64::MAX) * 1000 || out.behind >= 30 {
                out.more |= digit != b'0';
                continue;
            }
            out.digits = out.digits * 10 + i128::from(digit - b'0');
            out.behind += 1;
        }
        out
    }

    /// The number times `base` to the power of `exponent` in billionths, rounded up and capped.
    fn times(self, base: i128, exponent: i32) -> i128 {
        if self.huge {
            return MAX;
        }
        if self.digits == 0 {
            return i128::from(self.more);
        }
        if base == 2 {
            let Some(value) = self.digits.checked_mul(1_i128 << exponent).and_then(|v| v.checked_mul(NANO)) else {
                // Only a large number overflows: divide first, what is lost is below a billionth.
                let power = 10_i128.checked_pow(self.behind.unsigned_abs()).unwrap_or(i128::MAX);
                return (self.digits / power)
                    .checked_mul(1_i128 << exponent)
                    .and_then(|v| v.checked_mul(NANO))
                    .unwrap_or(MAX)
                    .min(MAX);
            };
            return self.shift(value, -self.behind);
        }
        let shift = exponent.saturating_sub(self.behind).saturating_add(9);
        let digits = self.digits;
        self.shift(digits, shift)
    }

    fn shift(&self, value: i128, by: i32) -> i128 {
        let power = 10_i128.checked_pow(by.unsigned_abs());
        let shifted = match (by >= 0, power) {
            (true, Some(power)) => value.checked_mul(power).unwrap_or(MAX),
            (true, None) => MAX,
            (false, Some(power)) => divide_up(value, power),
            (false, None) => 1,
        };
        if self.more && by <= 0 { shifted.saturating_add(1) } else { shifted }
    }
}

fn parse_suffix(suffix: &str) -> Result<(Form, i128, i32), ParseError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Form::Decimal, 10, *exponent));
    }
    if let Some(index) = BINARY.iter().position(|s| *s == suffix) {
        return Ok((Form::Binary, 2, 10 * i32::try_from(index).unwrap_or(0)));
    }
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']) {
        let exponent: i32 = exponent.parse().map_err(|_| ParseError::Suffix)?;
        return Ok((Form::Exponent, 10, exponent));
    }
    let allowed = |c: char| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit();
    Err(if suffix.chars().all(allowed) { ParseError::Suffix } else { ParseError::Format })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        if self.form == Form::Binary && self.is_integer() && self.nano.abs() >= 1024 * NANO {
            let mut value = self.nano / NANO;
            let mut index = 0;
            while value % 1024 == 0 && index + 1 < BINARY.len() {
                value /= 1024;
                index += 1;
            }
            return write!(f, "{value}{}", BINARY[index]);
        }
        let mut value = self.nano;
        let mut index = 0;
        while value % 1000 == 0 && index + 1 < DECIMAL.len() {
            value /= 1000;
            index += 1;
        }
        let (suffix, exponent) = DECIMAL[index];
        match self.form {
            Form::Exponent if exponent != 0 => write!(f, "{value}e{exponent}"),
            Form::Exponent => write!(f, "{value}"),
            _ => write!(f, "{value}{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|e| e.to_string(), |q| q.to_string())
    }

    #[test]
    fn quantities_print_in_canonical_form() {
        for (given, expected) in [
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("0.1m", "100u"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("100Ki", "100Ki"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("0", "0"),
            ("-5m", "-5m"),
            ("0.5Ki", "512"),
            ("1.", "1"),
            (".5", "500m"),
            ("12E", "9223372036854775807"),
            ("1Ei", "1Ei"),
            ("0.0000000001", "1n"),
            ("100E", "9223372036854775807"),
            ("1e", "unable to parse quantity's suffix"),
        ] {
            assert_eq!(canonical(given), expected, "{given}");
        }
        assert_eq!("".parse::<Quantity>().err(), Some(ParseError::Format));
        assert_eq!("x".parse::<Quantity>().err(), Some(ParseError::Format));
        assert_eq!("1X".parse::<Quantity>().err(), Some(ParseError::Format));
    }

    #[test]
    fn sums_and_order() {
        let q = |s: &str| s.parse::<Quantity>().expect("it parses");
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("1") - q("1000m"), q("0"));
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("0.25").milli_value(), 250);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[+-]?[0-9.]{0,60}[eEinumkKMGTPx]{0,3}[+-]?[0-9]{0,12}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                let again: Quantity = quantity.to_string().parse().expect("the canonical form parses");
                prop_assert_eq!(again, quantity);
            }
        }
    }
}
