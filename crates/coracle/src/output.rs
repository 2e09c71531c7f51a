//! What commands print. Whoever reads it may have seen enough, as `head` does: then the command ends as one does that SIGPIPE
//! ends, and says nothing. The signal itself stays ignored, as writing to a daemon that is gone is an error to be told.
//!
//! The macros take the place of the standard library's, which panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// What shells say of a command that SIGPIPE ended.
const NOBODY_READS: i32 = 128 + 13;

macro_rules! print {
    ($($what:tt)*) => { $crate::output::out(format_args!($($what)*)) };
}
macro_rules! println {
    ($($what:tt)*) => { $crate::output::out(format_args!("{}\n", format_args!($($what)*))) };
}
macro_rules! eprintln {
    ($($what:tt)*) => { $crate::output::note(format_args!("{}\n", format_args!($($what)*))) };
}

/// Writes to standard output, or ends the process.
pub fn out(text: Arguments<'_>) {
    let mut out = std::io::stdout();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        failed(&error);
    }
}

/// Ends the process, as nobody learns what it has to say.
pub fn failed(error: &std::io::Error) -> ! {
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("error: failed to write to standard output: {error}");
        std::process::exit(1);
    }
    std::process::exit(NOBODY_READS);
}

/// Writes to standard error. If nobody reads that, what is being done goes on.
pub fn note(text: Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}
