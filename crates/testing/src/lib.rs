//! What tests do that need more than every machine has.
//!
//! Owns: how a test says that it is not run here. It passes all the same, unless `CORACLE_TESTS=all` says that everything
//! must run; a file that `CORACLE_SKIPPED` names gets a line for each. Clusters of etcd that tests run, how pages for Prometheus are
//! read, how a test waits, and what an interpreter of the documented rules says of made-up network policies.
//! Never: is part of a program.
#![forbid(unsafe_code)]

pub mod etcd;
pub mod exposition;
pub mod policies;
mod wait;

pub use wait::{until, until_so};

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// What a test needs and does not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks<'a> {
    /// A program, or something else that can be installed.
    Tool(&'a str),
    /// A right of the user, or a property of the machine or of its kernel.
    Machine(&'a str),
}

impl Lacks<'_> {
    fn why(&self) -> &str {
        let (Lacks::Tool(why) | Lacks::Machine(why)) = self;
        why
    }

    fn is_failure(&self, must_run: &str) -> bool {
        must_run == "all" && matches!(self, Lacks::Machine(_))
    }
}

/// Says why the test that calls this, or a part of it, is not run; the caller then returns.
///
/// # Panics
/// When `CORACLE_TESTS=all` and it is not only a tool that is missing, or when the file that counts skipped tests cannot be
/// written.
pub fn skip(lacks: Lacks<'_>) {
    let why = lacks.why();
    let must_run = std::env::var("CORACLE_TESTS").unwrap_or_default();
    assert!(!lacks.is_failure(&must_run), "CORACLE_TESTS={must_run} lets no test be skipped, but {why}");
    eprintln!("skipped: {why}");
    if let Some(file) = std::env::var_os("CORACLE_SKIPPED") {
        note(Path::new(&file), &format!("{}: {why}", name())).expect("the file that CORACLE_SKIPPED names is written");
    }
}

/// Whether the test is run by root; otherwise it is skipped.
///
/// # Panics
/// As [`skip`] does.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(Lacks::Machine("it needs root"));
    }
    root
}

/// The program of tests, without the digits that cargo appends, and the test in it.
fn name() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    format!("{program} {}", std::thread::current().name().unwrap_or("(a thread)"))
}

fn note(file: &Path, line: &str) -> io::Result<()> {
    // Tests of several programs append to it; one write a line keeps the lines whole.
    OpenOptions::new().create(true).append(true).open(file)?.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_everything_must_run_only_a_missing_tool_is_an_excuse() {
        let (tool, root) = (Lacks::Tool("there is no qemu"), Lacks::Machine("it needs root"));
        assert!(root.is_failure("all"));
        assert!(!tool.is_failure("all") && !root.is_failure("") && !tool.is_failure(""));
    }

    #[test]
    fn every_skipped_test_has_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skipped");
        note(&file, "a").unwrap();
        note(&file, &name()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "a\ncoracle_testing tests::every_skipped_test_has_a_line\n");
    }
}
