//! Container logs in the CRI format: `2006-01-02T15:04:05.000000000Z stdout F line`.
//!
//! A line longer than 16 KiB, and the rest of the stream when it does not end in a newline, is tagged `P`.
//!
//! A log never grows past its bound, however quickly it is written: a file that is full becomes `X.1`, that `X.2`, and
//! the oldest goes. The sizes are the kubelet's defaults of `containerLogMaxSize` and `containerLogMaxFiles`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes of a file, unless one write is longer.
const MAX_SIZE: u64 = 10 << 20;
/// Most files of a log, the one that is written included.
const MAX_FILES: u32 = 5;
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

/// A log file that may also be rotated away under its writer. Failed writes lose lines, never block.
#[derive(Default)]
pub struct LogFile {
    path: Option<PathBuf>,
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    limit: u64,
}

impl LogFile {
    /// Opens the file and makes its directory; without a path everything is thrown away.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut log = Self { path: path.map(Path::to_path_buf), limit: MAX_SIZE, ..Self::default() };
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
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        if self.size > 0 && self.size + length > self.limit && self.rotate().is_err() {
            // Lines are lost rather than the node's disk.
            return;
        }
        if let Some(file) = &mut self.file {
            // A full disk must not stop the container.
            let _ = file.write_all(bytes);
            self.size += length;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        for number in (1..MAX_FILES - 1).rev() {
            match std::fs::rename(rotated(path, number), rotated(path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(path, rotated(path, 1))?;
        self.reopen()
    }
}

/// The name of a file that was rotated away `number` times.
fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
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

    #[test]
    fn a_log_never_grows_past_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(Some(&path)).unwrap();
        log.limit = 1000;
        let mut lines = LineSplitter::new("stdout");
        for number in 0..500 {
            lines.feed(format!("line {number}\n").as_bytes(), &mut log);
        }
        let mut files = vec![path.clone()];
        files.extend((1..MAX_FILES).map(|number| rotated(&path, number)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), files.len());
        let mut text = String::new();
        for file in files.iter().rev() {
            let part = std::fs::read_to_string(file).unwrap();
            assert!(part.len() <= 1000 && part.ends_with('\n'));
            text += &part;
        }
        // What is kept are the last lines, without a gap.
        let numbers: Vec<u32> = text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&499));
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    }

    #[test]
    fn a_log_whose_directory_is_gone_stops_growing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod/0.log");
        let mut log = LogFile::open(Some(&path)).unwrap();
        log.limit = 100;
        log.write(&[b'x'; 60]);
        std::fs::remove_dir_all(dir.path().join("pod")).unwrap();
        for _ in 0..10 {
            log.write(&[b'y'; 60]);
        }
        assert_eq!(log.file.as_ref().unwrap().metadata().unwrap().len(), 60);
        assert!(!path.exists());
    }
}
