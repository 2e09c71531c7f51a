//! Writes a set of files so that readers see either all old or all new ones.
//!
//! Files live in a directory with a time in its name; the link `..data` leads to it and is swapped by rename;
//! what users see are links through `..data`. The layout is upstream's, since applications watch for it.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path};

use super::make_open;
use super::payload::Payload;

const DATA: &str = "..data";
const DATA_TMP: &str = "..data_tmp";

/// Whether files were written below `dir` before.
pub(super) fn is_written(dir: &Path) -> bool {
    dir.join(DATA).is_symlink()
}

/// Writes `payload` below `dir`, unless it is there already.
pub(super) fn write(dir: &Path, payload: &Payload, fs_group: Option<i64>) -> Result<()> {
    for path in payload.keys() {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !plain || path.starts_with("..") {
            return Err(Error::new(ErrorKind::InvalidInput, format!("invalid path {path:?} in a volume")));
        }
    }
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
    let old = std::fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && same(&dir.join(old), payload)
    {
        return Ok(());
    }
    let name = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let fresh = dir.join(&name);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            make_open(parent)?;
        }
        std::fs::write(&target, &file.data)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(file.mode))?;
        if file.uid.is_some() {
            std::os::unix::fs::chown(&target, file.uid, None)?;
        }
    }
    if let Some(group) = fs_group {
        own_tree(&fresh, group)?;
    }
    let tmp = dir.join(DATA_TMP);
    match std::fs::remove_file(&tmp) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&name, &tmp)?;
    std::fs::rename(&tmp, dir.join(DATA))?;
    let visible: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in &visible {
        match symlink(Path::new(DATA).join(entry), dir.join(entry)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let text = file_name.to_string_lossy();
        if text.starts_with("..") {
            if text != DATA && text != name.as_str() {
                coracle_runtime::tree::remove(&entry.path())?;
            }
        } else if !visible.contains(text.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a directory holds exactly these files with these modes.
fn same(dir: &Path, payload: &Payload) -> bool {
    fn files(dir: &Path) -> Result<usize> {
        std::fs::read_dir(dir)?.try_fold(0, |count, entry| {
            let entry = entry?;
            Ok(count + if entry.file_type()?.is_dir() { files(&entry.path())? } else { 1 })
        })
    }
    files(dir).is_ok_and(|count| count == payload.len())
        && payload.iter().all(|(path, file)| std::fs::read(dir.join(path)).is_ok_and(|data| data == file.data))
}

fn own_tree(path: &Path, group: i64) -> Result<()> {
    own_by_group(path, group, true)?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            own_tree(&entry?.path(), group)?;
        }
    }
    Ok(())
}

/// Gives a file or directory to the pod's group, as `fsGroup` asks.
fn own_by_group(path: &Path, group: i64, read_only: bool) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    std::os::unix::fs::lchown(path, None, Some(group as u32))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut add = if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        add |= 0o2110;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(meta.mode() & 0o7777 | add))
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.into(), mode: 0o640, uid: None };
        files.iter().map(|(path, data)| (path.to_string(), file(data))).collect()
    }

    #[test]
    fn an_update_swaps_all_files_and_removes_old_ones() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("v");
        write(&dir, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("d/b")).unwrap(), "2");
        let first = std::fs::read_link(dir.join(DATA)).unwrap();
        write(&dir, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_link(dir.join(DATA)).unwrap(), first, "nothing changed");
        write(&dir, &payload(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("d").exists() && dir.join("c").exists());
        assert!(!dir.join(first).exists());
        assert!(write(&dir, &payload(&[("../x", "")]), None).is_err());
    }
}
