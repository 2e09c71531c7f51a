//! The release has each function once: crates instantiate the same generic code, each for itself.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // There rustc links with the lld that comes with it, unless somebody wants another.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_lld =
        is("TARGET", "x86_64-unknown-linux-gnu") && env::var_os("RUSTC_LINKER").is_none() && !flags.contains("link");
    if is("PROFILE", "release") && is_lld {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
