//! `coracle install` and `uninstall`, in the file system of a host that is not running, and what its unit starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use coracle_e2e::*;

fn run(arguments: &[&str]) -> Output {
    Command::new(built("coracle")).args(arguments).stdin(Stdio::null()).output().expect("coracle runs")
}

#[track_caller]
fn ok(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => left.push(entry.path()),
                false => found.push(entry.path().strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_service_is_its_program_its_options_and_a_unit_and_goes_whole() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().to_str().unwrap();
    ok(&["install", "server", "--root", at, "--node-labels=a=b", "--port", "7443", "--token-auth-file=/etc/tokens"]);
    let unit = root.path().join("etc/systemd/system/coracle-server.service");
    let options = root.path().join("etc/coracle/server.yaml");
    let program = root.path().join("usr/local/bin/coracle");
    assert_eq!((mode(&unit), mode(&options), mode(&program)), (0o644, 0o600, 0o755));
    assert_eq!((mode(&root.path().join("usr/local/bin")), mode(&root.path().join("etc/coracle"))), (0o755, 0o700));
    assert!(
        fs::symlink_metadata(root.path().join("etc/systemd/system/multi-user.target.wants/coracle-server.service"))
            .is_ok()
    );
    let text = fs::read_to_string(&options).unwrap();
    assert!(text.contains("port: \"7443\"") && text.contains("- a=b") && !text.contains("cluster-cidr"), "{text}");
    ok(&["server", "--config", options.to_str().unwrap(), "--help"]);

    // Without options it keeps those that it has, with others it has those.
    ok(&["install", "server", "--root", at]);
    assert_eq!(fs::read_to_string(&options).unwrap(), text);
    ok(&["install", "server", "--root", at, "--port", "8443"]);
    assert!(fs::read_to_string(&options).unwrap().contains("8443"));
    let refused = run(&["install", "agent", "--name", "server", "--root", at]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no service of `coracle agent`"));
    let refused = run(&["install", "server", "--root", at, "--port", "many"]);
    assert!(!refused.status.success() && fs::read_to_string(&options).unwrap().contains("8443"));

    // The program stays as long as one of them is there.
    ok(&["install", "agent", "--root", at, "--server", "https://192.0.2.1:6443", "--token", "abcdef.0123456789abcdef"]);
    let refused = run(&["uninstall", "--root", at]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("agent, server"));
    ok(&["uninstall", "agent", "--root", at]);
    assert!(program.exists());
    if Command::new("systemd-analyze").arg("--version").output().is_ok() {
        let checked =
            Command::new("systemd-analyze").args(["verify", "--root", at]).arg("coracle-server.service").output();
        let checked = String::from_utf8_lossy(&checked.unwrap().stderr).into_owned();
        // What is not understood is said with its line; other units, which it needs, are not there.
        let is_of_a_line = |line: &&str| {
            line.split_once("coracle-server.service:")
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        assert_eq!(checked.lines().filter(is_of_a_line).collect::<Vec<_>>(), Vec::<&str>::new());
    } else {
        skip(Lacks::Tool("systemd-analyze is not there to check the unit"));
    }
    ok(&["uninstall", "--root", at]);
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
    assert!(!root.path().join("etc/coracle").exists());
    assert!(String::from_utf8_lossy(&run(&["uninstall", "--root", at]).stderr).contains("no service was installed"));
}

#[test]
fn a_unit_of_somebody_else_stays() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().to_str().unwrap();
    let unit = root.path().join("etc/systemd/system/coracle-server.service");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    for arguments in [&["install", "server"][..], &["uninstall", "server"]] {
        let refused = run(&[arguments, &["--root", at]].concat());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing was changed"), "{refused:?}");
    }
    assert_eq!(files(root.path()), [PathBuf::from("etc/systemd/system/coracle-server.service")]);
}

/// Starts what a unit would start, and waits as systemd does.
#[test]
fn who_started_a_server_is_told_when_it_is_ready() {
    if !can_run() || !crate::on_the_host::has_an_address() {
        return;
    }
    let _one_at_a_time = crate::on_the_host::HOST.lock();
    let cluster = Cluster::new("unit");
    let socket = cluster.directory().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let options = cluster.directory().join("options.yaml");
    let text = format!(
        "name: {}\ndata-dir: {}\nport: 16443\nnode-labels: {{example.com/from: file}}\n",
        cluster.name,
        cluster.data.display()
    );
    fs::write(&options, text).unwrap();
    let mut command = Command::new(built("coracle"));
    command.arg("server").arg("--config").arg(&options).env("NOTIFY_SOCKET", &socket);
    command.env("KUBECONFIG", &cluster.kubeconfig).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    let _server = crate::on_the_host::Server(command.spawn().unwrap());
    let mut message = [0; 64];
    let size = told.recv(&mut message).expect("it says that it is ready");
    assert_eq!(&message[..size], b"READY=1");
    eventually("the node has the label of the file", || {
        let node = cluster.api().get("/api/v1/nodes?labelSelector=example.com%2Ffrom%3Dfile").ok();
        if node["items"].as_array().is_some_and(|nodes| nodes.len() == 1) { Ok(()) } else { Err(node.to_string()) }
    });
}
