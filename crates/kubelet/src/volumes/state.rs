//! What the node has of its pods' volumes, on disk beside them: whoever comes next takes down what was made, though the
//! pod's object is gone and the daemon that made it too.
//!
//! A record is written before anything is made, and says that a volume is whole only once it was. Each pod's are one file
//! in the pod's directory, which no container sees.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_files::{Durability, replace};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use crate::metrics::Shared;

/// The file of a pod's records.
const FILE: &str = "volumes.json";

/// One volume of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The last part of its path: the volume's name in the pod, or the PersistentVolume's.
    pub(crate) name: String,
    pub(crate) read_only: bool,
    /// What it is claimed by, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<Claim>,
    /// All of it was made.
    #[serde(default)]
    pub(crate) ready: bool,
}

impl Record {
    /// Of a volume that a pod names itself.
    pub(crate) fn new(kind: Kind, name: &str) -> Record {
        Record { kind, name: name.to_owned(), read_only: false, claim: None, ready: false }
    }
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claim {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The PersistentVolume.
    pub(crate) volume: String,
    /// `ReadWriteOncePod`.
    pub(crate) exclusive: bool,
}

/// A pod's volumes by their names in the pod.
pub(crate) type Records = BTreeMap<String, Record>;

/// The volumes of all pods of the node.
pub(crate) struct State {
    root: PathBuf,
    pods: Mutex<HashMap<String, Records>>,
    /// One set-up or tear-down a pod at a time; those that somebody has or waits for.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// One pod at a time sets up or tears down what pods of the node share: the last and the first must not meet.
    shared: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    pub(super) metrics: Shared,
}

impl State {
    /// Finds what an earlier daemon left below the kubelet's directory. Blocks.
    pub(crate) fn reconstruct(root: &Path) -> State {
        let entries = std::fs::read_dir(root.join("pods")).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let records = read(&entry.path().join(FILE))?;
            Some((entry.file_name().into_string().ok()?, records))
        });
        let pods = Mutex::new(found.collect());
        State {
            root: root.to_owned(),
            pods,
            turns: Mutex::default(),
            shared: Mutex::default(),
            metrics: Shared::default(),
        }
    }

    /// What is done is counted there.
    pub(crate) fn counted_by(self, metrics: Shared) -> State {
        State { metrics, ..self }
    }

    /// How many volumes there are of each plugin, and how many of them are whole.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, (usize, usize)> {
        let mut counts: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
        for record in self.pods.lock().values().flat_map(Records::values) {
            let (wanted, ready) = counts.entry(record.kind.volume().plugin()).or_default();
            *wanted = wanted.saturating_add(1);
            *ready = ready.saturating_add(usize::from(record.ready));
        }
        counts
    }

    /// The directory of a pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// UIDs of pods that have a directory. Blocks.
    pub(crate) fn known_pods(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join("pods")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Where a volume of a pod is.
    pub(crate) fn place(&self, uid: &str, record: &Record) -> PathBuf {
        let plugin = record.kind.volume().plugin();
        self.pod_dir(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(&record.name)
    }

    /// Where a volume is staged for all pods.
    pub(crate) fn staged(&self, kind: &Kind) -> PathBuf {
        let volume = kind.volume();
        let plugin = format!("kubernetes.io/{}", volume.plugin());
        self.root.join("plugins").join(plugin).join("mounts").join(volume.device().unwrap_or("none"))
    }

    /// A pod's volumes.
    pub(crate) fn of(&self, uid: &str) -> Records {
        self.pods.lock().get(uid).cloned().unwrap_or_default()
    }

    /// One volume of a pod.
    pub(crate) fn get(&self, uid: &str, volume: &str) -> Option<Record> {
        self.pods.lock().get(uid)?.get(volume).cloned()
    }

    /// Waits until nobody else sets up or tears down a pod's volumes.
    pub(crate) async fn turn(self: &Arc<Self>, uid: &str) -> Turn {
        let mutex = self.turns.lock().entry(uid.to_owned()).or_default().clone();
        let mut turn = Turn { state: self.clone(), uid: uid.to_owned(), held: None };
        turn.held = Some(mutex.lock_owned().await);
        turn
    }

    /// Who may set up or tear down what pods share of the volume now; nobody waits for another volume's.
    pub(super) fn turn_at(&self, device: &str) -> Arc<Mutex<()>> {
        let mut shared = self.shared.lock();
        shared.retain(|_, turn| Arc::strong_count(turn) > 1);
        shared.entry(device.to_owned()).or_default().clone()
    }

    /// Takes note of a pod's volumes before they are made. Blocks.
    ///
    /// # Errors
    /// When another pod has one that is only for one, or the disk refuses.
    pub(crate) fn put(&self, uid: &str, records: &Records) -> Result<(), String> {
        let before = {
            let mut pods = self.pods.lock();
            if pods.get(uid) == Some(records) {
                return Ok(());
            }
            let exclusive = records
                .values()
                .filter_map(|record| record.claim.as_ref())
                .find(|claim| claim.exclusive && others(&pods, uid).any(|other| is_of(other, &claim.volume)));
            if exclusive.is_some() {
                return Err("volume uses the ReadWriteOncePod access mode and is already in use by another pod".into());
            }
            pods.insert(uid.to_owned(), records.clone())
        };
        // What the disk does not have is not known, and written at the next try.
        self.write(uid, records).inspect_err(|_| {
            let mut pods = self.pods.lock();
            match before {
                Some(before) => pods.insert(uid.to_owned(), before),
                None => pods.remove(uid),
            };
        })
    }

    /// All of a volume was made: other pods see that at once, the disk has it with [`State::save`].
    pub(super) fn set_ready(&self, uid: &str, volume: &str) {
        if let Some(record) = self.pods.lock().get_mut(uid).and_then(|records| records.get_mut(volume)) {
            record.ready = true;
        }
    }

    /// Writes down which of a pod's volumes are whole. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn save(&self, uid: &str) -> Result<(), String> {
        self.write(uid, &self.of(uid))
    }

    fn write(&self, uid: &str, records: &Records) -> Result<(), String> {
        let file = self.pod_dir(uid).join(FILE);
        write(&file, records).map_err(|error| format!("failed to write {}: {error}", file.display()))
    }

    /// Whether another pod has all of a PersistentVolume: one that only wants it has nothing of it yet.
    pub(super) fn is_shared(&self, uid: &str, volume: &str) -> bool {
        others(&self.pods.lock(), uid).any(|record| record.ready && is_of(record, volume))
    }

    /// Whether another pod than `uid` has what is staged.
    pub(crate) fn is_staged_for_others(&self, uid: &str, kind: &Kind) -> bool {
        let same = |other: &Record| {
            let (this, other) = (kind.volume(), other.kind.volume());
            (this.plugin(), this.device()) == (other.plugin(), other.device())
        };
        others(&self.pods.lock(), uid).any(same)
    }

    /// One volume of a pod does not count any more. On the disk it does, until all of the pod is gone.
    pub(crate) fn let_go(&self, uid: &str, volume: &str) {
        if let Some(records) = self.pods.lock().get_mut(uid) {
            records.remove(volume);
        }
    }

    /// It counts after all.
    pub(crate) fn take_back(&self, uid: &str, volume: &str, record: &Record) {
        self.pods.lock().entry(uid.to_owned()).or_default().insert(volume.to_owned(), record.clone());
    }

    /// Forgets a pod that has no volume any more.
    pub(crate) fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }
}

