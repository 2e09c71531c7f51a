//! The options of the audit log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, ValueEnum};
use coracle_apiserver::audit;

use crate::args::duration;

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
    #[arg(
        long = "audit-log-compress",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        require_equals = true
    )]
    compress: bool,
    /// A file in the form of a kubeconfig that leads to a server which is sent the entries, too
    #[arg(long = "audit-webhook-config-file", value_name = "FILE")]
    audit_webhook: Option<PathBuf>,
    /// Whether requests wait until their entries are sent, are refused if they cannot be, or do not wait
    #[arg(long = "audit-webhook-mode", value_enum, default_value_t = Mode::Batch)]
    audit_webhook_mode: Mode,
    /// How many entries may wait to be sent
    #[arg(long = "audit-webhook-batch-buffer-size", value_name = "COUNT", default_value_t = 10_000)]
    audit_webhook_buffer: usize,
    /// The most entries that are sent at once
    #[arg(long = "audit-webhook-batch-max-size", value_name = "COUNT", default_value_t = 400)]
    audit_webhook_max_size: usize,
    /// How long an entry waits at most for others that are sent with it
    #[arg(long = "audit-webhook-batch-max-wait", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    audit_webhook_max_wait: Duration,
    /// Bound how often entries are sent
    #[arg(
        long = "audit-webhook-batch-throttle-enable",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true",
        require_equals = true
    )]
    audit_webhook_throttle: bool,
    /// How often in a second entries are sent at most
    #[arg(long = "audit-webhook-batch-throttle-qps", value_name = "RATE", default_value_t = 10.0)]
    audit_webhook_rate: f64,
    /// How often besides, after a while in which they were not
    #[arg(long = "audit-webhook-batch-throttle-burst", value_name = "COUNT", default_value_t = 15)]
    audit_webhook_burst: u32,
    /// How long to wait before what could not be sent is sent again
    #[arg(long = "audit-webhook-initial-backoff", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    audit_webhook_backoff: Duration,
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
        let log = log.map(|target| audit::Backend { target, mode: self.mode.into(), buffer: self.buffer });
        let webhook = self.audit_webhook.clone().map(|file| audit::Webhook {
            file,
            initial_backoff: self.audit_webhook_backoff,
            max_size: self.audit_webhook_max_size,
            max_wait: self.audit_webhook_max_wait,
            throttle: self.audit_webhook_throttle.then_some((self.audit_webhook_rate, self.audit_webhook_burst)),
        });
        let webhook = webhook.map(|webhook| audit::Backend {
            target: audit::Target::Webhook(webhook),
            mode: self.audit_webhook_mode.into(),
            buffer: self.audit_webhook_buffer,
        });
        audit::Options { policy: self.policy.clone(), backends: log.into_iter().chain(webhook).collect() }
    }
}

impl From<Mode> for audit::Mode {
    fn from(mode: Mode) -> audit::Mode {
        match mode {
            Mode::Blocking => audit::Mode::Blocking,
            Mode::BlockingStrict => audit::Mode::BlockingStrict,
            Mode::Batch => audit::Mode::Batch,
        }
    }
}
