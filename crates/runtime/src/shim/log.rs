//! Container logs in the CRI format: `2006-01-02T15:04:05.000000000Z stdout F line`.
//!
//! A line longer than 16 KiB, and the rest of the stream when it does not end in a newline, is tagged `P`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest content of one entry.
const MAX_LINE: usize = 16 * 1024;

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

/// A time as RFC 3339 in UTC, always with nine digits of nanoseconds.
pub fn timestamp(nanoseconds: i64) -> String {
    let (seconds, nanos) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, so that the leap day is the last one of a year; eras have 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

/// A log file that may be rotated away under its writer. Failed writes lose lines, never block.
#[derive(Default)]
pub struct LogFile {
    path: Option<PathBuf>,
    file: Option<File>,
}

impl LogFile {
    /// Opens the file and makes its directory; without a path everything is thrown away.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut log = Self { path: path.map(Path::to_path_buf), file: None };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the path anew, after the old file was renamed.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let options = || {
                let mut options = OpenOptions::new();
                options.create(true).append(true).mode(0o640);
                options
            };
            let file = options().open(path).or_else(|_| {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                options().open(path)
            })?;
            self.file = Some(file);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            // A full disk must not stop the container.
            let _ = file.write_all(bytes);
        }
    }
}

/// Cuts one output stream into log entries.
pub struct LineSplitter {
    stream: &'static str,
    rest: Vec<u8>,
}

impl LineSplitter {
    /// For `stdout` or `stderr`.
    pub fn new(stream: &'static str) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Writes all whole lines of `data` to the log, and keeps the rest.
    pub fn feed(&mut self, mut data: &[u8], log: &mut LogFile) {
        let time = timestamp(now());
        let mut out = Vec::with_capacity(data.len() + 128);
        while !data.is_empty() {
            let room = MAX_LINE - self.rest.len();
            let (take, full) = match data.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => (end, true),
                None if data.len() > room => (room, false),
                None => {
                    self.rest.extend_from_slice(data);
                    break;
                }
            };
            self.entry(&mut out, &time, full, &data[..take]);
            data = &data[take + usize::from(full)..];
        }
        log.write(&out);
    }

    /// Writes what is left, at the end of the stream.
    pub fn finish(&mut self, log: &mut LogFile) {
        if !self.rest.is_empty() {
            let mut out = Vec::with_capacity(self.rest.len() + 64);
            self.entry(&mut out, &timestamp(now()), false, &[]);
            log.write(&out);
        }
    }

    fn entry(&mut self, out: &mut Vec<u8>, time: &str, full: bool, tail: &[u8]) {
        out.extend_from_slice(time.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.stream.as_bytes());
        out.extend_from_slice(if full { b" F " } else { b" P " });
        out.extend_from_slice(&self.rest);
        out.extend_from_slice(tail);
        out.push(b'\n');
        // Given back rather than kept: an idle shim holds no buffers.
        self.rest = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(chunks: &[&[u8]]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/0.log");
        let mut log = LogFile::open(Some(&path)).unwrap();
        let mut lines = LineSplitter::new("stdout");
        for chunk in chunks {
            lines.feed(chunk, &mut log);
        }
        lines.finish(&mut log);
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_string()).collect()
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(timestamp(1_767_225_599_999_999_999), "2025-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn lines_are_joined_over_reads_and_the_unfinished_one_is_partial() {
        assert_eq!(written(&[b"a\nb", b"c\n\nd"]), ["stdout F a", "stdout F bc", "stdout F ", "stdout P d"]);
    }

    #[test]
    fn a_long_line_is_cut_at_16_kib() {
        let long = vec![b'x'; MAX_LINE + 3];
        let got = written(&[&long, b"\n"]);
        assert_eq!(got[0].len(), "stdout P ".len() + MAX_LINE);
        assert!(got[0].starts_with("stdout P "));
        assert_eq!(got[1], "stdout F xxx");
        assert_eq!(written(&[&[vec![b'y'; MAX_LINE], b"\n".to_vec()].concat()]).len(), 1);
    }
}
