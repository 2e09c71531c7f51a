//! `coracle image`: images of a cluster.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use coracle_runtime::cri;
use hyper::Method;

use crate::args::{Format, Image, ImageCommand};
use crate::cluster::Cluster;
use crate::control::{Outgoing, call};

/// Runs a subcommand against the cluster's daemon.
pub fn run(options: &Image) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    let socket = cluster.control_socket();
    match &options.command {
        ImageCommand::Load { file } => load(&socket, file),
        ImageCommand::Pull { image } => {
            let id: String = call(&socket, Method::POST, "/images/pull", Outgoing::Text(image.clone()))?;
            println!("{image} is {id}");
            Ok(())
        }
        ImageCommand::Ls { output } => list(&socket, *output),
        ImageCommand::Rm { images } => {
            for image in images {
                let () = call(&socket, Method::POST, "/images/remove", Outgoing::Text(image.clone()))?;
                println!("Removed {image}");
            }
            Ok(())
        }
    }
}

fn load(socket: &Path, file: &Path) -> Result<()> {
    let reader: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>> = if file == Path::new("-") {
        Box::pin(tokio::io::stdin())
    } else {
        let file = std::fs::File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
        Box::pin(tokio::fs::File::from_std(file))
    };
    let names: Vec<String> = call(socket, Method::POST, "/images/load", Outgoing::Reader(reader))?;
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
