//! One run of one plugin: a program with parameters in its environment, a request on its standard input and an answer on its
//! standard output. <https://www.cni.dev/docs/spec/#section-2-execution-protocol>

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// How many bytes are kept of what a plugin says beside it.
const MAX_WORDS: usize = 4096;
/// How long a plugin may take: those that ask others over the network wait for minutes themselves.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long the answer is waited for once the plugin has ended: what it left behind may hold its output open.
const LATE: Duration = Duration::from_secs(2);
/// Where a plugin finds the programs that it runs, if this process does not say.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Connect a pod.
    Add,
    /// Take that back.
    Del,
    /// Say whether it is as it should be.
    Check,
    /// Forget all attachments but those that are listed.
    Gc,
    /// Say whether pods can be connected.
    Status,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
        }
    }

    /// As messages name it.
    fn word(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Del => "delete",
            Verb::Check => "check",
            Verb::Gc => "gc",
            Verb::Status => "status",
        }
    }
}

/// What a call that is about a pod says of it.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// `CNI_CONTAINERID`
    pub container: &'a str,
    /// `CNI_NETNS`: the path of its network namespace, empty when that is gone.
    pub netns: &'a str,
    /// `CNI_IFNAME`
    pub link: &'a str,
    /// `CNI_ARGS`
    pub args: &'a str,
}

/// A call of a plugin.
pub struct Call<'a> {
    /// What is asked.
    pub verb: Verb,
    /// The name of its program.
    pub plugin: &'a str,
    /// Where programs are looked for, in this order.
    pub path: &'a [PathBuf],
    /// Which pod it is about, if it is about one.
    pub parameters: Option<Parameters<'a>>,
    /// A file with the request, at its beginning.
    pub request: File,
}

/// Why a plugin did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("plugin type={plugin:?} failed ({}): {cause}", verb.word())]
pub struct Failure {
    plugin: String,
    verb: Verb,
    cause: Cause,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("failed to find plugin {0:?} in path [{1}]")]
    NotFound(String, String),
    #[error("it could not be run: {0}")]
    Run(#[from] io::Error),
    #[error("it did not end within {} s", PATIENCE.as_secs())]
    TooLate,
    #[error("{0}")]
    Refused(Refusal),
    #[error("netplugin failed: {0}{1}")]
    Ended(ExitStatus, Words),
    #[error("its answer is no result: {0}")]
    Answer(String),
}

/// What a plugin wrote to its standard error.
#[derive(Debug)]
struct Words(String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// A plugin's own error. <https://www.cni.dev/docs/spec/#error>
#[derive(Debug)]
struct Refusal {
    code: u64,
    message: String,
    details: String,
}

impl Refusal {
    fn of(answer: &Value) -> Option<Refusal> {
        let text = |key: &str| shortened(answer[key].as_str().unwrap_or_default());
        let refusal =
            Refusal { code: answer["code"].as_u64().unwrap_or(0), message: text("msg"), details: text("details") };
        (refusal.code > 0 || !refusal.message.is_empty()).then_some(refusal)
    }

    /// What a code of the specification says; others are the plugin's own.
    fn meaning(&self) -> Option<&'static str> {
        Some(match self.code {
            1 => "incompatible CNI version",
            2 => "unsupported field in network configuration",
            3 => "container unknown or does not exist",
            4 => "invalid necessary environment variables",
            5 => "I/O failure",
            6 => "failed to decode content",
            7 => "invalid network config",
            11 => "try again later",
            50 => "the plugin is not available",
            51 => "the plugin is not available, and existing containers may have limited connectivity",
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { "it gave no reason" } else { &self.message };
        f.write_str(message)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        match self.meaning() {
            Some(meaning) => write!(f, " (code {}: {meaning})", self.code),
            None => write!(f, " (code {})", self.code),
        }
    }
}

/// The program of a plugin.
pub fn find(plugin: &str, path: &[PathBuf]) -> Option<PathBuf> {
    path.iter().map(|dir| dir.join(plugin)).find(|file| file.is_file())
}

/// That a plugin's program is not there.
pub fn not_found(plugin: &str, path: &[PathBuf]) -> String {
    let path: Vec<_> = path.iter().map(|dir| dir.display().to_string()).collect();
    Cause::NotFound(plugin.to_owned(), path.join(" ")).to_string()
}

impl Call<'_> {
    /// Runs the plugin; answers with what it wrote, null for nothing.
    ///
    /// # Errors
    /// There is no such program, it refuses, takes too long, or says too much.
    pub async fn run(self) -> Result<Value, Failure> {
        let (plugin, verb) = (self.plugin.to_owned(), self.verb);
        self.run_program().await.map_err(|cause| Failure { plugin, verb, cause })
    }

    async fn run_program(self) -> Result<Value, Cause> {
        let search: Vec<_> = self.path.iter().map(|dir| dir.display().to_string()).collect();
        let Some(program) = find(self.plugin, self.path) else {
            return Err(Cause::NotFound(self.plugin.to_owned(), search.join(" ")));
        };
        let mut command = self.command(&program, &search.join(":"));
        let mut child = command.spawn()?;
        let answer = tokio::spawn(read(child.stdout.take(), MAX_ANSWER, true));
        let words = tokio::spawn(read(child.stderr.take(), MAX_WORDS, false));
        let Ok(status) = timeout(PATIENCE, child.wait()).await else {
            end(&mut child).await;
            return Err(Cause::TooLate);
        };
        let status = status?;
        let words = timeout(LATE, words).await.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or_default();
        let words = Words(shortened(String::from_utf8_lossy(&words).trim()));
        let answer = match timeout(LATE, answer).await {
            Ok(answer) => answer.map_err(io::Error::other)?.map_err(|error| Cause::Answer(error.to_string())),
            Err(_) => Err(Cause::Answer("something that it started holds its output open".into())),
        };
        if !words.0.is_empty() {
            tracing::debug!(plugin = self.plugin, verb = self.verb.as_str(), "the plugin says{words}");
        }
        let answer = answer?;
        if !status.success() {
            let refusal = serde_json::from_slice(&answer).ok().and_then(|answer| Refusal::of(&answer));
            return Err(refusal.map_or_else(|| Cause::Ended(status, words), Cause::Refused));
        }
        if answer.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| Cause::Answer(error.to_string()))
    }

    /// The environment is that of the specification, and where programs are.
    fn command(&self, program: &Path, search: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PROGRAMS.into()));
        command.env("CNI_COMMAND", self.verb.as_str()).env("CNI_PATH", search);
        if let Some(pod) = self.parameters {
            command.env("CNI_CONTAINERID", pod.container).env("CNI_NETNS", pod.netns);
            command.env("CNI_IFNAME", pod.link).env("CNI_ARGS", pod.args);
        }
        let request = self.request.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(request).stdout(Stdio::piped()).stderr(Stdio::piped());
        // So that whatever it starts ends with it when it takes too long.
        command.process_group(0).current_dir("/");
        command
    }
}

