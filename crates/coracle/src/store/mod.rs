//! Where `coracle server` keeps objects: in its data directory, or in a cluster of etcd; from the one to the other, and into a
//! backup and back.

mod backup;
mod tools;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use coracle_store::etcd::{Config, Etcd};
use coracle_store::{Embedded, Options, Store, copy};

use crate::args;
use crate::cluster::{Cluster, Place};
use crate::registry::Lock;

pub use backup::{back_up, pieces, restore};
pub use tools::run;

/// What all keys begin with, as upstream has it.
const ROOT: &str = "/registry/";

/// Beside a store: there was one here. Without its store, a directory has lost what was acknowledged, which a new one would hide.
const MADE: &str = "store.made";

/// Opens the store of a server whose data are in a directory.
pub async fn open(dir: &Path, options: &args::Etcd) -> Result<Arc<dyn Store>> {
    let own = dir.join("store");
    // The lock is there as soon as somebody looks.
    let has_files =
        fs::read_dir(&own).is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| file.file_name() != "lock")));
    if options.servers.is_empty() {
        let made = dir.join(MADE);
        if !has_files && made.exists() {
            let (own, made) = (own.display(), made.display());
            bail!(
                "{own} had the objects of this cluster, and is missing or empty: bring it back (mount it, if it is a mount), or \
                 `coracle restore` a backup; to begin anew without them, remove {made}"
            );
        }
        fs::create_dir_all(&own).with_context(|| format!("failed to make {}", own.display()))?;
        let store = Embedded::open(&own, Options::default())?;
        if !made.exists() {
            fs::write(&made, "").with_context(|| format!("failed to write {}", made.display()))?;
        }
        return Ok(Arc::new(store));
    }
    if has_files {
        let own = own.display();
        bail!("{own} has the objects of this cluster: `coracle store migrate` moves them to etcd, or move {own} away");
    }
    Ok(Arc::new(whole(options).await?))
}

/// An etcd with what is whole: no restore into it was interrupted.
async fn whole(options: &args::Etcd) -> Result<Etcd> {
    let store = connect(options).await?;
    coracle_store::backup::check_finished(&store, ROOT).await?;
    Ok(store)
}

async fn connect(options: &args::Etcd) -> Result<Etcd> {
    let store = Etcd::connect(&config(options)?).await;
    store.with_context(|| format!("failed to connect to etcd at {}", options.servers.join(", ")))
}

/// A cluster that does not run, which no other command changes until what is answered is dropped.
fn still(place: &Place) -> Result<Lock> {
    let lock = Lock::take(&place.name)?;
    if Cluster::read(&place.dir)?.is_some_and(|cluster| cluster.process().is_some()) {
        bail!("the cluster {:?} runs: `coracle stop --name {}` first", place.name, place.name);
    }
    Ok(lock)
}

/// Copies what the store of a directory has to etcd, and puts the store aside. One that was interrupted can be begun anew.
async fn migrate(dir: &Path, to: &args::Etcd) -> Result<usize> {
    if to.servers.is_empty() {
        bail!("--etcd-servers says where to");
    }
    let (own, aside) = (dir.join("store"), dir.join("store.before-etcd"));
    if !own.is_dir() {
        bail!("{} is no store", own.display());
    }
    let from = Embedded::open(&own, Options::default())?;
    let to = whole(to).await?;
    let count = copy(&from, &to, ROOT).await.context("failed to copy to etcd")?;
    check_nothing_else(&from, &to).await?;
    fs::rename(&own, &aside).with_context(|| format!("failed to put {} aside", own.display()))?;
    Ok(count)
}

/// Checks that one store has no key that the other has not: what was copied before it was deleted would come back.
async fn check_nothing_else(from: &dyn Store, to: &dyn Store) -> Result<()> {
    const PAGE: usize = 1_000;
    let mut page = to.list(ROOT, None, None, Some(PAGE)).await?;
    let revision = page.revision;
    loop {
        for kv in page.items.iter().filter(|kv| !backup::is_of_servers(kv.key())) {
            if from.get(kv.key(), None).await?.is_none() {
                let key = kv.key();
                bail!(
                    "etcd has {key}, which was deleted here after it was copied, or is another's: delete it and begin anew"
                );
            }
        }
        let Some(last) = page.items.last().filter(|_| page.more) else { return Ok(()) };
        page = to.list(ROOT, Some(revision), Some(last.key()), Some(PAGE)).await?;
    }
}

