//! `hostPath` volumes: a path of the node, checked or made as its type says.

use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;
use serde::{Deserialize, Serialize};

use super::kind::{SetUp, Volume};
use super::make_open;

/// A path of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostPath {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl From<&HostPathVolumeSource> for HostPath {
    fn from(source: &HostPathVolumeSource) -> HostPath {
        HostPath { path: source.path.clone(), kind: source.type_.clone().unwrap_or_default() }
    }
}

impl Volume for HostPath {
    fn plugin(&self) -> &'static str {
        "host-path"
    }

    fn is_in_pods_directory(&self) -> bool {
        false
    }

    fn set_up(&self, _at: &Path, _request: &SetUp<'_>) -> Result<PathBuf, String> {
        check(self)
    }
}

/// Checks the type and makes what `...OrCreate` asks for.
fn check(source: &HostPath) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let kind = source.kind.as_str();
    if source.path.split('/').any(|part| part == "..") || !path.is_absolute() {
        return Err(format!("hostPath {:?} must be absolute and must not contain '..'", source.path));
    }
    let make = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(format!("hostPath type check failed: {} cannot be created: {error}", source.path))
        }
        _ => Ok(()),
    };
    match kind {
        "DirectoryOrCreate" if !path.exists() => make(make_open(&path))?,
        "FileOrCreate" if !path.exists() => {
            make(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path).map(drop))?;
        }
        // Without a type a missing path becomes a directory, as container runtimes do.
        "" if !path.exists() => make(make_open(&path))?,
        _ => {}
    }
    if kind.is_empty() {
        return Ok(path);
    }
    let meta = std::fs::metadata(&path).ok();
    let meta = meta.as_ref();
    let (fits, name) = match kind {
        "Directory" | "DirectoryOrCreate" => (meta.is_some_and(|m| m.is_dir()), "directory"),
        "File" | "FileOrCreate" => (meta.is_some_and(|m| m.is_file()), "file"),
        "Socket" => (meta.is_some_and(|m| m.file_type().is_socket()), "socket file"),
        "CharDevice" => (meta.is_some_and(|m| m.file_type().is_char_device()), "character device"),
        "BlockDevice" => (meta.is_some_and(|m| m.file_type().is_block_device()), "block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if fits { Ok(path) } else { Err(format!("hostPath type check failed: {} is not a {name}", source.path)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_checked_or_made() {
        let dir = tempfile::tempdir().unwrap();
        let source = |name: &str, kind: &str| HostPath {
            path: dir.path().join(name).to_string_lossy().into_owned(),
            kind: kind.into(),
        };
        assert!(check(&source("d", "Directory")).unwrap_err().ends_with("is not a directory"));
        assert!(check(&source("d", "DirectoryOrCreate")).unwrap().is_dir());
        assert!(check(&source("f", "FileOrCreate")).unwrap().is_file());
        assert!(check(&source("f", "Directory")).is_err());
        assert!(check(&source("f", "Socket")).unwrap_err().ends_with("is not a socket file"));
        assert!(check(&source("../x", "")).is_err());
    }
}
