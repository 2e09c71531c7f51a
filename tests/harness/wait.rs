//! Waiting for what comes about by itself.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long anything in a healthy cluster may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(25);

/// Tries until it succeeds.
///
/// # Panics
/// With the last reason, when it did not within [`PATIENCE`].
#[track_caller]
pub fn eventually<T, E: Display>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if Instant::now() > deadline => panic!("{what}: not within {PATIENCE:?}: {reason}"),
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// Looks again and again, for a while, at what must not happen.
///
/// # Panics
/// When it does.
#[track_caller]
pub fn never<T: std::fmt::Debug>(what: &str, during: Duration, mut look: impl FnMut() -> Option<T>) {
    let end = Instant::now() + during;
    while Instant::now() < end {
        if let Some(seen) = look() {
            panic!("{what}: {seen:?}");
        }
        std::thread::sleep(STEP);
    }
}
