//! `coracle image`: images of a cluster.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use coracle_runtime::cri;
use hyper::Method;
use rustix::fs::{Mode, OFlags};

use crate::args::{Format, Image, ImageCommand};
use crate::cluster::Cluster;
use crate::control::{Outgoing, call};
use crate::local_node::LocalNode;

/// Runs a subcommand against the daemons of all nodes that run.
pub fn run(options: &Image) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    let first = cluster.control_socket();
    let nodes = cluster.all_nodes();
    let running = nodes.iter().filter(|node| node.is_first() || node.process().is_some());
    let sockets: Vec<PathBuf> = running.map(LocalNode::control_socket).collect();
    match &options.command {
        ImageCommand::Load { file } => load(&sockets, file),
        ImageCommand::Pull { image } => {
            let pull =
                |socket: &PathBuf| call::<String>(socket, Method::POST, "/images/pull", Outgoing::Text(image.clone()));
            let id = on_all(&sockets, pull)?;
            println!("{image} is {id}");
            Ok(())
        }
        ImageCommand::Ls { output } => list(&first, *output),
        ImageCommand::Rm { images } => {
            for image in images {
                let remove = |socket: &PathBuf| {
                    call::<()>(socket, Method::POST, "/images/remove", Outgoing::Text(image.clone()))
                };
                let results: Vec<Result<()>> = sockets.iter().map(remove).collect();
                // A node may never have had it.
                if results.iter().all(Result::is_err) {
                    results.into_iter().collect::<Result<()>>()?;
                }
                println!("Removed {image}");
            }
            Ok(())
        }
    }
}

/// Does something on all nodes at once; answers what the first one said.
fn on_all<T: Send>(sockets: &[PathBuf], work: impl Fn(&PathBuf) -> Result<T> + Sync) -> Result<T> {
    let results: Vec<Result<T>> = std::thread::scope(|scope| {
        let threads: Vec<_> = sockets.iter().map(|socket| scope.spawn(|| work(socket))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let answers = results.into_iter().collect::<Result<Vec<T>>>()?;
    answers.into_iter().next().context("the cluster has no nodes")
}

fn load(sockets: &[PathBuf], file: &Path) -> Result<()> {
    // What comes once is kept, if several want it.
    let kept = match (file == Path::new("-"), sockets.len()) {
        (true, 2..) => Some(keep_standard_input()?),
        _ => None,
    };
    let read = |socket: &PathBuf| {
        let reader: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>> = match &kept {
            Some(kept) => {
                Box::pin(tokio::fs::File::from_std(open(Path::new(&format!("/proc/self/fd/{}", kept.as_raw_fd())))?))
            }
            None if file == Path::new("-") => Box::pin(tokio::io::stdin()),
            None => Box::pin(tokio::fs::File::from_std(open(file)?)),
        };
        call::<Vec<String>>(socket, Method::POST, "/images/load", Outgoing::Reader(reader))
    };
    for name in on_all(sockets, read)? {
        println!("Loaded {name}");
    }
    Ok(())
}

fn open(file: &Path) -> Result<std::fs::File> {
    std::fs::File::open(file).with_context(|| format!("failed to open {}", file.display()))
}

/// Standard input as a file without a name.
fn keep_standard_input() -> Result<std::fs::File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let kept = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR);
    let mut kept = std::fs::File::from(kept.context("failed to make a file for the archive")?);
    std::io::copy(&mut std::io::stdin().lock(), &mut kept).context("failed to keep the archive")?;
    Ok(kept)
}

fn list(socket: &Path, output: Format) -> Result<()> {
    let images: Vec<cri::Image> = call(socket, Method::GET, "/images", Outgoing::Nothing)?;
    if output == Format::Json {
        println!("{}", serde_json::to_string_pretty(&images)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["IMAGE", "ID", "SIZE"]);
    for image in &images {
        let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
        let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        for name in names {
            table.add_row([name.clone(), id.clone(), format!("{:.1} MB", image.size as f64 / 1e6)]);
        }
    }
    println!("{}", table.trim_fmt());
    Ok(())
}