/// Who has it may set up or tear down a pod's volumes.
pub(crate) struct Turn {
    state: Arc<State>,
    uid: String,
    held: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.state.turns.lock();
        if turns.get(&self.uid).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.uid);
        }
    }
}

fn others<'a>(pods: &'a HashMap<String, Records>, uid: &'a str) -> impl Iterator<Item = &'a Record> {
    pods.iter().filter(move |(known, _)| *known != uid).flat_map(|(_, records)| records.values())
}

fn is_of(record: &Record, volume: &str) -> bool {
    record.claim.as_ref().is_some_and(|claim| claim.volume == volume)
}

fn read(file: &Path) -> Option<Records> {
    let text = match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        other => other,
    };
    let read = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
    read.inspect_err(|error| tracing::error!(file = %file.display(), %error, "a pod's volumes are not known")).ok()
}

/// No fsync: after a power loss nothing of it is mounted any more.
fn write(file: &Path, records: &Records) -> io::Result<()> {
    replace(file, &serde_json::to_vec(records)?, 0o600, Durability::Process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::files::Files;

    fn record(volume: &str, exclusive: bool) -> Records {
        let claim = Claim { namespace: "n".into(), name: "c".into(), volume: volume.into(), exclusive };
        let kind = Kind::Files(Files::Secret);
        let record = Record { kind, name: volume.into(), read_only: false, claim: Some(claim), ready: false };
        Records::from([("v".to_owned(), record)])
    }

    #[test]
    fn what_one_daemon_noted_the_next_one_knows() {
        let root = tempfile::tempdir().unwrap();
        let state = State::reconstruct(root.path());
        for uid in ["a", "b", "c"] {
            std::fs::create_dir_all(state.pod_dir(uid)).unwrap();
        }
        state.put("a", &record("pv", false)).unwrap();
        std::fs::write(state.pod_dir("b").join(FILE), "{broken").unwrap();
        let next = State::reconstruct(root.path());
        assert_eq!(next.of("a"), record("pv", false));
        assert!(next.of("b").is_empty() && next.of("c").is_empty());
        assert!(!next.is_shared("b", "pv"));
        next.set_ready("a", "v");
        next.save("a").unwrap();
        let last = State::reconstruct(root.path());
        assert!(last.is_shared("b", "pv") && !last.is_shared("a", "pv") && !last.is_shared("b", "other"));
    }

    #[test]
    fn what_the_disk_refused_is_written_at_the_next_try() {
        let root = tempfile::tempdir().unwrap();
        let state = State::reconstruct(root.path());
        state.put("a", &record("pv", false)).unwrap_err();
        std::fs::create_dir_all(state.pod_dir("a")).unwrap();
        state.put("a", &record("pv", false)).unwrap();
        assert_eq!(State::reconstruct(root.path()).of("a"), record("pv", false));
    }

    #[tokio::test]
    async fn turns_are_taken_and_nothing_of_them_stays() {
        let root = tempfile::tempdir().unwrap();
        let state = Arc::new(State::reconstruct(root.path()));
        let first = state.turn("a").await;
        let other = state.turn("b").await;
        let mut second = Box::pin(state.turn("a"));
        let mut gives_up = Box::pin(state.turn("a"));
        assert!(futures::poll!(&mut second).is_pending() && futures::poll!(&mut gives_up).is_pending());
        drop((first, other));
        let second = second.await;
        assert_eq!(state.turns.lock().keys().collect::<Vec<_>>(), ["a"]);
        drop(second);
        drop(gives_up);
        assert!(state.turns.lock().is_empty());
    }

    #[test]
    fn a_volume_for_one_pod_has_one_pod() {
        let root = tempfile::tempdir().unwrap();
        let state = State::reconstruct(root.path());
        for uid in ["a", "b"] {
            std::fs::create_dir_all(state.pod_dir(uid)).unwrap();
        }
        state.put("a", &record("pv", true)).unwrap();
        state.put("a", &record("pv", true)).unwrap();
        let refused = state.put("b", &record("pv", true)).unwrap_err();
        assert!(refused.contains("ReadWriteOncePod"), "{refused}");
        state.forget("a");
        state.put("b", &record("pv", true)).unwrap();
    }
}
