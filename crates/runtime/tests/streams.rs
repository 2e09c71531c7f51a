//! exec, attach, standard input, terminals and port-forward.
#![allow(missing_docs, reason = "tests are no interface")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, is_root};
use coracle_runtime::cri::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Streams, and the client's ends of them: input, output, error output, sizes.
fn streams() -> (Streams, DuplexStream, DuplexStream, DuplexStream, mpsc::Sender<TerminalSize>) {
    let (stdin, stdin_client) = tokio::io::duplex(4096);
    let (stdout, stdout_client) = tokio::io::duplex(1 << 20);
    let (stderr, stderr_client) = tokio::io::duplex(1 << 20);
    let (sizes, resize) = mpsc::channel(4);
    let streams = Streams {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        resize,
    };
    (streams, stdin_client, stdout_client, stderr_client, sizes)
}

async fn text(mut stream: DuplexStream) -> String {
    let mut out = String::new();
    stream.read_to_string(&mut out).await.unwrap();
    out
}

#[tokio::test]
async fn exec_sync_gives_output_exit_code_and_deadline() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let run = async |args: &[&str], limit| bench.runtime.exec_sync(&id, strings(args), limit).await;
    let done = run(&["testbox", "echo", "hi"], None).await.unwrap();
    assert_eq!((done.stdout.as_slice(), done.exit_code), (&b"hi\n"[..], 0));
    let done = run(&["/testbox", "fail", "3"], None).await.unwrap();
    assert_eq!((done.stderr.as_slice(), done.exit_code), (&b"failing\n"[..], 3));
    let done = run(&["/testbox", "flood", "1000"], None).await.unwrap();
    assert_eq!(done.stdout.len(), 16 * 1024);
    let done = run(&["/testbox", "read", "/proc/1/comm"], None).await.unwrap();
    assert_eq!(done.stdout, b"testbox\n");
    let done = run(&["/testbox", "id"], None).await.unwrap();
    let status = String::from_utf8_lossy(&done.stdout);
    assert!(status.contains("CapEff:\t00000000a80425fb") && status.contains("Umask:\t0022"), "{status}");
    let hour = "3600000";
    let error = run(&["/testbox", "sleep", hour], Some(Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(error, CriError::DeadlineExceeded(_)), "{error}");
    assert_eq!(run(&["/testbox", "leave"], None).await.unwrap().stdout, b"left\n");
    // Nobody waited for the child that was left.
    assert!(bench.runtime.container_stats(&id).await.unwrap().process_count >= 2);
    let error = run(&["nope"], None).await.unwrap_err().to_string();
    assert!(error.contains(r#"exec: "nope": executable file not found in $PATH: unknown"#), "{error}");
    let begin = Instant::now();
    for _ in 0..20 {
        run(&["/testbox", "echo"], None).await.unwrap();
    }
    println!("exec_sync {:?}", begin.elapsed() / 20);
    bench.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    assert!(run(&["/testbox", "echo"], None).await.unwrap_err().to_string().contains("CONTAINER_EXITED"));
    bench.end().await;
}

#[tokio::test]
async fn exec_carries_input_and_terminals() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let (ends, mut input, output, _errors, _sizes) = streams();
    input.write_all(b"one\ntwo\n").await.unwrap();
    drop(input);
    let code = bench.runtime.exec(&id, strings(&["/testbox", "cat"]), false, ends).await.unwrap();
    assert_eq!((code, text(output).await.as_str()), (0, "got one\ngot two\nend of input\n"));
    let (ends, _input, output, _errors, sizes) = streams();
    sizes.send(TerminalSize { width: 91, height: 33 }).await.unwrap();
    let code = bench.runtime.exec(&id, strings(&["/testbox", "tty"]), true, ends).await.unwrap();
    assert_eq!((code, text(output).await.as_str()), (0, "size 91x33\r\nterminal 1\r\n"));
    bench.end().await;
}

#[tokio::test]
async fn attach_joins_the_first_process() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let config = ContainerConfig { stdin: true, stdin_once: true, ..Bench::container_config(&["cat"]) };
    let id = bench.start(&sandbox, config).await;
    let (ends, mut input, output, _errors, _sizes) = streams();
    let (ends2, _input2, output2, _errors2, _sizes2) = streams();
    let second = Streams { stdin: None, ..ends2 };
    let client = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        input.write_all(b"typed\n").await.unwrap();
        drop(input);
    };
    let (first, second, ()) = tokio::join!(bench.runtime.attach(&id, ends), bench.runtime.attach(&id, second), client);
    first.unwrap();
    second.unwrap();
    assert_eq!(text(output).await, "got typed\nend of input\n");
    assert_eq!(text(output2).await, "got typed\nend of input\n");
    assert_eq!(bench.wait(&id).await.exit_code, 0);
    assert_eq!(bench.log(&id).await, ["got typed", "end of input"]);
    let config = ContainerConfig { stdin: true, tty: true, ..Bench::container_config(&["tty"]) };
    let id = bench.start(&sandbox, config).await;
    let (ends, _input, output, _errors, sizes) = streams();
    sizes.send(TerminalSize { width: 77, height: 11 }).await.unwrap();
    bench.runtime.attach(&id, ends).await.unwrap();
    assert_eq!(text(output).await, "size 77x11\r\nterminal 1\r\n");
    bench.end().await;
}

