//! No package depends on what it does not use, and nothing is in the workspace's list that no package depends on.
#![allow(missing_docs, reason = "tests are no interface")]

use std::fs;
use std::path::{Path, PathBuf};

/// What is used otherwise than by its name in a program: the generator of schemas reads the sources of these.
const READ_AS_SOURCES: [(&str, &str); 2] = [("api-gen", "k8s-openapi"), ("api-gen", "k8s-pb")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    found.map(|entry| entry.path()).collect()
}

/// The directories of the workspace's packages.
fn packages() -> Vec<PathBuf> {
    let root = root();
    let others = ["tests", "bench"].map(|name| root.join(name));
    let mut all = entries(&root.join("crates"));
    all.extend(others);
    all.retain(|directory| directory.join("Cargo.toml").exists());
    assert!(all.len() > 10, "{all:?}");
    all
}

/// The names in the tables of a manifest whose heading satisfies a condition.
fn names(manifest: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut heading = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(title) = line.strip_prefix('[') {
            heading = title.trim_end().trim_end_matches(']');
        } else if is_wanted(heading) {
            let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(0);
            names.extend(line.get(..end).filter(|name| !name.is_empty()));
        }
    }
    names
}

/// The text of all programs in a directory.
fn programs(directory: &Path, text: &mut String) {
    for path in entries(directory) {
        if path.is_dir() {
            programs(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a program is readable"));
        }
    }
}

/// Whether a program names a crate, as in `name::`, `name!` or `use name`.
fn uses(text: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    text.match_indices(&name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let is_use = before.ends_with("use ") && after.starts_with([';', ' ']);
        is_word && (is_use || after.starts_with("::") || after.starts_with('!'))
    })
}

#[test]
fn what_a_package_depends_on_it_uses() {
    let mut unused = Vec::new();
    for directory in packages() {
        let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).expect("a manifest is readable");
        let mut text = String::new();
        programs(&directory, &mut text);
        for name in names(&manifest, |heading| heading.ends_with("dependencies")) {
            if !READ_AS_SOURCES.contains(&(&package, name)) && !uses(&text, name) {
                unused.push(format!("{package}: {name}"));
            }
        }
    }
    assert!(unused.is_empty(), "nothing in these packages names what they depend on: {unused:#?}");
}

#[test]
fn what_the_workspace_lists_some_package_depends_on() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is readable");
    let manifests: Vec<String> = packages()
        .iter()
        .map(|at| fs::read_to_string(at.join("Cargo.toml")).expect("a manifest is readable"))
        .collect();
    let wanted: Vec<&str> =
        manifests.iter().flat_map(|text| names(text, |heading| heading.ends_with("dependencies"))).collect();
    let listed = names(&manifest, |heading| heading == "workspace.dependencies");
    assert!(listed.len() > 10, "{listed:?}");
    let unused: Vec<&str> = listed.into_iter().filter(|name| !wanted.contains(name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn a_name_is_looked_for_as_a_word() {
    assert!(uses("use bytes::Bytes;", "bytes") && uses("#[derive(serde::Serialize)]", "serde"));
    assert!(uses("use libc;", "libc") && uses("serde_json::json!()", "serde-json"));
    assert!(!uses("let bytes = own_bytes::read();", "bytes"));
}