fn config(options: &args::Etcd) -> Result<Config> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    let client = match (&options.cert, &options.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let user = match (&options.user, &options.password) {
        (Some(user), Some(password)) => {
            let password = String::from_utf8(read(password)?).context("the password of etcd's user is not text")?;
            Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
        }
        _ => None,
    };
    Ok(Config {
        endpoints: options.servers.clone(),
        authorities: options.authority.as_deref().map(read).transpose()?,
        client,
        user,
        root: ROOT.into(),
        prefix: Some(options.prefix.clone()),
        compaction: options.compaction_interval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;
    use coracle_store::{Op, Txn};
    use coracle_testing::etcd::Cluster;

    fn options(line: &str) -> Result<args::Etcd, String> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let Command::Server(server) = args.command else { return Err("no server".into()) };
        Ok(server.etcd)
    }

    #[test]
    fn etcd_is_named_by_upstreams_options() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, "secret\n").unwrap();
        let line = format!(
            "coracle server --etcd-servers https://a:1,https://b:2 --etcd-prefix /x --etcd-compaction-interval 1m \
             --etcd-user u --etcd-password-file {}",
            password.display()
        );
        let config = config(&options(&line).unwrap()).unwrap();
        assert_eq!(config.endpoints, ["https://a:1", "https://b:2"]);
        assert_eq!((config.prefix.as_deref(), config.compaction.as_secs()), (Some("/x"), 60));
        assert_eq!(config.user, Some(("u".into(), "secret".into())));
        let usual = options("coracle server --etcd-servers http://a").unwrap();
        assert_eq!((&*usual.prefix, usual.compaction_interval.as_secs()), ("/registry", 300));
        for bad in [
            "coracle server --etcd-cafile f",
            "coracle server --etcd-servers http://a --etcd-certfile f",
            "coracle server --etcd-servers http://a --etcd-user u",
        ] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_directory_with_objects_is_not_left_for_etcd_by_mistake() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), &options("coracle server").unwrap()).await.unwrap());
        let refused = open(dir.path(), &options("coracle server --etcd-servers http://127.0.0.1:1").unwrap()).await;
        assert!(refused.err().unwrap().to_string().contains("coracle store migrate"));
    }

    #[tokio::test]
    async fn a_store_that_is_gone_is_not_replaced_by_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let (own, server) = (dir.path().join("store"), options("coracle server").unwrap());
        drop(open(dir.path(), &server).await.unwrap());
        fs::rename(&own, dir.path().join("elsewhere")).unwrap();
        for is_empty in [false, true] {
            if is_empty {
                fs::create_dir(&own).unwrap();
                fs::write(own.join("lock"), "").unwrap();
            }
            let refused = open(dir.path(), &server).await.err().unwrap().to_string();
            assert!(refused.contains("is missing or empty") && own.exists() == is_empty, "{refused}");
        }
        fs::remove_dir_all(&own).unwrap();
        fs::rename(dir.path().join("elsewhere"), &own).unwrap();
        drop(open(dir.path(), &server).await.unwrap());
        fs::remove_dir_all(&own).unwrap();
        fs::remove_file(dir.path().join(MADE)).unwrap();
        drop(open(dir.path(), &server).await.unwrap());
    }

    #[tokio::test]
    async fn objects_move_to_etcd_once_and_back() {
        let Some(cluster) = Cluster::start(1, &[]) else { return };
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), &options("coracle server").unwrap()).await.unwrap();
        let op = Op::Put { key: "/registry/a".into(), value: "x".into(), ttl: None };
        store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.unwrap();
        let to = options(&format!("coracle server --etcd-servers {}", cluster.urls()[0])).unwrap();
        // It is in use.
        assert!(migrate(dir.path(), &to).await.unwrap_err().to_string().contains("in use"));
        drop(store);
        assert_eq!(migrate(dir.path(), &to).await.unwrap(), 1);
        let store = open(dir.path(), &to).await.unwrap();
        assert_eq!(store.get("/registry/a", None).await.unwrap().unwrap().value(), b"x");
        assert!(dir.path().join("store.before-etcd").is_dir());
        assert!(migrate(dir.path(), &to).await.unwrap_err().to_string().contains("is no store"));
        let op = Op::Put { key: "/registry/b".into(), value: "y".into(), ttl: None };
        store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.unwrap();
        let newest = store.current_revision().await.unwrap();
        assert_eq!(backup::from_etcd(&to, dir.path()).await.unwrap(), 2);
        let own = open(dir.path(), &options("coracle server").unwrap()).await.unwrap();
        assert_eq!(own.get("/registry/b", None).await.unwrap().unwrap().mod_revision(), newest);
        assert!(own.current_revision().await.unwrap() > newest);
        assert!(backup::from_etcd(&to, dir.path()).await.unwrap_err().to_string().contains("already"));
    }

    #[tokio::test]
    async fn what_was_deleted_after_it_was_copied_does_not_come_back() {
        let Some(cluster) = Cluster::start(1, &[]) else { return };
        let dir = tempfile::tempdir().unwrap();
        let to = options(&format!("coracle server --etcd-servers {}", cluster.urls()[0])).unwrap();
        let op = Op::Put { key: "/registry/deleted".into(), value: "x".into(), ttl: None };
        open(&dir.path().join("other"), &to)
            .await
            .unwrap()
            .txn(Txn { compares: Vec::new(), ops: vec![op] })
            .await
            .unwrap();
        drop(open(dir.path(), &options("coracle server").unwrap()).await.unwrap());
        let refused = migrate(dir.path(), &to).await.unwrap_err().to_string();
        assert!(refused.contains("/registry/deleted") && dir.path().join("store").is_dir(), "{refused}");
    }
}
