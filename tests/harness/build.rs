//! The binaries under test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// Builds a binary of this workspace in the profile of the running test, once a process, and answers its path.
///
/// # Panics
/// When it does not build.
pub fn built(binary: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = built.get_or_insert_default();
    if let Some(path) = known.get(binary) {
        return path.clone();
    }
    let own = std::env::current_exe().expect("a process knows its program");
    let mut directory = own.parent().expect("a program is in a directory");
    if directory.ends_with("deps") {
        directory = directory.parent().expect("deps is in the profile's directory");
    }
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // With the workspace's features, so that the tests' own dependencies are not built once more; they are those that
    // the package `coracle` alone has.
    build.args(["build", "--quiet", "--workspace", "--bin", binary, "--profile", profile]);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "{binary} does not build");
    let path = directory.join(binary);
    assert!(path.exists(), "cargo built {binary}, but not at {}", path.display());
    known.insert(binary.into(), path.clone());
    path
}

/// Whether clusters can be made here; says why not.
pub fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: clusters are made as root only");
    }
    root
}
