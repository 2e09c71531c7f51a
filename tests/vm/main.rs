//! Pods on cgroup v2 alone, in a virtual machine, whatever cgroups the host has.
//!
//! The machine gets this test binary, which runs its ignored tests there ([`inside`]), and the runtime's own tests of
//! containers and of working directories that lead out, as there a descriptor of the group is open. Nothing of it needs the network. Skips where qemu or a kernel is missing.
#![allow(missing_docs, reason = "tests are no interface")]

mod initramfs;
mod inside;
mod machine;

use std::fs;

use coracle_e2e::*;
use initramfs::Initramfs;
use machine::Kernel;

#[test]
fn pods_and_containers_run_on_cgroup_v2_alone() {
    if !cfg!(target_arch = "x86_64") {
        skip(Lacks::Machine("the virtual machine is made for x86_64 only"));
        return;
    }
    let Some(kernel) = Kernel::find() else { return };
    let (containers, examples) = built_test("containers", &["shim", "testbox"]);
    let (hostile, _) = built_test("hostile", &["shim", "testbox"]);
    let mut files = Initramfs::default();
    for directory in ["bin", "dev", "etc", "modules", "root", "run", "tests", "tests/deps", "tests/examples", "var"] {
        files.directory(directory);
    }
    files.character_device("dev/console", 5, 1);
    files.copy("init", &built("coracle-test-image"));
    for binary in ["coracle", "coracle-test-image"] {
        files.copy(&format!("bin/{binary}"), &built(binary));
    }
    files.copy("tests/deps/vm", &std::env::current_exe().unwrap());
    files.copy("tests/deps/containers", &containers);
    files.copy("tests/deps/hostile", &hostile);
    for example in examples {
        files.copy(&format!("tests/examples/{}", example.file_name().unwrap().to_str().unwrap()), &example);
    }
    for (number, module) in kernel.modules().iter().enumerate() {
        files.copy(&format!("modules/{number:02}-{}", module.file_name().unwrap().to_str().unwrap()), module);
    }
    let commands = [
        "/tests/deps/vm --ignored --test-threads=1",
        "/tests/deps/containers --test-threads=2",
        "/tests/deps/hostile --test-threads=2 working_directory",
    ];
    files.file("commands", commands.join("\n").as_bytes());
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("initramfs");
    fs::write(&archive, files.finish()).unwrap();

    let console = kernel.run(&archive);
    for command in commands {
        assert!(console.lines().any(|line| line == format!("init: 0 from {command}")), "{console}");
    }
}
