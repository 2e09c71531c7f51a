//! What the tests share: a runtime with real shims, and images of one static program.
#![allow(dead_code, missing_docs, reason = "a test helper of which each test file uses a part")]

use std::io::Read;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coracle_runtime::cri::*;
use coracle_runtime::{Runtime, RuntimeConfig};
use sha2::{Digest, Sha256};

pub struct NoNetwork;

#[async_trait]
impl SandboxNetwork for NoNetwork {
    async fn attach(&self, _: &str, _: &PodSandboxConfig, _: BorrowedFd<'_>) -> anyhow::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([10, 0, 0, 1])])
    }
    async fn detach(&self, _: &str) -> anyhow::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
    async fn retain(&self, _: &[String]) -> anyhow::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

pub use coracle_testing::is_root;

/// An example program of this crate, next to the test's own binary.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer with the test program, a user database and a file that is removed by the second layer.
pub fn layers() -> [Vec<u8>; 2] {
    let mut first = tar::Builder::new(Vec::new());
    let add = |builder: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        builder.append_data(&mut header, path, data).unwrap();
    };
    add(&mut first, "testbox", 0o755, &std::fs::read(program("testbox")).unwrap());
    add(&mut first, "bin/tool", 0o755, b"not a program");
    add(&mut first, "etc/passwd", 0o644, b"root:x:0:0::/root:/\nweb:x:1000:1001::/home/web:/\n");
    add(&mut first, "etc/group", 0o644, b"root:x:0:\nweb:x:1001:\nstaff:x:50:web\n");
    add(&mut first, "data/gone", 0o644, b"1");
    add(&mut first, "data/kept", 0o644, b"1");
    let mut second = tar::Builder::new(Vec::new());
    add(&mut second, "data/.wh.gone", 0o644, b"");
    add(&mut second, "data/new", 0o644, b"2");
    [first.into_inner().unwrap(), second.into_inner().unwrap()]
}

pub fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    config_with(layers, &[])
}

fn config_with(layers: &[Vec<u8>], volumes: &[&str]) -> Vec<u8> {
    let volumes: serde_json::Map<_, _> = volumes.iter().map(|path| (path.to_string(), serde_json::json!({}))).collect();
    let ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    serde_json::to_vec(&serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Entrypoint": ["/testbox"], "Cmd": ["echo", "default"], "Env": ["PATH=/:/bin", "FROM_IMAGE=1"], "WorkingDir": "/work",
            "Volumes": volumes},
        "rootfs": {"type": "layers", "diff_ids": ids},
    }))
    .unwrap()
}

pub fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, path, &data[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// `docker save` of the test image.
pub fn docker_archive(tag: &str) -> Vec<u8> {
    docker_archive_of(tag, &layers(), &[])
}

/// The same with volumes, and with more in /data, which is somebody's.
pub fn docker_archive_with(tag: &str, volumes: &[&str]) -> Vec<u8> {
    let mut third = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, (uid, gid, mode): (u64, u64, u32), link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mode(mode);
        header.set_size(0);
        match link {
            Some(to) => third.append_link(&mut header, path, to).unwrap(),
            None => third.append_data(&mut header, path, &b""[..]).unwrap(),
        }
    };
    add(tar::EntryType::Directory, "data", (1000, 1001, 0o750), None);
    add(tar::EntryType::Directory, "data/inner", (7, 7, 0o1777), None);
    add(tar::EntryType::Symlink, "data/link", (0, 0, 0o777), Some("kept"));
    add(tar::EntryType::Regular, "data/kept", (0, 0, 0o644), None);
    add(tar::EntryType::Link, "data/same", (0, 0, 0o644), Some("data/kept"));
    add(tar::EntryType::Fifo, "data/pipe", (0, 0, 0o644), None);
    let third = third.into_inner().unwrap();
    let [first, second] = layers();
    docker_archive_of(tag, &[first, second, third], volumes)
}

fn docker_archive_of(tag: &str, layers: &[Vec<u8>], volumes: &[&str]) -> Vec<u8> {
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]);
    let mut members: Vec<(String, Vec<u8>)> = names.into_iter().zip(layers.iter().cloned()).collect();
    members.push(("config.json".into(), config_with(layers, volumes)));
    members.push(("manifest.json".into(), serde_json::to_vec(&manifest).unwrap()));
    archive(&members)
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A runtime in a directory of its own. Dropping it kills its shims by removing its sandboxes.
pub struct Bench {
    pub runtime: Arc<Runtime>,
    pub dir: tempfile::TempDir,
    pub config: RuntimeConfig,
}

impl Bench {
    pub async fn new() -> Self {
        static LEFT: std::sync::Once = std::sync::Once::new();
        LEFT.call_once(remove_what_killed_tests_left);
        let dir = tempfile::tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let config = RuntimeConfig {
            root: dir.path().join("root"),
            state: dir.path().join("state"),
            cgroup_root: format!("coracle/test-{}-{number}", std::process::id()),
            shim_exe: program("shim"),
            insecure_registries: Vec::new(),
            local_registry: None,
            resolv_conf: "/etc/resolv.conf".into(),
        };
        let runtime = Runtime::new(config.clone(), Arc::new(NoNetwork)).await.unwrap();
        Self { runtime, dir, config }
    }

