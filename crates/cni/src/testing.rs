//! Plugins for tests: scripts in a folder.

use std::fs::File;
use std::io::{Seek, Write};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder with scripts by name. Another process writes them: a program that one of this process, as another test may just
/// have begun it, has open for writing cannot be run.
pub fn plugin_folder(scripts: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, script) in scripts {
        let mut write = Command::new("sh");
        write.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(dir.path().join(name)).stdin(Stdio::piped());
        let mut writer = write.spawn().unwrap();
        writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }
    dir
}

/// A file with a text, at its beginning.
pub fn request(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}
