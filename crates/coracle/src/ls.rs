//! `coracle ls`: the clusters of this host.

use anyhow::Result;
use comfy_table::{Table, presets};

use crate::args::{Format, Which};
use crate::cluster::Cluster;
use crate::registry;
use crate::status::{Report, report};

/// Lists clusters with their state and place.
pub fn ls(output: Format) -> Result<()> {
    let reports = registry::names()?.into_iter().map(|name| look_at(&name)).collect::<Result<Vec<Report>>>()?;
    if output == Format::Json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["NAME", "STATE", "URL", "DATA"]);
    for report in reports {
        table.add_row([report.name, report.state.to_owned(), report.url, report.data_dir]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}

fn look_at(name: &str) -> Result<Report> {
    match Cluster::load(&Which { name: Some(name.to_owned()), data_dir: None }) {
        Ok(cluster) => Ok(report(&cluster)),
        Err(_) => {
            let dir = registry::find(name)?.unwrap_or_default();
            // A backup was restored there, and `up` makes a cluster of it; else its data were moved, removed or damaged.
            let is_restored = matches!(Cluster::read(&dir), Ok(None)) && dir.join("store").is_dir();
            Ok(Report::bare(name, if is_restored { "Restored" } else { "Broken" }, &dir))
        }
    }
}
