//! `coracle store`: what is done with the store of a cluster that does not run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use coracle_store::{Embedded, Error, KeyValue, Options, Store, backup, check, damage};

use super::{ROOT, connect, migrate, still, whole};
use crate::args::{self, StoreCommand};
use crate::cluster::Place;

/// Keys read at once.
const PAGE: usize = 1_000;
/// Values that are told of at most; the others are counted.
const MOST: usize = 100;

/// Does what `coracle store` is asked to.
pub fn run(options: &args::Store) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let place = || Place::find(&options.which, "server");
    match &options.command {
        StoreCommand::Check { backup: Some(file), .. } => {
            let summary = backup::verify(file)?;
            println!("{} is whole: {} objects at revision {}", file.display(), summary.keys, summary.revision);
        }
        StoreCommand::Check { etcd, .. } if !etcd.servers.is_empty() => runtime.block_on(check_etcd(etcd))?,
        StoreCommand::Check { .. } => check_directory(&place()?.dir)?,
        StoreCommand::Compact { etcd } if !etcd.servers.is_empty() => runtime.block_on(compact_etcd(etcd))?,
        StoreCommand::Compact { .. } => {
            let place = place()?;
            let _lock = still(&place)?;
            runtime.block_on(compact_directory(&place.dir))?;
        }
        StoreCommand::Migrate { to_data_dir: true, etcd } => {
            let place = place()?;
            let _lock = still(&place)?;
            let count = runtime.block_on(super::backup::from_etcd(etcd, &place.dir))?;
            println!(
                "{count} keys are in the data directory now: `coracle server` finds them there without --etcd options"
            );
        }
        StoreCommand::Migrate { etcd, .. } => {
            let place = place()?;
            let _lock = still(&place)?;
            let count = runtime.block_on(migrate(&place.dir, etcd))?;
            println!("{count} keys are in etcd now: `coracle server` finds them there by the same --etcd options");
        }
    }
    Ok(())
}

/// The store of a directory.
fn own(dir: &Path) -> Result<std::path::PathBuf> {
    let own = dir.join("store");
    if !own.is_dir() {
        bail!("{} is no store: name the cluster by --name or --data-dir, or its etcd by --etcd-servers", own.display());
    }
    Ok(own)
}

fn check_directory(dir: &Path) -> Result<()> {
    let own = own(dir)?;
    let mut unserved = Unserved::new();
    let found = match check(&own, |kv| unserved.look(kv)) {
        Ok(found) => found,
        Err(error @ Error::Locked { .. }) => return Err(error.into()),
        Err(_) => {
            let coracle_store::Damage { places, more } = damage(&own)?;
            return Err(wrong(&own.display().to_string(), places.iter().map(ToString::to_string).collect(), more));
        }
    };
    unserved.check(&own.display().to_string())?;
    println!(
        "{} is whole: {} keys at revision {}, {:.1} MB, and {:.1} MB of log behind the last snapshot",
        own.display(),
        found.keys,
        found.revision,
        found.bytes as f64 / 1e6,
        found.log_bytes as f64 / 1e6
    );
    Ok(())
}

/// The values of a store that a server would not serve.
struct Unserved {
    kinds: coracle_apiserver::Unserved,
    told: Vec<String>,
    more: usize,
}

impl Unserved {
    fn new() -> Unserved {
        Unserved { kinds: coracle_apiserver::Unserved::of_built_in(), told: Vec::new(), more: 0 }
    }

    fn look(&mut self, kv: &KeyValue) {
        match self.kinds.why(kv) {
            None => {}
            Some(why) if self.told.len() < MOST => self.told.push(format!("{}: {why}", kv.key())),
            Some(_) => self.more += 1,
        }
    }

    fn check(self, place: &str) -> Result<()> {
        if self.told.is_empty() { Ok(()) } else { Err(wrong(place, self.told, self.more)) }
    }
}

/// All that is wrong with a store.
fn wrong(place: &str, mut told: Vec<String>, more: usize) -> anyhow::Error {
    let count = told.len() + more;
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    let things = if count == 1 { "thing is" } else { "things are" };
    anyhow!("{count} {things} wrong with {place}:\n  {}", told.join("\n  "))
}

/// Reads every value; etcd checks the files behind them itself.
async fn check_etcd(options: &args::Etcd) -> Result<()> {
    let store = whole(options).await?;
    let mut unserved = Unserved::new();
    let mut page = store.list(ROOT, None, None, Some(PAGE)).await?;
    let (revision, mut keys) = (page.revision, page.items.len());
    page.items.iter().for_each(|kv| unserved.look(kv));
    while let Some(last) = page.items.last().filter(|_| page.more) {
        page = store.list(ROOT, Some(revision), Some(last.key()), Some(PAGE)).await?;
        page.items.iter().for_each(|kv| unserved.look(kv));
        keys += page.items.len();
    }
    if let Some(failure) = store.failure() {
        bail!("all {keys} keys can be read, but {failure}");
    }
    unserved.check("etcd")?;
    println!("etcd is whole as far as it tells: {keys} keys at revision {revision}");
    Ok(())
}

async fn compact_directory(dir: &Path) -> Result<()> {
    let own = own(dir)?;
    let before = size(&own)?;
    let store = Embedded::open(&own, Options::default())?;
    store.snapshot().await.context("failed to write a snapshot")?;
    let revision = store.revision();
    drop(store);
    let (before, now) = (before as f64 / 1e6, size(&own)? as f64 / 1e6);
    println!("{} had {before:.1} MB, and has {now:.1} MB with a snapshot of revision {revision}", own.display());
    Ok(())
}

/// Bytes that files take on the disk.
fn size(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.metadata()?.blocks().saturating_mul(512))).sum()
}

async fn compact_etcd(options: &args::Etcd) -> Result<()> {
    let store = connect(options).await?;
    let revision = store.current_revision().await?;
    store.compact(revision).await?;
    println!("etcd has forgotten what was before revision {revision}; `etcdctl defrag` gives its space back");
    Ok(())
}
