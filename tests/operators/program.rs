//! Programs that are built from folders beside this file, with tools that a machine may not have.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use coracle_e2e::*;

/// What a program is written in.
#[derive(Clone, Copy)]
pub enum Language {
    Rust,
    /// With the package that is built.
    Go(&'static str),
}

/// Builds the program of a folder; ends with a reason when a tool, or what it downloads, is not there.
pub fn build(folder: &str, language: Language) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("operators").join(folder);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operators");
    match language {
        Language::Rust => {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let cargo = |verb: &str| {
                let mut command = Command::new(&cargo);
                command.args([verb, "--quiet", "--locked"]).current_dir(&source).env("CARGO_TARGET_DIR", &target);
                command.env_remove("CARGO_BUILD_TARGET");
                command
            };
            fetched(&mut cargo("fetch"), "the crates of an operator cannot be fetched")?;
            built(&mut cargo("build"));
            let found = [target.join("debug/gadget-operator"), target.join(TRIPLE).join("debug/gadget-operator")];
            found.into_iter().find(|path| path.exists())
        }
        Language::Go(package) => {
            let go = |arguments: &[&str]| {
                let mut command = Command::new("go");
                command.args(arguments).current_dir(&source).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
                command
            };
            let version = fetched(&mut go(&["version"]), "there is no go on PATH");
            version.and_then(|()| fetched(&mut go(&["mod", "download"]), "modules of Go cannot be downloaded"))?;
            let program = target.join(folder);
            built(go(&["build", "-o"]).arg(&program).arg(package));
            Some(program)
        }
    }
}

/// Where the files of a module are that a folder's program is made of.
pub fn directory_of(folder: &str, module: &str) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("operators").join(folder);
    let mut command = Command::new("go");
    let told = command.args(["list", "-m", "-f", "{{.Dir}}", module]).current_dir(source).output().ok()?;
    let directory = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    Some(PathBuf::from(directory)).filter(|directory| directory.is_dir())
}

const TRIPLE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

fn fetched(command: &mut Command, why: &str) -> Option<()> {
    let done = command.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !done {
        skip(Lacks::Tool(why));
    }
    done.then_some(())
}

#[track_caller]
fn built(command: &mut Command) {
    assert!(command.status().expect("it was there before").success(), "{command:?}");
}

/// A program that runs, and is killed when this is dropped.
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Starts a program; what it writes goes to a file.
    pub fn start(mut command: Command, output: PathBuf) -> Running {
        let file = File::create(&output).expect("a file");
        command.stdin(Stdio::null()).stderr(file.try_clone().expect("a file")).stdout(file);
        Running { child: command.spawn().expect("it starts"), output }
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.output.display(), self.output());
        }
    }
}
