//! Clusters made with the `coracle` binary, removed however a test ends.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use base64::Engine;
use coracle_client::Remote;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Api, built, can_run, image};

/// A cluster of its own name, data directory and kubeconfig.
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
    directory: TempDir,
    api: OnceLock<Api>,
    /// Runs `coracle down` as soon as this process lets go of its standard input.
    guard: Option<Child>,
}

/// The cluster that all tests of a binary share, with the test image in it; `None` when there can be none. It is
/// removed when the process ends.
///
/// # Panics
/// When it cannot be made; the first test that asks says why.
pub fn shared(subject: &str) -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    static LEFT: Mutex<Option<(Child, PathBuf)>> = Mutex::new(None);
    extern "C" fn remove() {
        if let Some((guard, directory)) = LEFT.lock().take() {
            let_go(guard);
            let _ = fs::remove_dir_all(directory);
        }
    }
    if !can_run() {
        return None;
    }
    let made = SHARED.get_or_init(|| {
        // SAFETY: the handler is a plain function that neither unwinds nor registers others.
        unsafe { libc::atexit(remove) };
        let mut cluster = Cluster::new(subject);
        // Values in statics are never dropped: the handler removes what this one has.
        cluster.directory.disable_cleanup(true);
        *LEFT.lock() = cluster.guard.take().map(|guard| (guard, cluster.directory().to_owned()));
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
            cluster.up();
            cluster.load_image(&["test:1", "test:2"]);
        }));
        made.is_ok().then_some(cluster)
    });
    Some(made.as_ref().expect("the cluster of these tests could be made"))
}

impl Cluster {
    /// A name and directories for a cluster, which is removed when this value is dropped. Nothing is started.
    ///
    /// # Panics
    /// When the binaries do not build.
    pub fn new(subject: &str) -> Cluster {
        let directory = tempfile::Builder::new().prefix("coracle-e2e-").tempdir().expect("a directory is made");
        let mut cluster = Cluster {
            name: format!("t-{}-{}", subject, std::process::id()),
            data: directory.path().join("data"),
            kubeconfig: directory.path().join("kubeconfig"),
            directory,
            api: OnceLock::new(),
            guard: None,
        };
        let down = cluster.command("down");
        let mut guard = Command::new(built("coracle-test-image"));
        guard.arg("guard").arg(down.get_program()).args(down.get_args()).env("KUBECONFIG", &cluster.kubeconfig);
        // A signal from the terminal ends the tests but not the guard.
        std::os::unix::process::CommandExt::process_group(&mut guard, 0);
        guard.stdin(Stdio::piped()).stdout(Stdio::null());
        cluster.guard = Some(guard.spawn().expect("the guard starts"));
        cluster
    }

    /// A directory for files of the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A `coracle` command about this cluster, to which arguments can be added.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(built("coracle"));
        let (group, rest) = verb.split_once(' ').map_or((verb, None), |(group, rest)| (group, Some(rest)));
        command.arg(group).arg("--name").arg(&self.name).arg("--data-dir").arg(&self.data).args(rest);
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// Runs a `coracle` command.
    pub fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        self.command(verb).args(arguments).output().expect("coracle runs")
    }

    /// Runs a `coracle` command that must succeed; answers its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, verb: &str, arguments: &[&str]) -> String {
        let output = self.run(verb, arguments);
        assert!(
            output.status.success(),
            "coracle {verb} {arguments:?} failed: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Creates or starts the cluster and waits until it is ready.
    #[track_caller]
    pub fn up(&self) {
        self.ok("up", &["--wait", "60s"]);
    }

    /// Loads the test image under some tags.
    #[track_caller]
    pub fn load_image(&self, tags: &[&str]) {
        let archive = self.directory().join("image.tar");
        let program = built("coracle-test-image");
        image::write_archive(&program, tags, &archive).expect("the archive is written");
        self.ok("image load", &[&archive.to_string_lossy()]);
        fs::remove_file(archive).expect("the archive is removed");
    }

    /// The end of the daemon's log.
    pub fn log(&self) -> String {
        let log = fs::read(self.data.join("log/server.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The kubeconfig.
    ///
    /// # Panics
    /// When there is none.
    pub fn read_kubeconfig(&self) -> Value {
        let text = fs::read_to_string(&self.kubeconfig).expect("the kubeconfig is there");
        serde_saphyr::from_str(&text).expect("the kubeconfig is YAML")
    }

    /// How the cluster's administrator reaches the API.
    pub fn remote(&self) -> Remote {
        let config = self.read_kubeconfig();
        let pem = |value: &Value| {
            let text = value.as_str().expect("the kubeconfig has certificates");
            base64::engine::general_purpose::STANDARD.decode(text).expect("certificates are base64")
        };
        let context = format!("coracle-{}", self.name);
        let entry = |list: &str| {
            let entries = config[list].as_array().into_iter().flatten();
            entries.into_iter().find(|entry| entry["name"] == context).expect("the kubeconfig has the cluster").clone()
        };
        let (cluster, user) = (&entry("clusters")["cluster"], &entry("users")["user"]);
        Remote {
            server: cluster["server"].as_str().expect("the kubeconfig has a server").into(),
            ca_pem: pem(&cluster["certificate-authority-data"]),
            client_cert_pem: Some(pem(&user["client-certificate-data"])),
            client_key_pem: Some(pem(&user["client-key-data"])),
            client_certificate: None,
            token: None,
        }
    }

    /// The API, as administrator.
    pub fn api(&self) -> &Api {
        self.api.get_or_init(|| Api::new(&self.remote()))
    }

    /// The node's address on the host.
    pub fn node_address(&self) -> String {
        let server = self.remote().server;
        let authority = server.trim_start_matches("https://");
        authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned()
    }

    /// The PID of the daemon, as the host counts.
    pub fn daemon(&self) -> Option<i32> {
        let wanted = self.data.to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").ok()?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&b"server".as_slice()) && words.contains(&wanted.as_bytes())
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            let_go(guard);
        }
    }
}

fn let_go(mut guard: Child) {
    drop(guard.stdin.take());
    let _ = guard.wait();
}
