//! Parts of upstream's in place of ours, which the environment names.

mod api_server;
mod kubelet;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use coracle_e2e::*;

/// The program that a variable names.
fn program(variable: &str) -> Option<OsString> {
    let program = std::env::var_os(variable);
    if program.is_none() {
        skip(Lacks::Tool(&format!("{variable} does not name upstream's program")));
    }
    program
}

fn has_tools(tools: &[(&str, &str)]) -> bool {
    let missing = tools.iter().find(|(tool, argument)| Command::new(tool).arg(argument).output().is_err());
    missing.inspect(|(tool, _)| skip(Lacks::Tool(&format!("{tool} is not there")))).is_none()
}

fn write(path: PathBuf, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}
