//! The options of the audit log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use coracle_apiserver::audit;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is written down of requests, and where.
#[derive(ClapArgs, Clone)]
#[command(next_help_heading = "Audit")]
pub struct Audit {
    /// A file that says what of which requests is written to the audit log
    #[arg(long = "audit-policy-file", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The audit log; - is standard output
    #[arg(long = "audit-log-path", value_name = "FILE")]
    path: Option<PathBuf>,
    /// The form of the audit log
    #[arg(long = "audit-log-format", value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Whether requests wait until they are written down, are refused if they cannot be, or do not wait
    #[arg(long = "audit-log-mode", value_enum, default_value_t = Mode::Blocking)]
    mode: Mode,
    /// How many entries may wait to be written
    #[arg(long = "audit-log-batch-buffer-size", value_name = "COUNT", default_value_t = 10_000)]
    buffer: usize,
    /// How many days old files of the audit log stay; 0 is for ever
    #[arg(long = "audit-log-maxage", value_name = "DAYS", default_value_t = 0)]
    max_age: u32,
    /// How many old files of the audit log stay; 0 is all
    #[arg(long = "audit-log-maxbackup", value_name = "COUNT", default_value_t = 0)]
    max_backups: usize,
    /// The length in megabytes at which a file of the audit log is followed by the next
    #[arg(long = "audit-log-maxsize", value_name = "MB", default_value_t = 100)]
    max_size: u32,
    /// Compress old files of the audit log
    #[arg(long = "audit-log-compress")]
    compress: bool,
}

/// The form of the audit log.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line of JSON for each entry
    Json,
}

/// Whether requests wait for the audit log.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Blocking,
    BlockingStrict,
    Batch,
}

impl Audit {
    /// What the API server makes of it.
    pub fn options(&self) -> audit::Options {
        let Format::Json = self.format;
        let rotation = audit::Rotation {
            // 0 is the usual length, as upstream has it.
            max_size: u64::from(if self.max_size == 0 { 100 } else { self.max_size }) << 20,
            max_backups: self.max_backups,
            max_age: DAY.saturating_mul(self.max_age),
            compress: self.compress,
        };
        let log = self.path.clone().map(|path| match path == Path::new("-") {
            true => audit::Target::Stdout,
            false => audit::Target::File(path, rotation),
        });
        let mode = match self.mode {
            Mode::Blocking => audit::Mode::Blocking,
            Mode::BlockingStrict => audit::Mode::BlockingStrict,
            Mode::Batch => audit::Mode::Batch,
        };
        audit::Options { policy: self.policy.clone(), log, mode, buffer: self.buffer }
    }
}
