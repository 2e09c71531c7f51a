//! The log of a local cluster's server: standard error, which gets another file before the present one becomes long.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of a file; there are two at most.
const MAX: u64 = 16 << 20;

/// Opens the log anew as standard output and error, so that panics are in it too.
pub fn open(dir: &Path) -> io::Result<()> {
    let path = path(dir);
    fs::create_dir_all(dir.join("log"))?;
    if fs::metadata(&path).is_ok_and(|meta| meta.len() >= MAX) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(&path)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
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
        let mut written = self.0.written.lock();
        if *written >= self.0.max {
            open(&self.0.dir)?;
            *written = 0;
        }
        let length = io::stderr().write(bytes)?;
        *written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
