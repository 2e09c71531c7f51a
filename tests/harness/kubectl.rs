//! Unmodified kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Cluster;

/// The kubectls to test with: those of `CORACLE_KUBECTLS` (paths, separated by colons), else what PATH has of
/// `kubectl`, `kubectl.1.27`, `kubectl.1.30` and `kubectl.1.33`.
pub fn kubectls() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("CORACLE_KUBECTLS") {
        return std::env::split_paths(&list).filter(|path| path.is_file()).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &&str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    ["kubectl", "kubectl.1.27", "kubectl.1.30", "kubectl.1.33"].iter().filter_map(find).collect()
}

/// A kubectl set up for a cluster and namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    /// Whether its streams come over WebSocket or, as those of older clients, over SPDY.
    websockets: bool,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Kubectl {
    /// A kubectl for a namespace.
    pub fn new(cluster: &Cluster, program: &Path, namespace: &str) -> Kubectl {
        let (program, kubeconfig, namespace) = (program.into(), cluster.kubeconfig.clone(), namespace.into());
        Kubectl { program, kubeconfig, namespace, websockets: true }
    }

    /// Every kubectl there is, with WebSocket and with SPDY.
    pub fn of_every_kind(cluster: &Cluster, namespace: &str) -> Vec<Kubectl> {
        let both = |program: PathBuf| {
            let kubectl = Kubectl::new(cluster, &program, namespace);
            [Kubectl { websockets: false, ..kubectl.clone() }, kubectl]
        };
        kubectls().into_iter().flat_map(both).collect()
    }

    /// A command to which more can be added. Its caches are kept apart from the user's.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let home = self.kubeconfig.parent().unwrap_or(Path::new("/"));
        command.arg("--namespace").arg(&self.namespace).args(arguments);
        let websockets = self.websockets.to_string();
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", home);
        command
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", &websockets)
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        command
    }

    /// Runs a command with this on its standard input.
    pub fn with_input(&self, input: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("the input is a pipe");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(input.as_bytes());
        });
        let output = child.wait_with_output().expect("kubectl ends");
        let _ = writer.join();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.with_input("", arguments)
    }

    /// Runs a command, given as one line, that must succeed; answers its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ran = self.run(&words);
        assert_eq!(ran.code, 0, "kubectl {line}\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// Applies manifests; answers what kubectl said.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        let ran = self.with_input(manifests, &["apply", "-f", "-"]);
        assert_eq!(ran.code, 0, "kubectl apply\n{}\n{}", ran.out, ran.err);
        ran.out
    }
}
