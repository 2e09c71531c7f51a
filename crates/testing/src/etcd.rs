//! A cluster of Debian's etcd on loopback ports of this machine, with its data in a directory that goes with it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Lacks, skip};

/// How long a member has to answer.
const START: Duration = Duration::from_secs(60);

/// Files of certificates with which members serve, and by which they know clients.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate of members.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority of clients.
    pub client_authority: PathBuf,
}

/// A cluster; its members end with it.
pub struct Cluster {
    dir: TempDir,
    members: Vec<Member>,
}

struct Member {
    process: Option<Child>,
    client: u16,
    arguments: Vec<String>,
}

impl Cluster {
    /// Starts members and waits until they answer; `None` when the test is skipped as there is no etcd here.
    pub fn start(members: usize, more: &[&str]) -> Option<Cluster> {
        Cluster::start_with(members, None, more)
    }

    /// The same with certificates.
    ///
    /// # Panics
    /// The members do not start.
    pub fn start_with(members: usize, tls: Option<&Tls>, more: &[&str]) -> Option<Cluster> {
        let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            skip(Lacks::Tool("there is no etcd: Debian's package is etcd-server"));
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let ports = free_ports(2 * members);
        let (clients, peers) = ports.split_at(members);
        let names: Vec<String> =
            peers.iter().enumerate().map(|(n, port)| format!("m{n}=http://127.0.0.1:{port}")).collect();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let members = clients.iter().zip(peers).enumerate().map(|(n, (client, peer))| {
            let (client_url, peer_url) = (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let data = dir.path().join(format!("m{n}"));
            let mut arguments = vec![
                format!("--name=m{n}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={client_url}"),
                format!("--advertise-client-urls={client_url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster={}", names.join(",")),
                "--heartbeat-interval=50".into(),
                "--election-timeout=500".into(),
            ];
            if let Some(Tls { certificate, key, client_authority }) = tls {
                arguments.push(format!("--cert-file={}", certificate.display()));
                arguments.push(format!("--key-file={}", key.display()));
                arguments.push(format!("--trusted-ca-file={}", client_authority.display()));
                arguments.push("--client-cert-auth".into());
            }
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            Member { process: None, client: *client, arguments }
        });
        let mut cluster = Cluster { members: members.collect(), dir };
        let all: Vec<usize> = (0..cluster.members.len()).collect();
        all.iter().for_each(|n| cluster.spawn(*n));
        all.iter().for_each(|n| cluster.wait(*n));
        Some(cluster)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The directory of the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The port on which a member answers clients.
    pub fn port(&self, member: usize) -> u16 {
        self.members[member].client
    }

    /// The URLs of all members, without TLS.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client)).collect()
    }

    /// Ends a member at once.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.members[member].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts a member again that was ended, and waits until it answers.
    pub fn restart(&mut self, member: usize) {
        self.kill(member);
        self.spawn(member);
        self.wait(member);
    }

    /// Stops a member where it is, or lets it go on.
    pub fn freeze(&self, member: usize, frozen: bool) {
        let process = self.members[member].process.as_ref();
        let pid = process.and_then(|process| Pid::from_raw(i32::try_from(process.id()).ok()?));
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks a member over its JSON interface, without TLS; answers with what it says.
    ///
    /// # Panics
    /// It does not answer, or refuses.
    pub fn call(&self, member: usize, path: &str, json: &str) -> String {
        let answer = self.try_call(member, path, json).expect("etcd answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(" 200 "), "{path}: {answer}");
        body.to_owned()
    }

    fn try_call(&self, member: usize, path: &str, json: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port(member)))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn spawn(&mut self, member: usize) {
        let log = File::options().create(true).append(true).open(self.dir.path().join(format!("m{member}.log")));
        let log = log.expect("a log of etcd");
        let mut command = Command::new("etcd");
        command.args(&self.members[member].arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.members[member].process = Some(command.spawn().expect("etcd starts"));
    }

    fn wait(&self, member: usize) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port(member))).is_err() {
            if start.elapsed() > START {
                let log = std::fs::read_to_string(self.dir.path().join(format!("m{member}.log"))).unwrap_or_default();
                panic!("etcd does not answer: {}", log.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|member| self.kill(member));
    }
}

/// Ports that nobody uses now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}
