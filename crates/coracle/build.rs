//! Functions of which the code is the same are linked once, where the linker can do that (lld, which Rust uses by itself on
//! x86-64): generic code makes tens of thousands of them.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

const FOLD: &str = "-Wl,--icf=all";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if linker_can_fold().unwrap_or(false) {
        println!("cargo:rustc-link-arg-bins={FOLD}");
    }
}

/// Tries it on a program that does nothing, linked as this one will be.
fn linker_can_fold() -> Option<bool> {
    let get = |name: &str| env::var_os(name);
    let source = Path::new(&get("OUT_DIR")?).join("probe.rs");
    std::fs::write(&source, "fn main() {}").ok()?;
    let mut command = Command::new(get("RUSTC")?);
    command.args(["--edition=2024", "--target"]).arg(get("TARGET")?);
    if let Some(linker) = get("RUSTC_LINKER") {
        let mut flag = OsString::from("-Clinker=");
        flag.push(linker);
        command.arg(flag);
    }
    let flags = get("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().into_string().ok()?;
    command.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    command.arg(format!("-Clink-arg={FOLD}")).arg("-o").arg(source.with_extension("bin")).arg(&source);
    Some(command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?.success())
}
