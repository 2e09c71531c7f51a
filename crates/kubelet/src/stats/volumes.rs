//! How full pods' volumes are.

use crate::volumes::kind::{Kind, Usage};
use crate::volumes::state::{Claim, Record, State};

/// How full a volume of a pod is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VolumeUsage {
    /// Its name in the pod.
    pub(crate) name: String,
    /// What it is claimed by, if it is.
    pub(crate) claim: Option<Claim>,
    pub(crate) place: Place,
    pub(crate) usage: Usage,
}

/// Where a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the node's own disk; it ends with the pod.
    Ephemeral,
    /// On the node's own disk, in a directory that was made for a claim of so many bytes and outlives the pod.
    Claimed(u64),
    /// In memory, on another disk, or on another machine, which may not answer.
    Elsewhere,
}

impl Place {
    pub(crate) fn of(kind: &Kind) -> Place {
        match kind {
            Kind::Local(local) => local.provisioned().map_or(Place::Elsewhere, |(_, room)| Place::Claimed(room)),
            kind if kind.is_on_nodes_disk() => Place::Ephemeral,
            _ => Place::Elsewhere,
        }
    }

    /// Whether it is on the node's own disk.
    pub(crate) fn is_here(self) -> bool {
        self != Place::Elsewhere
    }
}

/// Whether a pod has a directory that was made for a claim.
pub(crate) fn has_claimed(state: &State, uid: &str) -> bool {
    state.of(uid).values().any(|record| matches!(Place::of(&record.kind), Place::Claimed(_)))
}

/// How full those volumes of a pod are that are on the node's own disk, or those that are not. Blocks, for ever where another
/// machine does not answer.
pub(crate) fn usage(state: &State, uid: &str, here: bool) -> Vec<VolumeUsage> {
    let wanted = |record: &Record| record.ready && Place::of(&record.kind).is_here() == here;
    let records = state.of(uid).into_iter().filter(|(_, record)| wanted(record));
    let used = records.filter_map(|(name, record)| {
        let usage = match &record.kind {
            // Its file system is the node's: what it takes of that is counted.
            Kind::Local(local) if here => Usage::of_directory(local.provisioned()?.0)?,
            kind => kind.volume().usage(&state.place(uid, &record))?,
        };
        Some(VolumeUsage { name, place: Place::of(&record.kind), claim: record.claim, usage })
    });
    used.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_directory_that_was_made_for_a_claim_is_counted_and_what_is_elsewhere_is_not_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pvc-1");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("data"), vec![1; 1 << 20]).unwrap();
        let local = |room: Option<u64>| {
            json!({"name": "pvc-1", "readOnly": false, "ready": true,
                "kind": {"local": {"volume": "pvc-1", "path": dir, "fsType": "", "options": [], "block": false, "room": room}}})
        };
        let pod = root.path().join("pods/u");
        std::fs::create_dir_all(pod.join("volumes/kubernetes.io~local-volume/pvc-1")).unwrap();
        let records = json!({"made": local(Some(1 << 19)), "other": local(None)});
        std::fs::write(pod.join("volumes.json"), records.to_string()).unwrap();
        let state = State::reconstruct(root.path());
        let [made] = usage(&state, "u", true).try_into().unwrap();
        assert_eq!((made.name.as_str(), made.place), ("made", Place::Claimed(1 << 19)));
        assert!((1 << 20..2 << 20).contains(&made.usage.used) && made.usage.inodes_used == 2, "{made:?}");
        let [other] = usage(&state, "u", false).try_into().unwrap();
        assert_eq!((other.name.as_str(), other.place), ("other", Place::Elsewhere));
        assert!(has_claimed(&state, "u") && !has_claimed(&state, "v"));
    }
}
