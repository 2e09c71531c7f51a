//! `coracle image`: images of a cluster.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use coracle_runtime::cri;
use hyper::Method;
use tokio::io::AsyncRead;

use crate::args::{Format, Image, ImageCommand};
use crate::cluster::Cluster;
use crate::control::{Outgoing, Shared, call};
use crate::local_node::LocalNode;

/// Runs a subcommand against the daemons of all nodes that run.
pub fn run(options: &Image) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    let nodes = cluster.all_nodes();
    let (first, others) = nodes.split_first().context("the cluster has no nodes")?;
    let others: Vec<&LocalNode<'_>> = others.iter().filter(|node| node.process().is_some()).collect();
    let socket = &first.control_socket();
    match &options.command {
        ImageCommand::Load { file, tag } => load(first, &others, file, tag.as_deref()),
        ImageCommand::Push { images, tag } => {
            for image in images {
                let (path, body) = match Path::new(image) {
                    file if image == "-" || file.exists() => {
                        (named("/images/push", tag.as_deref()), Outgoing::Reader(open(file)?))
                    }
                    _ => ("/images/push-stored".to_owned(), Outgoing::Text(image.clone())),
                };
                let pushed: Vec<String> = call(socket, Method::POST, &path, body)
                    .with_context(|| format!("failed to push {image}, as a file or an image of the node"))?;
                pushed.iter().for_each(|name| println!("Pushed {name}"));
            }
            Ok(())
        }
        ImageCommand::Pull { image } => {
            let id: String = pull(socket, image)?;
            // The name may be a short one; by its ID it is asked for which ones it has.
            let images: Vec<cri::Image> = call(socket, Method::GET, "/images", Outgoing::Nothing)?;
            let names = images.into_iter().find(|found| found.id == id).map(|found| found.repo_tags);
            on_all(&others, |node| {
                share(first, node, names.as_deref().unwrap_or_default())
                    .or_else(|_| pull(&node.control_socket(), image).map(drop))
            })?;
            println!("{image} is {id}");
            Ok(())
        }
        ImageCommand::Ls { output } => list(socket, *output),
        ImageCommand::Rm { images } => {
            let everywhere: Vec<PathBuf> = nodes
                .iter()
                .filter(|node| node.is_first() || node.process().is_some())
                .map(LocalNode::control_socket)
                .collect();
            images.iter().try_for_each(|image| remove(&everywhere, image))
        }
    }
}

fn pull(socket: &Path, image: &str) -> Result<String> {
    call(socket, Method::POST, "/images/pull", Outgoing::Text(image.to_owned()))
}

/// Removes an image everywhere; a node may never have had it.
fn remove(sockets: &[PathBuf], image: &str) -> Result<()> {
    let remove =
        |socket: &PathBuf| call::<()>(socket, Method::POST, "/images/remove", Outgoing::Text(image.to_owned()));
    let results: Vec<Result<()>> = sockets.iter().map(remove).collect();
    if results.iter().all(Result::is_err) {
        results.into_iter().collect::<Result<()>>()?;
    }
    println!("Removed {image}");
    Ok(())
}

/// Has a node take images over from the first one, whose files it shares.
fn share(first: &LocalNode<'_>, node: &LocalNode<'_>, names: &[String]) -> Result<()> {
    if names.is_empty() {
        bail!("an image without a name is not shared");
    }
    let shared = Shared { store: first.dir().join("images"), names: names.to_vec() };
    call(&node.control_socket(), Method::POST, "/images/share", Outgoing::Text(serde_json::to_string(&shared)?))
}

/// Does something for nodes at once.
fn on_all(nodes: &[&LocalNode<'_>], work: impl Fn(&LocalNode<'_>) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| work(node))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The path of a request about an archive, with what an image is called to which it gives no name.
fn named(path: &str, name: Option<&str>) -> String {
    // Names of images have no characters that must be escaped.
    name.map_or_else(|| path.to_owned(), |name| format!("{path}?{name}"))
}

/// A file, or standard input.
fn open(file: &Path) -> Result<Pin<Box<dyn AsyncRead + Send>>> {
    if file == Path::new("-") {
        return Ok(Box::pin(tokio::io::stdin()));
    }
    let file = std::fs::File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    Ok(Box::pin(tokio::fs::File::from_std(file)))
}

/// The first node unpacks the archive, and the others share what it has.
fn load(first: &LocalNode<'_>, others: &[&LocalNode<'_>], file: &Path, name: Option<&str>) -> Result<()> {
    let names: Vec<String> =
        call(&first.control_socket(), Method::POST, &named("/images/load", name), Outgoing::Reader(open(file)?))?;
    let failed = |node: &LocalNode<'_>| format!("failed to bring the images to the node {}", node.name());
    on_all(others, |node| share(first, node, &names).with_context(|| failed(node)))?;
    for name in names {
        println!("Loaded {name}");
    }
    Ok(())
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
