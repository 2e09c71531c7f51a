//! A disk in memory that loses unsynced writes sector by sector, fails on demand, fills up, and lies.
#![allow(dead_code, missing_docs, reason = "a test helper of which each test file uses a part")]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use coracle_store::disk::{Disk, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Names as of the last directory sync.
    durable: BTreeMap<String, u64>,
    names: BTreeMap<String, u64>,
    /// Names after each change since then, in order.
    journal: Vec<BTreeMap<String, u64>>,
    files: BTreeMap<u64, Content>,
    next: u64,
    fuse: Option<Fuse>,
    /// Bytes that all files together may have.
    capacity: Option<usize>,
    /// The next sync of the directory says it worked and does nothing.
    lies: bool,
    syncs: Gate,
}

struct Fuse {
    after: u32,
    kind: io::ErrorKind,
    once: bool,
}

#[derive(Default, PartialEq)]
enum Gate {
    #[default]
    Open,
    Shut,
    /// Shut, and a sync waits before it.
    Awaited,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Unsynced changes, in order.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// A small generator of choices, so that a failing case comes back by its seed.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}

impl SimDisk {
    /// Operations succeed `after` more times and then fail, until [`SimDisk::heal`].
    pub fn fail_after(&self, after: u32, kind: io::ErrorKind) {
        self.0.state.lock().unwrap().fuse = Some(Fuse { after, kind, once: false });
    }

    /// Operations succeed `after` more times, then one fails.
    pub fn fail_once_after(&self, after: u32, kind: io::ErrorKind) {
        self.0.state.lock().unwrap().fuse = Some(Fuse { after, kind, once: true });
    }

    pub fn heal(&self) {
        self.0.state.lock().unwrap().fuse = None;
    }

    pub fn limit(&self, capacity: Option<usize>) {
        self.0.state.lock().unwrap().capacity = capacity;
    }

    pub fn lie_at_the_next_directory_sync(&self) {
        self.0.state.lock().unwrap().lies = true;
    }

    /// Syncs of files wait until [`SimDisk::let_syncs_go`].
    pub fn hold_syncs(&self) {
        self.0.state.lock().unwrap().syncs = Gate::Shut;
    }

    pub fn wait_for_a_held_sync(&self) {
        let state = self.0.state.lock().unwrap();
        drop(self.0.changed.wait_while(state, |state| state.syncs != Gate::Awaited).unwrap());
    }

    pub fn let_syncs_go(&self) {
        self.0.state.lock().unwrap().syncs = Gate::Open;
        self.0.changed.notify_all();
    }

    /// What a machine finds after the power came back: of the names' changes since the last directory sync some first
    /// ones, and of the unsynced writes any sectors.
    pub fn after_power_loss(&self, seed: u64) -> SimDisk {
        let state = self.0.state.lock().unwrap();
        let mut choices = Choices(seed);
        let mut files = BTreeMap::new();
        for (id, content) in &state.files {
            let mut bytes = content.synced.clone();
            for change in &content.pending {
                match change {
                    Change::Resize(size) if choices.next().is_multiple_of(2) => bytes.resize(*size, 0),
                    Change::Resize(_) => {}
                    Change::Write(offset, data) => keep_some_sectors(&mut bytes, *offset, data, &mut choices),
                }
            }
            files.insert(*id, Content { now: bytes.clone(), synced: bytes, pending: Vec::new() });
        }
        let kept = choices.next() as usize % (state.journal.len() + 1);
        let names = if kept == 0 { &state.durable } else { &state.journal[kept - 1] };
        SimDisk::with(names.clone(), files, state.next)
    }

    /// What the next process finds after kill -9: everything the kernel was told.
    pub fn after_kill(&self) -> SimDisk {
        let state = self.0.state.lock().unwrap();
        SimDisk::with(state.names.clone(), state.files.clone(), state.next)
    }