async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
}

/// What comes through a pipe: no more than so many bytes, else an error, or the rest of it is left out.
async fn read(pipe: Option<impl AsyncRead + Unpin>, most: usize, all: bool) -> io::Result<Vec<u8>> {
    let (mut text, mut buffer) = (Vec::new(), vec![0; 8192]);
    let Some(mut pipe) = pipe else { return Ok(text) };
    loop {
        let length = pipe.read(&mut buffer).await?;
        let piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            return Ok(text);
        }
        let room = most.saturating_sub(text.len());
        if all && piece.len() > room {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        text.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }
}

/// A text for a message.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 600;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plugin_folder, request};

    async fn run(script: &str, verb: Verb) -> Result<Value, String> {
        let path = [plugin_folder(&[("p", script)])];
        let parameters = Parameters { container: "c1", netns: "/n", link: "eth0", args: "IgnoreUnknown=1" };
        let path_of: Vec<_> = path.iter().map(|dir| dir.path().to_owned()).collect();
        let call =
            Call { verb, plugin: "p", path: &path_of, parameters: Some(parameters), request: request("{\"a\":1}") };
        call.run().await.map_err(|failure| failure.to_string())
    }

    #[tokio::test]
    async fn a_plugin_gets_its_request_and_the_environment_of_the_specification_and_no_more() {
        let answer = run("env | cut -d= -f1 | sort | tr '\\n' ' ' >&2; cat", Verb::Add).await;
        assert_eq!(answer.unwrap(), serde_json::json!({"a": 1}));
        let told =
            run("env | cut -d= -f1 | grep -v '^_$' | sort | tr '\\n' ' ' >&2; exit 3", Verb::Del).await.unwrap_err();
        let names = "CNI_ARGS CNI_COMMAND CNI_CONTAINERID CNI_IFNAME CNI_NETNS CNI_PATH PATH PWD";
        // A shell adds its directory.
        assert_eq!(told, format!("plugin type=\"p\" failed (delete): netplugin failed: exit status: 3: {names}"));
        let told =
            run("echo $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS >&2; exit 1", Verb::Check).await;
        assert!(told.unwrap_err().ends_with("CHECK c1 /n eth0 IgnoreUnknown=1"));
    }

    #[tokio::test]
    async fn what_a_plugin_refuses_is_told_in_words() {
        let refuse = |body: &str| format!("echo '{body}'; exit 1");
        let cases = [
            (r#"{"code":11,"msg":"busy","details":"soon"}"#, "busy; soon (code 11: try again later)"),
            (r#"{"code":999,"msg":"no IP addresses available"}"#, "no IP addresses available (code 999)"),
            (r#"{"code":7}"#, "it gave no reason (code 7: invalid network config)"),
            ("{}", "netplugin failed: exit status: 1"),
            ("nonsense", "netplugin failed: exit status: 1"),
        ];
        for (body, words) in cases {
            let told = run(&refuse(body), Verb::Add).await.unwrap_err();
            assert_eq!(told, format!("plugin type=\"p\" failed (add): {words}"));
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_or_too_much_is_an_error() {
        assert_eq!(run("true", Verb::Del).await.unwrap(), Value::Null);
        assert!(run("echo '{'", Verb::Add).await.unwrap_err().contains("no result"));
        let much = run("head -c 3000000 /dev/zero", Verb::Add).await.unwrap_err();
        assert!(much.contains("more than 1048576 bytes"), "{much}");
        let words = run("head -c 3000000 /dev/zero | tr '\\0' a >&2; exit 1", Verb::Add).await.unwrap_err();
        assert!(words.len() < 1000 && words.ends_with("..."), "{words}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named_with_where_it_was_looked_for() {
        let path = [PathBuf::from("/nowhere"), PathBuf::from("/never")];
        let call = Call { verb: Verb::Add, plugin: "p", path: &path, parameters: None, request: request("") };
        let told = call.run().await.unwrap_err().to_string();
        assert_eq!(told, "plugin type=\"p\" failed (add): failed to find plugin \"p\" in path [/nowhere /never]");
    }

    #[tokio::test]
    async fn what_a_plugin_leaves_behind_holds_nobody_up() {
        let told = run("echo '{}'; sleep 5 & disown 2>/dev/null || true", Verb::Add).await.unwrap_err();
        assert!(told.contains("holds its output open"), "{told}");
    }
}
