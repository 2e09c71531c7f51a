//! The binaries under test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// Builds a binary of this workspace in the profile of the running test, once a process, and answers its path.
///
/// `CORACLE_BUILT` names a directory that has them already, where nothing can be built.
///
/// # Panics
/// When it does not build.
pub fn built(binary: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os("CORACLE_BUILT") {
        return PathBuf::from(directory).join(binary);
    }
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = built.get_or_insert_default();
    if let Some(path) = known.get(binary) {
        return path.clone();
    }
    let (mut build, directory) = cargo("build");
    build.args(["--bin", binary]);
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "{binary} does not build");
    let path = directory.join(binary);
    assert!(path.exists(), "cargo built {binary}, but not at {}", path.display());
    known.insert(binary.into(), path.clone());
    path
}

/// Builds a test of this workspace and examples that it uses, and answers the paths of both.
///
/// # Panics
/// When they do not build.
pub fn built_test(test: &str, examples: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    // Not by one command: examples that a test run names are built as tests themselves.
    let (mut build, directory) = cargo("build");
    build.args(examples.iter().flat_map(|example| ["--example", example]));
    assert!(build.status().expect("cargo runs").success(), "{examples:?} do not build");
    let (mut build, _) = cargo("test");
    build.args(["--no-run", "--message-format", "json", "--test", test]);
    let output = build.output().expect("cargo runs");
    assert!(output.status.success(), "{test} does not build: {}", String::from_utf8_lossy(&output.stderr));
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let path = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok()).find_map(|message| {
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == test).then(|| PathBuf::from(path))
    });
    let examples = examples.iter().map(|example| directory.join("examples").join(example)).collect();
    (path.unwrap_or_else(|| panic!("cargo does not say where it built {test}")), examples)
}

/// A run of cargo in the profile of the running test, and where it puts what it builds. With the workspace's features,
/// so that the tests' own dependencies are not built once more; they are those that the package `coracle` alone has.
fn cargo(verb: &str) -> (Command, PathBuf) {
    let own = std::env::current_exe().expect("a process knows its program");
    let mut directory = own.parent().expect("a program is in a directory");
    if directory.ends_with("deps") {
        directory = directory.parent().expect("deps is in the profile's directory");
    }
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([verb, "--quiet", "--workspace", "--profile", profile]).current_dir(env!("CARGO_MANIFEST_DIR"));
    (cargo, directory.to_owned())
}