    fn with(names: BTreeMap<String, u64>, files: BTreeMap<u64, Content>, next: u64) -> SimDisk {
        let state = State { durable: names.clone(), names, files, next, ..State::default() };
        SimDisk(Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new() }))
    }

    pub fn names(&self) -> Vec<String> {
        self.0.state.lock().unwrap().names.keys().cloned().collect()
    }

    /// Changes a file behind everybody's back.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.state.lock().unwrap();
        let id = state.names[name];
        change(&mut state.files.get_mut(&id).unwrap().now);
    }

    /// Loses a file.
    pub fn lose(&self, name: &str) {
        self.0.state.lock().unwrap().names.remove(name).unwrap();
    }

    fn spend(&self) -> io::Result<()> {
        self.spend_on(false)
    }

    /// A full disk fails only what needs space.
    fn spend_on(&self, needs_space: bool) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        match &mut state.fuse {
            Some(Fuse { kind: io::ErrorKind::StorageFull, .. }) if !needs_space => Ok(()),
            Some(Fuse { after: 0, kind, once }) => {
                let error = io::Error::from(*kind);
                if *once {
                    state.fuse = None;
                }
                Err(error)
            }
            Some(fuse) => {
                fuse.after -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Makes a change of a file's content, as far as there is space.
    fn change(&self, id: u64, change: Change) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        let used: usize = state.files.iter().filter(|(other, _)| **other != id).map(|(_, file)| file.now.len()).sum();
        let needed = match &change {
            Change::Write(offset, data) => state.files[&id].now.len().max(offset + data.len()),
            Change::Resize(size) => *size,
        };
        if state.capacity.is_some_and(|capacity| used + needed > capacity && needed > state.files[&id].now.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = state.files.get_mut(&id).unwrap();
        match &change {
            Change::Write(offset, data) => write(&mut content.now, *offset, data),
            Change::Resize(size) => content.now.resize(*size, 0),
        }
        content.pending.push(change);
        Ok(())
    }

    fn rename_all(&self, change: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.state.lock().unwrap();
        change(&mut state)?;
        let names = state.names.clone();
        state.journal.push(names);
        Ok(())
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

fn keep_some_sectors(bytes: &mut Vec<u8>, offset: usize, data: &[u8], choices: &mut Choices) {
    let mut at = 0;
    while at < data.len() {
        let end = data.len().min(at + SECTOR - (offset + at) % SECTOR);
        if choices.next().is_multiple_of(2) {
            write(bytes, offset + at, &data[at..end]);
        }
        at = end;
    }
}

impl Disk for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/sim").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.0.state.lock().unwrap();
        let id = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[id].now.clone())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.rename_all(|state| {
            if !state.names.contains_key(name) {
                state.next += 1;
                state.names.insert(name.into(), state.next);
                state.files.insert(state.next, Content::default());
            }
            Ok(())
        })?;
        let id = self.0.state.lock().unwrap().names[name];
        Ok(Box::new(SimFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_all(|state| {
            let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.into(), id);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.rename_all(|state| {
            let id = state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            // Its space is free; a power loss may still bring the name back, and then what was synced.
            state.files.get_mut(&id).unwrap().now.clear();
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.state.lock().unwrap();
        if !std::mem::take(&mut state.lies) {
            state.durable = state.names.clone();
            state.journal.clear();
        }
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl DiskFile for SimFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let failed = self.disk.spend_on(true);
        // A failing write may have written a part.
        let written = if failed.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        self.disk.change(self.id, Change::Write(offset as usize, written.to_vec())).and(failed)
    }

    fn sync(&mut self) -> io::Result<()> {
        let inner = &self.disk.0;
        let mut state = inner.state.lock().unwrap();
        if state.syncs == Gate::Shut {
            state.syncs = Gate::Awaited;
            inner.changed.notify_all();
        }
        drop(inner.changed.wait_while(state, |state| state.syncs == Gate::Awaited).unwrap());
        let failed = self.disk.spend();
        let mut state = inner.state.lock().unwrap();
        let content = state.files.get_mut(&self.id).unwrap();
        if failed.is_err() {
            // The kernel tells an error once, and takes the pages for clean from then on.
            content.pending.clear();
        } else {
            content.synced = content.now.clone();
            content.pending.clear();
        }
        failed
    }

    fn allocate(&mut self, size: u64) -> io::Result<()> {
        self.disk.spend_on(true)?;
        let length = self.disk.0.state.lock().unwrap().files[&self.id].now.len();
        if length < size as usize { self.disk.change(self.id, Change::Resize(size as usize)) } else { Ok(()) }
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.disk.spend()?;
        self.disk.change(self.id, Change::Resize(size as usize))
    }
}
