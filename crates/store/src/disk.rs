//! The few file operations that the engine needs, so that tests can put a failing disk under it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file of the engine.
pub trait DiskFile: Send {
    /// Writes all bytes at an offset.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once everything written is durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Reserves space that reads as zeros. Unsupported is not an error.
    fn allocate(&mut self, size: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn truncate(&mut self, size: u64) -> io::Result<()>;
}

/// A directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Where it is, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A whole file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Opens a file for writing, making it when it does not exist.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns once names made, changed and removed are durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// A directory of the file system, locked while it is open.
pub struct FsDisk {
    dir: PathBuf,
    _lock: Option<File>,
}

impl FsDisk {
    /// Opens a directory, making it when it does not exist; `WouldBlock` when another process has it.
    pub fn open(dir: &Path) -> io::Result<FsDisk> {
        std::fs::create_dir_all(dir)?;
        // The directory's own name must be durable, too.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(FsDisk { dir: dir.to_owned(), _lock: Some(lock) })
    }

    /// Opens a directory to read it, and makes nothing there; `WouldBlock` when another process has it.
    pub fn open_to_read(dir: &Path) -> io::Result<FsDisk> {
        std::fs::read_dir(dir)?;
        let lock = match File::open(dir.join("lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            lock => Some(lock?),
        };
        if let Some(lock) = &lock {
            rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        }
        Ok(FsDisk { dir: dir.to_owned(), _lock: lock })
    }
}

impl Disk for FsDisk {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.dir.join(name))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.dir.join(name))?;
        Ok(Box::new(FsFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    /// Frees a large file in steps: unlinking 128 MiB at once stalls syncs of other files for 30 ms.
    fn remove(&self, name: &str) -> io::Result<()> {
        const STEP: u64 = 4 << 20;
        let path = self.dir.join(name);
        let file = OpenOptions::new().write(true).open(&path)?;
        let mut size = file.metadata()?.len();
        while size > STEP {
            size -= STEP;
            file.set_len(size)?;
        }
        std::fs::remove_file(path)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

struct FsFile(File);

impl DiskFile for FsFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&mut self, size: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, size) {
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}
