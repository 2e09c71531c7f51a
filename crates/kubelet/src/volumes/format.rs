//! File systems on block devices: which one a device has, and making one where there is nothing.
//!
//! Making one takes a program. This node's `mkfs.TYPE` is used if it has one; without it, a device has to come with a file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs of that kind are.
const PROGRAMS: [&str; 5] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// What is made where nobody says what.
const USUAL: &str = "ext4";
/// How much of a device has to be empty at its beginning and at its end: partition tables, headers of volume groups and of
/// arrays, and first blocks of any file system are there.
const EDGE: u64 = 2 << 20;
/// How much of what a program says is told.
const MOST_SAID: usize = 500;

/// Where each file system says that it is one, and by what.
const MAGIC: [(&str, u64, &[u8]); 3] =
    [("ext4", 1024 + 56, &[0x53, 0xef]), ("xfs", 0, b"XFSB"), ("btrfs", 0x1_0040, b"_BHRfS_M")];

/// The kind of the file system that a device has.
pub(super) fn file_system(device: &Path) -> io::Result<Option<&'static str>> {
    let file = File::open(device)?;
    let is_there = |at: u64, magic: &[u8]| {
        let mut found = vec![0; magic.len()];
        file.read_exact_at(&mut found, at).is_ok() && found == magic
    };
    Ok(MAGIC.iter().find(|(_, at, magic)| is_there(*at, magic)).map(|(name, ..)| *name))
}

/// Makes a file system on a device that has nothing on it, as upstream's kubelet does: of the kind that is wanted, or `ext4`.
/// Answers with the kind.
///
/// # Errors
/// With what the `FailedMount` event says: something may be on the device, or the node has no program that makes one.
pub(super) fn make_file_system(device: &Path, wanted: &str, read_only: bool) -> Result<String, String> {
    let shown = device.display();
    let kind = if wanted.is_empty() { USUAL } else { wanted };
    if read_only {
        return Err(format!("{shown} has no file system, and none is made on one that is only read"));
    }
    match is_blank(device) {
        Ok(true) => {}
        Ok(false) => {
            return Err(format!("{shown} has no file system that is known, and is not empty: none is made on it"));
        }
        Err(error) => return Err(format!("failed to read {shown}: {error}")),
    }
    let Some(program) = program(kind) else {
        return Err(format!(
            "{shown} is empty, and this node has no program mkfs.{kind}: install it, or make a file system on the device"
        ));
    };
    let options: &[&str] = if kind.starts_with("ext") { &["-F", "-m0"] } else { &[] };
    tracing::info!(device = %shown, kind, "making a file system");
    let output = Command::new(&program).args(options).arg(device).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("failed to run {}: {error}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(MOST_SAID).collect();
        return Err(format!("failed to make a file system {kind} on {shown}: {}: {said}", output.status));
    }
    Ok(kind.to_owned())
}

/// The program that makes file systems of a kind. What is no plain name is none.
fn program(kind: &str) -> Option<PathBuf> {
    let is_name = !kind.is_empty() && kind.chars().all(|letter| letter.is_ascii_alphanumeric());
    let mut paths = PROGRAMS.iter().map(|dir| Path::new(dir).join(format!("mkfs.{kind}")));
    paths.find(|path| is_name && path.is_file())
}

/// Whether a device has nothing at its edges.
pub(super) fn is_blank(device: &Path) -> io::Result<bool> {
    let mut file = File::open(device)?;
    let size = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
    let mut block = vec![0; 64 << 10];
    for start in [0, size.saturating_sub(EDGE)] {
        let mut at = start;
        while at < size.min(start.saturating_add(EDGE)) {
            let read = file.read_at(&mut block, at)?;
            if read == 0 {
                break;
            }
            if block.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(read as u64);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_system_is_known_by_its_magic() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("device");
        for (name, at, magic) in MAGIC {
            let file = File::create(&device).unwrap();
            file.write_all_at(magic, at).unwrap();
            assert_eq!(file_system(&device).unwrap(), Some(name));
            assert!(!is_blank(&device).unwrap());
        }
        fs::write(&device, "nothing").unwrap();
        assert_eq!(file_system(&device).unwrap(), None);
    }

    #[test]
    fn nothing_is_made_where_there_may_be_something() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("device");
        let file = File::create(&device).unwrap();
        file.set_len(16 << 20).unwrap();
        assert!(is_blank(&device).unwrap());
        let error = |kind: &str, read_only| make_file_system(&device, kind, read_only).unwrap_err();
        assert!(error("ext4", true).contains("only read"));
        assert!(error("nosuch", false).contains("no program mkfs.nosuch: install it"), "{}", error("nosuch", false));
        assert!(error("../bin/ls", false).contains("no program"));
        for at in [0, 4096, (16 << 20) - 1] {
            file.write_all_at(b"x", at).unwrap();
            assert!(error("ext4", false).ends_with("is not empty: none is made on it"), "{at}");
            file.write_all_at(b"\0", at).unwrap();
        }
        assert!(is_blank(&device).unwrap());
    }
}