    pub async fn with_image() -> Self {
        let bench = Self::new().await;
        bench.runtime.import(&docker_archive("test:1")[..], None).unwrap();
        bench
    }

    /// Drops the runtime and puts one that knows nothing in its place.
    pub async fn stop_daemon(&mut self) {
        let config = RuntimeConfig {
            root: self.dir.path().join("idle/root"),
            state: self.dir.path().join("idle/state"),
            cgroup_root: format!("{}/idle", self.config.cgroup_root),
            ..self.config.clone()
        };
        self.runtime = Runtime::new(config, Arc::new(NoNetwork)).await.unwrap();
    }

    /// As if the daemon had been killed and started anew.
    pub async fn restart(&mut self) {
        self.runtime = Runtime::new(self.config.clone(), Arc::new(NoNetwork)).await.unwrap();
    }

    pub fn sandbox_config(&self) -> PodSandboxConfig {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        PodSandboxConfig {
            metadata: PodSandboxMetadata {
                name: "p".into(),
                uid: format!("u{number}"),
                namespace: "n".into(),
                attempt: 0,
            },
            hostname: "pod-host".into(),
            log_directory: self.dir.path().join("logs").to_string_lossy().into_owned(),
            dns_config: Some(DnsConfig { servers: vec!["10.96.0.10".into()], ..Default::default() }),
            cgroup_parent: format!("kubepods/burstable/podu{number}"),
            ..Default::default()
        }
    }

    pub async fn sandbox(&self) -> String {
        self.runtime.run_pod_sandbox(self.sandbox_config()).await.unwrap()
    }

    pub fn container_config(args: &[&str]) -> ContainerConfig {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        ContainerConfig {
            metadata: ContainerMetadata { name: format!("c{number}"), attempt: 0 },
            image: "test:1".into(),
            args: args.iter().map(ToString::to_string).collect(),
            log_path: format!("c{number}/0.log"),
            ..Default::default()
        }
    }

    pub async fn start(&self, sandbox: &str, config: ContainerConfig) -> String {
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    pub async fn wait(&self, id: &str) -> ContainerStatus {
        for _ in 0..2000 {
            let status = self.runtime.container_status(id).await.unwrap();
            if status.state == ContainerState::Exited {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("container {id} did not end");
    }

    /// Output without time and stream.
    pub async fn log(&self, id: &str) -> Vec<String> {
        let path = self.runtime.container_status(id).await.unwrap().log_path;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_string()).collect()
    }

    /// Runs a container to its end.
    pub async fn run(&self, sandbox: &str, config: ContainerConfig) -> (ContainerStatus, Vec<String>) {
        let id = self.start(sandbox, config).await;
        (self.wait(&id).await, self.log(&id).await)
    }

    /// Removes everything, and checks that nothing is left.
    pub async fn end(mut self) {
        for sandbox in self.runtime.list_pod_sandbox().await.unwrap() {
            self.runtime.remove_pod_sandbox(&sandbox.id).await.unwrap();
        }
        // Shims that wait for a pod end with their daemon, and the next one removes what they leave.
        let is_empty = |name| std::fs::read_dir(self.config.state.join(name)).unwrap().next().is_none();
        assert!(is_empty("containers"));
        let mut rounds = 0;
        while !is_empty("sandboxes") {
            assert!(rounds < 500, "a sandbox is left");
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.runtime = Runtime::new(self.config.clone(), Arc::new(NoNetwork)).await.unwrap();
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.dir.path().to_string_lossy()), "a mount is left");
        assert_eq!(self.groups(), Vec::<PathBuf>::new());
    }

    /// Pod and container cgroups of this runtime.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = cgroup_dirs(&self.config.cgroup_root);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() {
                    dirs.push(entry.path());
                    if name.starts_with("pod") || name.len() == 64 {
                        found.push(entry.path());
                    }
                }
            }
        }
        found
    }
}

fn cgroup_dirs(root: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut dirs: Vec<PathBuf> =
        std::fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path().join(root)).collect();
    dirs.push(base.join(root));
    dirs.retain(|dir| dir.is_dir());
    dirs
}

/// Removes the groups of tests whose process is gone, and what still runs in them.
fn remove_what_killed_tests_left() {
    for parent in cgroup_dirs("coracle") {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if owner(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                remove(&entry.path());
            }
        }
    }
}

/// The process whose test made a group.
fn owner(group: &str) -> Option<u32> {
    group.strip_prefix("test-")?.split_once('-')?.0.parse().ok()
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Also after a failed test: kill by cgroup what the runtime made, then remove its groups.
        let dirs = cgroup_dirs(&self.config.cgroup_root);
        for _ in 0..50 {
            let mut busy = false;
            for dir in &dirs {
                busy |= !remove(dir);
            }
            if !busy {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn remove(dir: &Path) -> bool {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(dir.join("cgroup.procs")) {
        let _ = file.read_to_string(&mut text);
    }
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()).filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    std::fs::remove_dir(dir).is_ok() || !dir.exists()
}
