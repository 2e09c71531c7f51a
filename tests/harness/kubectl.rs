//! Unmodified kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Cluster, eventually};

/// How long a command may take: longer than it waits for anything itself.
const LONGEST: Duration = Duration::from_secs(240);

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
        let output = end_of(child);
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

    /// Deletes pods that their set makes anew under the same names, and waits until they are other ones. kubectl's own
    /// waiting is not for them: it looks at a name again before it watches, and then waits for the end of the new pod.
    ///
    /// # Panics
    /// When they are not replaced.
    #[track_caller]
    pub fn replace_pods(&self, names: &str) {
        let uids = || -> Vec<String> {
            let found = self.ok(&format!("get pod {names} --ignore-not-found -o jsonpath={{..metadata.uid}}"));
            found.split_whitespace().map(str::to_owned).collect()
        };
        let before = uids();
        self.ok(&format!("delete pod {names} --wait=false"));
        eventually("the pods are replaced", || {
            let now = uids();
            let is_new = now.len() == before.len() && now.iter().all(|uid| !before.contains(uid));
            if is_new { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
        });
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

/// Waits for a command, which is killed when it takes longer than any may.
fn end_of(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (ended, end) = channel::<()>();
    let guard = std::thread::spawn(move || {
        if end.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("kubectl ends");
    drop(ended);
    let _ = guard.join();
    output
}
