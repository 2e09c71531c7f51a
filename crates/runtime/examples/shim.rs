//! A shim and nothing else, for the tests of this crate: what `coracle shim` is in the real binary.

fn main() {
    coracle_runtime::shim_main(std::env::args().collect());
}
