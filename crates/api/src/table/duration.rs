//! Durations as kubectl prints them: `45s`, `3m20s`, `5h`, `12d`, `2y30d`.

use jiff::Timestamp;

/// A duration of that many seconds.
pub fn human(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    if seconds < 120 {
        return format!("{seconds}s");
    }
    match (minutes, hours) {
        (..10, _) => pair(minutes, "m", seconds % 60, "s"),
        (..180, _) => format!("{minutes}m"),
        (_, ..8) => pair(hours, "h", minutes % 60, "m"),
        (_, ..48) => format!("{hours}h"),
        (_, h) if h < 24 * 8 => pair(h / 24, "d", h % 24, "h"),
        (_, h) if h < 24 * 365 * 2 => format!("{}d", h / 24),
        (_, h) if h < 24 * 365 * 8 => pair(h / 24 / 365, "y", (h / 24) % 365, "d"),
        (_, h) => format!("{}y", h / 24 / 365),
    }
}

/// The time from an RFC 3339 timestamp until now; `<unknown>` when there is none.
pub fn since(time: &str, now: Timestamp) -> String {
    match crate::meta::parse_time(time) {
        Some(time) => human(now.as_second() - time.as_second()),
        None => "<unknown>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (65_664_000, "2y30d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }
}
