//! What ARCHITECTURE.md guarantees is what tests show that are there: each line names files with tests, by their paths from
//! the root, and whatever else it names by a whole name is a test in one of them.
#![allow(missing_docs, reason = "tests are no interface")]

use std::fs;
use std::path::{Path, PathBuf};

const HEADING: &str = "## What is guaranteed\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of the section, each with those that continue it.
fn lines(document: &str) -> Vec<String> {
    let (_, after) = document.split_once(HEADING).expect("the section is there");
    let section = after.split("\n## ").next().unwrap_or_default();
    section.split("\n- ").skip(1).map(|line| line.replace('\n', " ")).collect()
}

/// What stands in backquotes.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The paths that a shell makes of one with `{a,b}` in it.
fn expanded(path: &str) -> Vec<String> {
    let parts = path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (names, after))) = parts else { return vec![path.to_owned()] };
    names.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

/// The text of a program, or of all below a directory; empty where nothing is.
fn programs(path: &Path) -> String {
    let Ok(entries) = fs::read_dir(path) else { return fs::read_to_string(path).unwrap_or_default() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.is_dir() || path.extension().is_some_and(|it| it == "rs"))
        .map(|it| programs(&it))
        .collect()
}

fn is_test_in(text: &str, name: &str) -> bool {
    text.contains(&format!("fn {name}("))
}

#[test]
fn every_guarantee_names_tests_that_are_there() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is readable");
    let lines = lines(&document);
    assert!(lines.len() > 10, "{lines:#?}");
    let mut wrong = Vec::new();
    for line in &lines {
        let (paths, names): (Vec<&str>, Vec<&str>) = quoted(line).partition(|text| text.contains('/'));
        let mut all = String::new();
        for path in paths.iter().flat_map(|path| expanded(path)) {
            let text = programs(&root().join(&path));
            if !text.contains("#[test]") && !text.contains("#[tokio::test") {
                wrong.push(format!("{path} has no test"));
            }
            all.push_str(&text);
        }
        if all.is_empty() {
            wrong.push(format!("no test is named for: {line}"));
        }
        // A name of several words is that of a test; one word, or one with dots or colons, is something else.
        let tests = names.iter().filter(|name| name.contains('_'));
        wrong.extend(tests.filter(|name| !is_test_in(&all, name)).map(|name| format!("{name} is no test there")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_has_no_test_is_seen() {
    let lines = lines(
        "# A\n## What is guaranteed\nAs follows.\n- One (`a/{b,c}.rs`,\n  `it_holds`).\n- Two `x`.\n## B\n- Three\n",
    );
    assert_eq!(lines, ["One (`a/{b,c}.rs`,   `it_holds`).", "Two `x`."]);
    assert_eq!(quoted(&lines[0]).collect::<Vec<_>>(), ["a/{b,c}.rs", "it_holds"]);
    assert_eq!(expanded("a/{b,c}.rs"), ["a/b.rs", "a/c.rs"]);
    assert_eq!(programs(&root().join("nothing")), "");
    assert!(is_test_in(&programs(&root().join("crates/testing")), "what_has_no_test_is_seen"));
}
