//! `coracle logs`: what the server of a local cluster wrote.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::args::Logs;
use crate::cluster::{Cluster, Kind};
use crate::output;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Prints the log, and with `follow` what comes.
pub fn logs(options: &Logs) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    if cluster.kind != Kind::Local {
        bail!("what runs on the host writes to its standard error: look where `{}` was started", cluster.kind.starts());
    }
    let name = options.node.clone().unwrap_or_else(|| cluster.node_name().to_owned());
    let node = cluster.all_nodes().into_iter().find(|node| node.name() == name);
    let path = node.with_context(|| format!("there is no node {name:?}; `coracle node ls` lists them"))?.log();
    let mut file = open(&path)?;
    let mut out = std::io::stdout().lock();
    let result = print(&mut file, options.tail, &mut out).and_then(|()| match options.follow {
        true => follow(&path, file, &mut out),
        false => Ok(()),
    });
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => output::failed(&error),
        other => other.with_context(|| format!("failed to read {}", path.display())),
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("failed to open {}", path.display()))
}

fn print(file: &mut File, tail: Option<usize>, out: &mut impl Write) -> std::io::Result<()> {
    let Some(tail) = tail else {
        std::io::copy(file, out)?;
        return out.flush();
    };
    let mut last = VecDeque::new();
    let mut reader = BufReader::new(&*file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        last.push_back(std::mem::take(&mut line));
        if last.len() > tail {
            last.pop_front();
        }
    }
    last.iter().try_for_each(|line| out.write_all(line))?;
    out.flush()
}

/// The log gets another file when it has become long, and is cut by nobody.
fn follow(path: &Path, mut file: File, out: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut buffer)?;
        if length > 0 {
            out.write_all(&buffer[..length])?;
            out.flush()?;
            continue;
        }
        if let Ok(next) = File::open(path)
            && next.metadata()?.ino() != file.metadata()?.ino()
        {
            file = next;
            file.seek(SeekFrom::Start(0))?;
            continue;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "a\nb\nc\nd").unwrap();
        for (tail, expected) in [(None, "a\nb\nc\nd"), (Some(2), "c\nd"), (Some(0), ""), (Some(9), "a\nb\nc\nd")] {
            let mut out = Vec::new();
            print(&mut open(&path).unwrap(), tail, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