#[tokio::test]
async fn a_port_of_the_pods_loopback_is_reached() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["listen", "8080"])).await;
    while bench.log(&id).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut stream = bench.runtime.port_forward(&sandbox, 8080).await.unwrap();
    let mut line = [0; 6];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"hello\n");
    let error = bench.runtime.port_forward(&sandbox, 8081).await.unwrap_err().to_string();
    assert!(error.contains("connection refused"), "{error}");
    bench.end().await;
}

#[tokio::test]
async fn a_rotated_log_is_opened_anew() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let config = ContainerConfig { stdin: true, stdin_once: true, ..Bench::container_config(&["cat"]) };
    let id = bench.start(&sandbox, config).await;
    let path = bench.runtime.container_status(&id).await.unwrap().log_path;
    std::fs::rename(&path, format!("{path}.1")).unwrap();
    bench.runtime.reopen_container_log(&id).await.unwrap();
    let (ends, mut input, _output, _errors, _sizes) = streams();
    input.write_all(b"after\n").await.unwrap();
    drop(input);
    bench.runtime.attach(&id, ends).await.unwrap();
    bench.wait(&id).await;
    assert_eq!(bench.log(&id).await, ["got after", "end of input"]);
    bench.end().await;
}

/// The process that holds a container, and how many descriptors it has.
fn shim_of(pid: i32) -> (i32, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap().parse().unwrap();
    (shim, std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count())
}

#[tokio::test]
async fn commands_given_up_before_they_start_leave_nothing_behind() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let mut config = bench.sandbox_config();
    config.namespaces.shared_pid = true;
    for sandbox in [bench.sandbox().await, bench.runtime.run_pod_sandbox(config).await.unwrap()] {
        let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
        let pid = bench.runtime.container_status(&id).await.unwrap().pid;
        let before = shim_of(pid);
        for step in 0..60 {
            let limit = Some(Duration::from_micros(step * 50));
            bench.runtime.exec_sync(&id, strings(&["/testbox", "sleep", "60000"]), limit).await.unwrap_err();
        }
        // Every process of the container but the first goes, and what the shim kept for it.
        let task = format!("/proc/{}/task/{}/children", before.0, before.0);
        let children = || std::fs::read_to_string(&task).unwrap().split_whitespace().count();
        let first = if bench.runtime.pod_sandbox_status(&sandbox).await.unwrap().namespaces.shared_pid { 2 } else { 1 };
        let mut rounds = 0;
        while children() > first || shim_of(pid).1 > before.1 {
            rounds += 1;
            assert!(rounds < 2000, "{} processes, {:?} and not at most {before:?}", children(), shim_of(pid));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let done = bench.runtime.exec_sync(&id, strings(&["/testbox", "echo", "still"]), None).await.unwrap();
        assert_eq!(done.stdout, b"still\n");
    }
    bench.end().await;
}

#[tokio::test]
async fn a_listener_that_takes_nobody_in_does_not_hold_its_pod_up() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["listen-and-ignore", "8080"])).await;
    while bench.log(&id).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let forward = || bench.runtime.port_forward(&sandbox, 8080);
    let waiting = async { tokio::join!(forward(), forward(), forward(), forward(), forward()) };
    // The shim answers others while connections wait, which each do for many seconds.
    let exec = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.runtime.exec_sync(&id, strings(&["/testbox", "echo"]), None).await
    };
    tokio::select! {
        biased;
        done = exec => assert_eq!(done.unwrap().exit_code, 0),
        results = waiting => panic!("no connection had to wait: {:?}", results.0),
    }
    bench.end().await;
}
