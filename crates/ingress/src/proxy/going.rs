//! A request from its beginning to the end of its answer: what is counted and written of it.

use std::net::IpAddr;
use std::time::Instant;

use http::{Method, StatusCode};
use smol_str::SmolStr;

use super::places::Busy;
use crate::metrics::METRICS;

/// A request that is being answered. Dropping it ends it.
pub struct Going {
    began: Instant,
    client: IpAddr,
    method: Method,
    host: SmolStr,
    path: Option<String>,
    /// Whose route it takes.
    pub source: SmolStr,
    /// Where it went.
    pub backend: SmolStr,
    /// What it was answered with.
    pub status: StatusCode,
    bytes: u64,
    _busy: Busy,
}

impl Going {
    /// One that begins now.
    pub fn new(client: IpAddr, method: Method, host: SmolStr, path: &str, busy: Busy) -> Going {
        // The log is off most of the time.
        let path = is_logged().then(|| path.chars().take(512).collect());
        Going {
            began: Instant::now(),
            client,
            method,
            host,
            path,
            source: SmolStr::default(),
            backend: SmolStr::default(),
            status: StatusCode::OK,
            bytes: 0,
            _busy: busy,
        }
    }

    /// So many bytes of the answer's body went to the client.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

fn is_logged() -> bool {
    tracing::enabled!(target: "coracle_ingress::access", tracing::Level::DEBUG)
}

/// A status as metrics have it: those that have no meaning of their own are one for each class, as backends may make up any.
fn shown(status: &StatusCode) -> &str {
    const CLASSES: [&str; 9] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"];
    match status.canonical_reason() {
        Some(_) => status.as_str(),
        None => CLASSES[usize::from(status.as_u16() / 100).clamp(1, 9) - 1],
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        METRICS.requests.with([&self.source, shown(&self.status)], coracle_metrics::Counter::inc);
        METRICS.durations.with([&self.source], |histogram| histogram.observe(seconds));
        METRICS.sent.add(self.bytes);
        if let Some(path) = &self.path {
            tracing::debug!(target: "coracle_ingress::access", client = %self.client, method = %self.method,
                host = %self.host, path, status = self.status.as_u16(), bytes = self.bytes, seconds,
                route = %self.source, backend = %self.backend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_mean_nothing_are_one_for_each_class() {
        for (code, wanted) in [(200, "200"), (404, "404"), (299, "2xx"), (777, "7xx"), (999, "9xx")] {
            assert_eq!(shown(&StatusCode::from_u16(code).unwrap()), wanted);
        }
    }
}
