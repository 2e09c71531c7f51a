//! The program that becomes a shim, in a form that nobody can write to: a process that joins a container has it as its
//! /proc/PID/exe, and who gets hold of that must not be able to exchange what the node runs (CVE-2019-5736).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::shim::mounts;

/// A program to be executed by [`Program::path`].
pub struct Program(OwnedFd);

impl Program {
    /// Takes a program by a read-only mount of its file. Where the file's mount is not of this mount namespace and its
    /// path leads to another file by now, a sealed copy in memory does.
    pub fn seal(path: &Path) -> io::Result<Self> {
        let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let tree = mounts::copy_one(&place).or_else(|_| same_by_path(&place));
        match tree.and_then(|tree| mounts::make_read_only(&tree).map(|()| tree)) {
            Ok(tree) => Ok(Self(tree)),
            Err(_) => copy(path).map(Self),
        }
    }

    /// Where this process, and no other, finds it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// A mount of the path that a file was opened by, if it still is that file.
fn same_by_path(place: &OwnedFd) -> io::Result<OwnedFd> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let found = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let (wanted, got) = (rustix::fs::fstat(place)?, rustix::fs::fstat(&found)?);
    if (wanted.st_dev, wanted.st_ino) != (got.st_dev, got.st_ino) {
        return Err(io::Error::other("the file was exchanged"));
    }
    mounts::copy_one(found)
}

fn copy(path: &Path) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("coracle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    io::copy(&mut File::open(path)?, &mut file)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    // Not the descriptor that may write, which would keep the program from being executed.
    let reader = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(rustix::fs::open(reader, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_copy_in_memory_runs_and_cannot_be_written() {
        let program = Program(copy(Path::new("/bin/true")).unwrap());
        assert!(std::process::Command::new(program.path()).status().unwrap().success());
        let opened = std::fs::OpenOptions::new().write(true).open(program.path());
        assert!(opened.and_then(|mut file| file.write_all(b"x")).is_err());
    }

    #[test]
    fn a_sealed_program_runs_and_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::copy("/bin/true", &path).unwrap();
        let program = Program::seal(&path).unwrap();
        assert!(std::process::Command::new(program.path()).status().unwrap().success());
        let opened = std::fs::OpenOptions::new().write(true).open(program.path());
        assert!(opened.and_then(|mut file| file.write_all(b"x")).is_err());
        assert!(std::fs::OpenOptions::new().write(true).open(&path).is_ok());
    }
}
