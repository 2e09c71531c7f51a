//! The formats of strings that are checked.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine;
use regex::Regex;

use crate::field;

/// Every format that upstream knows in definitions. Others are ignored, as upstream does.
const KNOWN: [&str; 28] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "date-time",
    "k8s-short-name",
    "k8s-long-name",
    "int32",
];

/// Whether values of the format are checked.
pub fn is_supported(format: &str) -> bool {
    KNOWN.contains(&format) || ["int64", "float", "double"].contains(&format)
}

fn matches(regex: &'static LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_none_or(|regex| regex.is_match(text))
}

macro_rules! pattern {
    ($text:literal, $value:expr) => {{
        static REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());
        matches(&REGEX, $value)
    }};
}

/// Whether a string has the format; what is not known has it.
pub(super) fn holds(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => pattern!("^[0-9a-fA-F]{24}$", text),
        "uri" => text.starts_with('/') || pattern!(r"^[a-zA-Z][a-zA-Z0-9+.-]*:\S+$", text),
        "email" => pattern!(r"^[^@\s<>]+@[^@\s<>]+$", text),
        "hostname" => {
            pattern!(
                r"^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?\.)*[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?\.?$",
                text
            ) && text.len() <= 255
        }
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => field::cidr(text).is_empty(),
        "mac" => pattern!(
            "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$|^([0-9a-fA-F]{2}[:-]){7}[0-9a-fA-F]{2}$|^([0-9a-fA-F]{4}\\.){2}[0-9a-fA-F]{4}$",
            text
        ),
        "uuid" => pattern!("^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", text),
        "uuid3" => pattern!("^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$", text),
        "uuid4" => pattern!("^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$", text),
        "uuid5" => pattern!("^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$", text),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => luhn(text),
        "ssn" => pattern!(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", text),
        "hexcolor" => pattern!("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", text),
        "rgbcolor" => pattern!(
            r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
            text
        ),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
        "duration" => duration(text),
        "datetime" | "date-time" => crate::meta::parse_time(text).is_some(),
        "k8s-short-name" => field::dns1123_label(text).is_empty(),
        "k8s-long-name" => field::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

/// Go's durations (`1h30m`), and those with words that upstream's parser takes besides (`3 days`).
fn duration(text: &str) -> bool {
    pattern!(r"^[+-]?((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$", text)
        || matches!(text, "0" | "+0" | "-0")
        || pattern!(
            r"^(\d+\s*(ns|nanos?|us|µs|micros?|ms|millis?|s|secs?|m|mins?|h|hrs?|hours?|d|days?|w|weeks?)\s*)+$",
            text
        )
}

fn digits(text: &str) -> Vec<u32> {
    text.chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| c.to_digit(11).or((c == 'X').then_some(10)).unwrap_or(99))
        .collect()
}

fn isbn10(text: &str) -> bool {
    let digits = digits(text);
    let fits = digits.len() == 10 && digits.iter().all(|digit| *digit <= 10);
    fits && digits.iter().zip((1..=10).rev()).map(|(digit, weight)| digit * weight).sum::<u32>() % 11 == 0
}

fn isbn13(text: &str) -> bool {
    let digits = digits(text);
    let fits = digits.len() == 13 && digits.iter().all(|digit| *digit <= 9);
    fits && digits.iter().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| digit * weight).sum::<u32>() % 10 == 0
}

fn luhn(text: &str) -> bool {
    let digits = digits(text);
    let fits = (12..=19).contains(&digits.len()) && digits.iter().all(|digit| *digit <= 9);
    let doubled = |(index, digit): (usize, &u32)| match index % 2 {
        0 => *digit,
        _ => digit * 2 % 10 + digit * 2 / 10,
    };
    fits && digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        for (format, good, bad) in [
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fd00::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("uuid4", "9b2b1c1e-8f2e-4f7a-9c39-0b7a4b1f7b11", "9b2b1c1e-8f2e-1f7a-9c39-0b7a4b1f7b11"),
            ("date", "2024-02-29", "2023-02-29"),
            ("date-time", "2024-02-29T00:00:00Z", "2024-02-29"),
            ("duration", "1h30m", "an hour"),
            ("byte", "aGk=", "?"),
            ("hostname", "a.example.com", "-a-"),
            ("email", "a@b.c", "a"),
            ("uri", "https://a.b/c", "a b"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("isbn13", "978-3-16-148410-0", "978-3-16-148410-1"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("hexcolor", "#fff", "#ffff"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            assert!(is_supported(format));
            assert_eq!((holds(format, good), holds(format, bad)), (true, false), "{format}");
        }
        assert!(holds("made-up", "anything"));
    }
}
