//! A disk in memory that can lose unsynced writes and fail on demand.
#![allow(dead_code, missing_docs, reason = "a test helper of which each test file uses a part")]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use coracle_store::disk::{Disk, DiskFile};

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What a power loss leaves: synced bytes under durable names.
    durable: BTreeMap<String, u64>,
    names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Content>,
    next: u64,
    /// Writes, syncs and renames left until the disk fails, with what.
    fuse: Option<(u32, io::ErrorKind)>,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Unsynced writes, in order.
    pending: Vec<(u64, Vec<u8>)>,
}

impl SimDisk {
    /// Operations succeed `after` more times and then fail.
    pub fn fail_after(&self, after: u32, kind: io::ErrorKind) {
        self.0.lock().unwrap().fuse = Some((after, kind));
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().fuse = None;
    }

    /// What a machine finds after the power came back: names as of the last directory sync, and of the
    /// unsynced writes those whose bit is set in `kept`, each cut to a part of its length.
    pub fn after_power_loss(&self, kept: u64, cut: usize) -> SimDisk {
        let state = self.0.lock().unwrap();
        let mut files = BTreeMap::new();
        for (id, content) in &state.files {
            let mut bytes = content.synced.clone();
            for (n, (offset, data)) in content.pending.iter().enumerate() {
                if kept >> (n % 64) & 1 == 1 {
                    let data = &data[..data.len().min(cut)];
                    write(&mut bytes, *offset, data);
                }
            }
            files.insert(*id, Content { now: bytes.clone(), synced: bytes, pending: Vec::new() });
        }
        let names = state.durable.clone();
        SimDisk(Arc::new(Mutex::new(State { durable: names.clone(), names, files, next: state.next, fuse: None })))
    }

    /// What the next process finds after kill -9: everything the kernel was told.
    pub fn after_kill(&self) -> SimDisk {
        let state = self.0.lock().unwrap();
        let (names, files) = (state.names.clone(), state.files.clone());
        SimDisk(Arc::new(Mutex::new(State { durable: names.clone(), names, files, next: state.next, fuse: None })))
    }

    pub fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut state = self.0.lock().unwrap();
        let id = state.names[name];
        let content = state.files.get_mut(&id).unwrap();
        content.now[offset] ^= 1 << bit;
    }

    fn spend(&self) -> io::Result<()> {
        match &mut self.0.lock().unwrap().fuse {
            Some((0, kind)) => Err(io::Error::from(*kind)),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = offset as usize;
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl Disk for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/sim").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let id = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[id].now.clone())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.spend()?;
        let mut state = self.0.lock().unwrap();
        let id = match state.names.get(name) {
            Some(id) => *id,
            None => {
                state.next += 1;
                let id = state.next;
                state.names.insert(name.into(), id);
                state.files.insert(id, Content::default());
                id
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.lock().unwrap();
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.spend()?;
        self.0.lock().unwrap().names.remove(name).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.lock().unwrap();
        state.durable = state.names.clone();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl DiskFile for SimFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let failed = self.disk.spend();
        // A failing write may have written a part.
        let written = if failed.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        let mut state = self.disk.0.lock().unwrap();
        let content = state.files.get_mut(&self.id).unwrap();
        write(&mut content.now, offset, written);
        content.pending.push((offset, written.to_vec()));
        failed
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.spend()?;
        let mut state = self.disk.0.lock().unwrap();
        let content = state.files.get_mut(&self.id).unwrap();
        content.synced = content.now.clone();
        content.pending.clear();
        Ok(())
    }

    fn allocate(&mut self, size: u64) -> io::Result<()> {
        self.disk.spend()?;
        let mut state = self.disk.0.lock().unwrap();
        let content = state.files.get_mut(&self.id).unwrap();
        if content.now.len() < size as usize {
            content.now.resize(size as usize, 0);
        }
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let content = state.files.get_mut(&self.id).unwrap();
        content.now.resize(size as usize, 0);
        content.synced.truncate(size as usize);
        content.pending.retain(|(offset, _)| *offset < size);
        Ok(())
    }
}
