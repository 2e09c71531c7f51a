//! The log of a local cluster's server: standard error, which gets another file before the present one becomes long.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::files::make_within;

/// Bytes of a file; there are two at most.
const MAX: u64 = 16 << 20;

/// Opens the log anew as standard output and error, so that panics are in it too.
pub fn open(dir: &Path) -> io::Result<()> {
    let log = file(dir, MAX)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}

/// The present file; one that is `max` bytes long already becomes the old one, in place of that.
fn file(dir: &Path, max: u64) -> io::Result<fs::File> {
    let path = path(dir);
    make_within(dir, Path::new("log"))?;
    if fs::metadata(&path).is_ok_and(|meta| meta.len() >= max) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    fs::OpenOptions::new().create(true).append(true).open(&path)
}

/// Where the log is.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("log/server.log")
}

/// Writes to standard error and begins another file in time.
pub struct Bounded {
    dir: PathBuf,
    /// Bytes of the present file, as far as this process knows.
    written: Mutex<u64>,
    max: u64,
}

impl Bounded {
    /// A writer for the log of a data directory.
    pub fn new(dir: &Path) -> Bounded {
        let written = fs::metadata(path(dir)).map_or(0, |meta| meta.len());
        Bounded { dir: dir.to_owned(), written: Mutex::new(written), max: MAX }
    }

    /// Writes a line by `write`, after `open` has begun another file if the present one is long enough.
    fn line(
        &self,
        open: impl FnOnce() -> io::Result<()>,
        write: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut written = self.written.lock();
        if *written >= self.max {
            open()?;
            *written = 0;
        }
        let length = write()?;
        *written = written.saturating_add(length as u64);
        Ok(length)
    }
}

/// One line at a time.
pub struct Line<'a>(&'a Bounded);

impl<'a> MakeWriter<'a> for Bounded {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.line(|| open(&self.0.dir), || io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_two_files_of_which_none_grows_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let log = Bounded { max: 20, ..Bounded::new(dir.path()) };
        let current = Mutex::new(file(dir.path(), 20).unwrap());
        for number in 0..10 {
            let open = || file(dir.path(), 20).map(|next| *current.lock() = next);
            log.line(open, || current.lock().write(format!("line {number}.\n").as_bytes())).unwrap();
        }
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        // Eight bytes a line: the third one makes a file long enough.
        assert_eq!(read(path(dir.path())), "line 9.\n");
        assert_eq!(read(path(dir.path()).with_extension("log.1")), "line 6.\nline 7.\nline 8.\n");
        assert_eq!(fs::read_dir(dir.path().join("log")).unwrap().count(), 2);
        // One that comes later goes on in the file that is there.
        assert_eq!(*Bounded::new(dir.path()).written.lock(), 8);
    }
}
