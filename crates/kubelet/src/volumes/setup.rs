//! What is done to a pod's volumes where it may block: making them and taking them down.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Instant;

use super::kind::SetUp;
use super::make_private;
use super::ownership::FsGroup;
use super::payload::Payload;
use super::state::{Record, Records, State};

/// A volume that is to be made.
pub(super) struct Wanted {
    pub(super) record: Record,
    pub(super) payload: Option<Payload>,
}

/// The message of a volume that could not be made.
pub(super) fn set_up_failed(volume: &str, error: &str) -> String {
    format!("MountVolume.SetUp failed for volume {volume:?} : {error}")
}

/// Makes a pod's volumes and answers with their paths. Blocks.
pub(super) fn set_up(
    state: &State,
    uid: &str,
    wanted: BTreeMap<String, Wanted>,
    group: Option<FsGroup>,
) -> Result<HashMap<String, PathBuf>, String> {
    make_private(&state.pod_dir(uid)).map_err(|error| format!("failed to make the pod's directory: {error}"))?;
    let mut records = state.of(uid);
    for (name, one) in &wanted {
        let known = records.get(name).filter(|known| is_at_same_place(known, &one.record));
        if let Some(other) = records.get(name).filter(|_| known.is_none()) {
            // Its claim was given another volume before the first one could be made.
            take_down(state, uid, name, other).map_err(|error| set_up_failed(&other.name, &error.to_string()))?;
        }
        let ready = known.is_some_and(|known| known.ready);
        records.insert(name.clone(), Record { ready, ..one.record.clone() });
    }
    check_places(state, uid, &records)?;
    state.put(uid, &records)?;
    let made = set_up_all(state, uid, &wanted, &records, group);
    // Where one failed, the others are there all the same.
    let saved = if state.of(uid) == records { Ok(()) } else { state.save(uid) };
    made.and_then(|paths| saved.map(|()| paths))
}

fn set_up_all(
    state: &State,
    uid: &str,
    wanted: &BTreeMap<String, Wanted>,
    records: &Records,
    group: Option<FsGroup>,
) -> Result<HashMap<String, PathBuf>, String> {
    let mut paths = HashMap::new();
    for (name, one) in wanted {
        let Some(record) = records.get(name) else { continue };
        let started = Instant::now();
        let made = set_up_one(state, uid, (name, record), one.payload.as_ref(), group);
        state.metrics.stored("volume_mount", record.kind.volume().plugin(), started, made.is_err());
        paths.insert(name.clone(), made.map_err(|error| set_up_failed(&record.name, &error))?);
    }
    Ok(paths)
}

fn is_at_same_place(known: &Record, wanted: &Record) -> bool {
    let plugin = |record: &Record| record.kind.volume().plugin();
    (plugin(known), &known.name) == (plugin(wanted), &wanted.name)
}

/// Refuses two volumes of a pod at one place: one that the pod names itself, and a PersistentVolume of the same name. Only
/// a claim that the pod has twice is twice the same.
fn check_places(state: &State, uid: &str, records: &Records) -> Result<(), String> {
    let mut at: HashMap<PathBuf, (&str, &Record)> = HashMap::new();
    for (name, record) in records.iter().filter(|(_, record)| record.kind.volume().is_in_pods_directory()) {
        let Some((other, found)) = at.insert(state.place(uid, record), (name, record)) else { continue };
        if found.claim != record.claim {
            let both = format!("the pod's volumes {other:?} and {name:?} would have the same path");
            let cure = "give the one that claims nothing another name";
            return Err(set_up_failed(name, &format!("{both}: {cure}")));
        }
    }
    Ok(())
}

fn set_up_one(
    state: &State,
    uid: &str,
    (name, record): (&str, &Record),
    payload: Option<&Payload>,
    group: Option<FsGroup>,
) -> Result<PathBuf, String> {
    let volume = record.kind.volume();
    let staged = state.staged(&record.kind);
    let turn = volume.device().map(|device| state.turn_at(device));
    let _turn = turn.as_ref().map(|turn| turn.lock());
    if turn.is_some() {
        volume.stage(&staged)?;
    }
    // What another pod has already keeps the group that it has. Of two pods that come at once, the first one gives it.
    let is_shared = record.claim.as_ref().is_some_and(|claim| state.is_shared(uid, &claim.volume));
    let request = SetUp {
        staged: &staged,
        first: !record.ready,
        fs_group: group.filter(|_| !is_shared),
        read_only: record.read_only,
        payload,
    };
    let path = volume.set_up(&state.place(uid, record), &request)?;
    state.set_ready(uid, name);
    Ok(path)
}

/// Takes a pod's volumes down, and removes its directory. Blocks.
pub(super) fn tear_down(state: &State, uid: &str) -> std::io::Result<()> {
    let records: Records = state.of(uid);
    let dir = state.pod_dir(uid);
    // What containers were given of the volumes goes before them.
    coracle_runtime::tree::remove(&dir.join("volume-subpaths"))?;
    for (name, record) in &records {
        let started = Instant::now();
        let taken = take_down(state, uid, name, record);
        state.metrics.stored("volume_unmount", record.kind.volume().plugin(), started, taken.is_err());
        taken?;
    }
    coracle_runtime::tree::remove(&dir)?;
    state.forget(uid);
    Ok(())
}

/// Takes one volume down, and what was staged for it if no other pod has it.
fn take_down(state: &State, uid: &str, name: &str, record: &Record) -> std::io::Result<()> {
    let volume = record.kind.volume();
    let place = state.place(uid, record);
    let Some(device) = volume.device() else { return volume.tear_down(&place) };
    let turn = state.turn_at(device);
    let _turn = turn.lock();
    volume.tear_down(&place)?;
    // Of two pods that go at once the second one finds itself alone.
    state.let_go(uid, name);
    if state.is_staged_for_others(uid, &record.kind) {
        return Ok(());
    }
    volume.unstage(&state.staged(&record.kind)).inspect_err(|_| state.take_back(uid, name, record))
}
