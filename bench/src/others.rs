//! The same on this machine with what else is installed: docker, runc, crun and etcd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coracle_e2e::{built, write_archive};
use serde_json::{Value, json};

use crate::report::Report;
use crate::stats::{ms, percentile};

const RUNS: usize = 10;

/// Measures those that are on PATH and work; says which do not.
pub fn measure(report: &mut Report) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("coracle-bench-").tempdir()?;
    for (name, result) in [
        ("docker", docker(directory.path(), report)),
        ("runc", oci("runc", directory.path(), report)),
        ("crun", oci("crun", directory.path(), report)),
        ("etcd", etcd(directory.path(), report)),
    ] {
        if let Err(error) = result {
            eprintln!("{name}: not measured: {error:#}");
        }
    }
    Ok(())
}

fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    found.context("it is not installed")
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The median time of a command that must succeed.
fn median(mut make: impl FnMut(usize) -> Command) -> Result<Duration> {
    let mut times = Vec::new();
    for number in 0..RUNS {
        let start = Instant::now();
        quietly(&mut make(number))?;
        times.push(start.elapsed());
    }
    Ok(percentile(&mut times, 50))
}

fn docker(directory: &Path, report: &mut Report) -> Result<()> {
    let docker = find("docker")?;
    let archive = directory.join("image.tar");
    let tag = "coracle-bench-image:1";
    write_archive(&built("coracle-test-image"), &[tag], &archive)?;
    quietly(Command::new(&docker).arg("load").arg("--input").arg(&archive))?;
    let time = median(|_| {
        let mut command = Command::new(&docker);
        command.args(["run", "--rm", "--pull=never", tag, "/bin/exit", "0"]);
        command
    });
    quietly(Command::new(&docker).args(["image", "rm", "--force", tag]))?;
    report.line("docker run --rm of a program that exits, p50 of 10", ms(time?), "ms", "");
    Ok(())
}

/// A container by an OCI runtime alone, its bundle prepared.
fn oci(runtime: &str, directory: &Path, report: &mut Report) -> Result<()> {
    let program = find(runtime)?;
    let bundle = directory.join(runtime);
    fs::create_dir_all(bundle.join("rootfs/bin"))?;
    fs::create_dir_all(bundle.join("rootfs/proc"))?;
    fs::copy(built("coracle-test-image"), bundle.join("rootfs/bin/exit"))?;
    quietly(Command::new(&program).arg("spec").current_dir(&bundle))?;
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/exit", "0"]);
    fs::write(path, config.to_string())?;
    let time = median(|number| {
        let mut command = Command::new(&program);
        command.arg("--root").arg(directory.join("state")).arg("run").arg("--bundle").arg(&bundle);
        command.arg(format!("coracle-bench-{}-{number}", std::process::id()));
        command
    })?;
    report.line(&format!("{runtime} run of a program that exits, p50 of 10"), ms(time), "ms", "");
    Ok(())
}

/// Ends a server that was started for a measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts of a kilobyte over etcd's JSON gateway would measure the gateway; `etcdctl check perf` speaks gRPC and says
/// what it reached, but only at fixed rates. So the load is `benchmark`'s shape through the JSON gateway of 32
/// connections, named as such.
fn etcd(directory: &Path, report: &mut Report) -> Result<()> {
    let program = find("etcd")?;
    let port = || -> Result<u16> { Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
    let (client, peer) = (format!("http://127.0.0.1:{}", port()?), format!("http://127.0.0.1:{}", port()?));
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(directory.join("etcd")).args(["--log-level", "error"]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    let _running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let address = client.trim_start_matches("http://").to_owned();
    let deadline = Instant::now() + Duration::from_secs(20);
    while puts(&address, 1, Duration::from_millis(50)).is_err() {
        ensure!(Instant::now() < deadline, "it does not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    let rate = puts(&address, 32, Duration::from_secs(5))?;
    report.line("etcd: durable puts of 1 KB, 32 connections, JSON gateway", rate, "/s", "");
    Ok(())
}

/// Puts a second over so many connections.
fn puts(address: &str, connections: usize, time: Duration) -> Result<f64> {
    use std::io::{BufRead, BufReader, Read, Write};
    let value = "eHh4".repeat(256);
    let body = format!(r#"{{"key":"L3JlZ2lzdHJ5","value":"{value}"}}"#);
    let request = format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let one = || -> Result<u64> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut input = BufReader::new(stream.try_clone()?);
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time {
            stream.write_all(request.as_bytes())?;
            let (mut line, mut length) = (String::new(), 0);
            input.read_line(&mut line)?;
            ensure!(line.contains(" 200 "), "a put was answered with {line}");
            loop {
                line.clear();
                input.read_line(&mut line)?;
                match line.trim().split_once(':') {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.trim().parse()?
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            std::io::copy(&mut (&mut input).take(length), &mut std::io::sink())?;
            done += 1;
        }
        Ok(done)
    };
    let total: Result<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client ended"))?).collect()
    });
    Ok(total?.iter().sum::<u64>() as f64 / time.as_secs_f64())
}
