//! Attachments as they are written down, before a plugin is asked to make them and until all have taken them back: whatever
//! becomes of the process and of the folder of configurations, DEL is asked as ADD was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_files::{Durability, replace};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{NetworkConfig, is_identifier};

/// How long a plugin that an earlier process began is waited for.
const LEFT: Duration = Duration::from_secs(10);

/// A pod's attachment to a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The sandbox, `CNI_CONTAINERID`.
    pub sandbox: String,
    /// The chain, as it was.
    pub network: NetworkConfig,
    /// Where its programs were.
    pub path: Vec<PathBuf>,
    /// The pod's link.
    pub link: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// Values of capabilities.
    pub capabilities: Map<String, Value>,
    /// What the chain made; none before all of it did.
    pub result: Option<Value>,
    /// The pod's addresses by that.
    pub addresses: Vec<IpAddr>,
}

/// Where they are written down.
#[derive(Clone, Debug)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Makes the directory.
    pub fn open(dir: &Path) -> io::Result<Records> {
        fs::create_dir_all(dir)?;
        Ok(Records { dir: dir.to_owned() })
    }

    fn file(&self, sandbox: &str, kind: &str) -> io::Result<PathBuf> {
        if !is_identifier(sandbox) {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("{sandbox:?} is no ID of a sandbox")));
        }
        Ok(self.dir.join(format!("{sandbox}.{kind}")))
    }

    /// Where the namespace of a sandbox has its path.
    pub fn netns(&self, sandbox: &str) -> io::Result<PathBuf> {
        self.file(sandbox, "netns")
    }

    /// All there are. Those that cannot be read are named in the log, and stay.
    pub fn all(&self) -> io::Result<Vec<Record>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let file = entry?.path();
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read = fs::read(&file).map_err(|error| error.to_string());
            let record = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
            match record {
                Ok(record) => all.push(record),
                Err(error) => tracing::warn!(
                    file = %file.display(),
                    error,
                    "what plugins did for a pod cannot be taken back, as it cannot be read what that was"
                ),
            }
        }
        Ok(all)
    }

    /// Writes one down, for good: what plugins keep, as addresses that they gave, outlives a loss of power as well. Only its
    /// owner reads it, as configurations may have secrets.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        replace(&self.file(&record.sandbox, "json")?, &serde_json::to_vec(record)?, 0o600, Durability::Kept)
    }

    /// Forgets one.
    pub fn remove(&self, sandbox: &str) -> io::Result<()> {
        for kind in ["json", "request"] {
            absent(fs::remove_file(self.file(sandbox, kind)?))?;
        }
        Ok(())
    }

    /// A file with what a plugin is asked about a sandbox. It is locked as long as somebody has it, which the plugin does.
    pub fn request(&self, sandbox: &str, request: &Value) -> io::Result<File> {
        let path = self.file(sandbox, "request")?;
        absent(fs::remove_file(&path))?;
        let file = create(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        filled(file, request)
    }

    /// The plugin has answered.
    pub fn answered(&self, sandbox: &str) -> io::Result<()> {
        absent(fs::remove_file(self.file(sandbox, "request")?))
    }

    /// Waits for a plugin that was asked by an earlier process and has not ended; not for ever.
    pub async fn settled(&self, sandbox: &str) -> io::Result<()> {
        let file = match File::open(self.file(sandbox, "request")?) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let free = async {
            while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(LEFT, free).await.is_err() {
            tracing::warn!(sandbox, "a plugin that was asked before this process began has not ended");
        }
        Ok(())
    }
}

/// A file in memory with what a plugin is asked.
pub fn request(request: &Value) -> io::Result<File> {
    let file = rustix::fs::memfd_create("request", rustix::fs::MemfdFlags::CLOEXEC)?;
    filled(file.into(), request)
}

fn filled(mut file: File, request: &Value) -> io::Result<File> {
    serde_json::to_writer(&mut file, request)?;
    file.rewind()?;
    Ok(file)
}

/// A file that only its owner reads: configurations may have secrets.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;
    use serde_json::json;

    fn record(sandbox: &str) -> Record {
        let network = NetworkConfig {
            name: "n".into(),
            version: Version::V1_0_0,
            disable_check: false,
            disable_gc: true,
            plugins: vec![crate::config::PluginConfig(json!({"type": "p"}).as_object().unwrap().clone())],
        };
        Record {
            sandbox: sandbox.into(),
            network,
            path: vec!["/opt/cni/bin".into()],
            link: "eth0".into(),
            args: "IgnoreUnknown=1".into(),
            capabilities: Map::new(),
            result: Some(json!({"ips": []})),
            addresses: vec!["10.0.0.1".parse().unwrap()],
        }
    }

    #[test]
    fn what_was_written_down_is_there_for_the_next_process_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&dir.path().join("a/b")).unwrap();
        records.save(&record("one")).unwrap();
        records.save(&Record { result: None, ..record("one") }).unwrap();
        fs::write(dir.path().join("a/b/two.json"), "{").unwrap();
        assert_eq!(records.all().unwrap(), [Record { result: None, ..record("one") }]);
        records.remove("one").unwrap();
        records.remove("one").unwrap();
        assert!(records.all().unwrap().is_empty());
        for wrong in ["", "../one", "a/b", ".a"] {
            assert!(records.save(&record(wrong)).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_plugin_of_an_earlier_process_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.settled("one").await.unwrap();
        let mut plugin = std::process::Command::new("sleep");
        let mut plugin = plugin.arg("0.3").stdin(records.request("one", &json!({})).unwrap()).spawn().unwrap();
        records.settled("one").await.unwrap();
        assert!(plugin.try_wait().unwrap().is_some() || plugin.wait().unwrap().success());
        records.answered("one").unwrap();
        assert!(!dir.path().join("one.request").exists());
    }
}
