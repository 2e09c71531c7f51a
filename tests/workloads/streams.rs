//! `logs`, `exec`, `attach`, `port-forward` and `cp`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use coracle_e2e::*;
use serde_json::json;

#[test]
fn logs_are_shown_followed_and_kept_of_the_container_before() {
    let cluster = cluster!();
    let namespace = cluster.namespace("logs");
    let kubectl = kubectl!(cluster, namespace);
    namespace.create("pods", &pod("counts", &["lines", "30", "50"]));
    namespace.pod_until("counts", "runs", |pod| pod["status"]["phase"] != "Pending");
    let followed = kubectl.ok("logs -f counts");
    let all: String = (1..=30).map(|line| format!("line {line}\n")).collect();
    assert_eq!(followed, all);
    assert_eq!(kubectl.ok("logs counts --tail=2"), "line 29\nline 30\n");
    assert_eq!(kubectl.ok("logs counts --limit-bytes=6"), "line 1");
    let stamped = kubectl.ok("logs counts --timestamps --tail=1");
    assert!(stamped.starts_with("20") && stamped.ends_with(" line 30\n"), "{stamped}");
    assert_eq!(kubectl.ok("logs counts --since=1h").lines().count(), 30);

    let mut object = pod("again", &["sh", "-c", "echo one more; exit 1"]);
    object["spec"]["restartPolicy"] = json!("Always");
    namespace.create("pods", &object);
    namespace.container_until("again", "is started again", |status| status["restartCount"].as_i64() >= Some(1));
    assert_eq!(kubectl.ok("logs again --previous"), "one more\n");
    let refused = kubectl.run(&["logs", "counts", "--previous"]);
    assert!(refused.err.contains("previous terminated container \"main\" in pod \"counts\" not found"), "{refused:?}");
    let unknown = kubectl.run(&["logs", "counts", "-c", "other"]);
    assert!(unknown.err.contains("container other is not valid for pod counts"), "{unknown:?}");
}

#[test]
fn exec_has_input_output_errors_and_an_exit_code_with_every_kubectl() {
    let cluster = cluster!();
    let namespace = cluster.namespace("exec");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    for kubectl in Kubectl::of_every_kind(cluster, &namespace.name) {
        let ran = kubectl.run(&["exec", "p", "--", "echo", "hello"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "hello\n"), "{kubectl:?}: {ran:?}");
        let ran = kubectl.run(&["exec", "p", "--", "exit", "42"]);
        assert_eq!(ran.code, 42, "{kubectl:?}: {ran:?}");
        assert!(ran.err.contains("command terminated with exit code 42"), "{ran:?}");
        let input = "0123456789abcdef".repeat(20_000);
        let ran = kubectl.with_input(&input, &["exec", "-i", "p", "--", "cat"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out == input, "{kubectl:?}: {} of {} bytes came back", ran.out.len(), input.len());
        let ran = kubectl.run(&["exec", "p", "--", "cat", "/nothing"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(ran.err.contains("/nothing: No such file or directory"), "{ran:?}");
        let ran = kubectl.run(&["exec", "p", "--", "/no/such"]);
        assert!(ran.code != 0 && ran.err.contains("no such file or directory"), "{ran:?}");
    }
}

#[test]
fn a_shell_on_a_terminal() {
    let cluster = cluster!();
    let namespace = cluster.namespace("terminal");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    for kubectl in Kubectl::of_every_kind(cluster, &namespace.name) {
        let mut terminal = Terminal::start(&mut kubectl.command(&["exec", "-it", "p", "--", "sh"]), 101, 43);
        terminal.expect("$ ");
        terminal.enter("tty");
        terminal.expect("a terminal");
        eventually("the size arrives", || {
            terminal.enter("size");
            std::thread::sleep(Duration::from_millis(100));
            if terminal.shows("101 columns, 43 rows") { Ok(()) } else { Err("another size") }
        });
        terminal.enter("exit 7");
        assert_eq!(terminal.end(), 7, "{kubectl:?}");
    }
}

#[test]
fn attach_joins_the_main_process() {
    let cluster = cluster!();
    let namespace = cluster.namespace("attach");
    let kubectl = kubectl!(cluster, namespace);
    let mut object = pod("p", &["sh"]);
    object["spec"]["containers"][0]["stdin"] = json!(true);
    object["spec"]["containers"][0]["stdinOnce"] = json!(true);
    namespace.create("pods", &object);
    namespace.pod_ready("p");
    let ran = kubectl.with_input("echo joined\nexit 0\n", &["attach", "-i", "p"]);
    assert!(ran.out.contains("joined"), "{ran:?}");
    namespace.pod_until("p", "ends", |pod| pod["status"]["phase"] == "Succeeded");
    let ran = kubectl.with_input(
        "echo from run\nexit 3\n",
        &["run", "-i", "--rm", "--restart=Never", "--image=test:1", "r", "--", "sh"],
    );
    assert!(ran.out.contains("from run"), "{ran:?}");
}

#[test]
fn a_port_is_forwarded_with_every_kubectl() {
    let cluster = cluster!();
    let namespace = cluster.namespace("forward");
    namespace.create("pods", &pod("p", &["serve", "--port", "8080"]));
    namespace.pod_ready("p");
    for kubectl in Kubectl::of_every_kind(cluster, &namespace.name) {
        let mut command = kubectl.command(&["port-forward", "pod/p", ":8080", "--address=127.0.0.1"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(" -> ").next().and_then(|text| text.rsplit(':').next()).unwrap_or_default().trim();
        for _ in 0..3 {
            let mut stream =
                TcpStream::connect(format!("127.0.0.1:{port}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("\r\n\r\np\n"), "{kubectl:?}: {answer}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn files_are_copied_both_ways_with_every_kubectl() {
    let cluster = cluster!();
    let namespace = cluster.namespace("copy");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    for (number, kubectl) in Kubectl::of_every_kind(cluster, &namespace.name).iter().enumerate() {
        let here = cluster.directory().join(format!("copy-{number}"));
        std::fs::create_dir_all(here.join("tree/below")).unwrap();
        let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(here.join("tree/below/data"), &data).unwrap();
        std::fs::write(here.join("tree/note"), "note").unwrap();
        let inside = format!("p:/tmp/tree-{number}");
        kubectl.ok(&format!("cp {} {inside}", here.join("tree").display()));
        kubectl.ok(&format!("cp {inside} {}", here.join("back").display()));
        assert!(std::fs::read(here.join("back/below/data")).unwrap() == data, "{kubectl:?}");
        assert_eq!(std::fs::read_to_string(here.join("back/note")).unwrap(), "note");
    }
}
