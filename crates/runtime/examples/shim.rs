//! A shim and nothing else, for the tests of this crate: what `coracle shim` is in the real binary.

fn main() {
    // It has the daemon's.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    coracle_runtime::shim_main(std::env::args().collect());
}
