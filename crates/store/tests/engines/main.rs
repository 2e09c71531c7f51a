//! Both engines, the embedded one and etcd, as their callers see them; and etcd when its members fail.

mod copy;
mod etcd;
mod faults;
mod proxy;
mod semantics;

use std::sync::Arc;

use coracle_store::etcd::{Config, Etcd};
use coracle_store::{Embedded, Op, Options, Revision, Store, Txn};
use coracle_testing::etcd::Cluster;

/// An engine to try, and what it stands on.
struct Engine {
    store: Arc<dyn Store>,
    kind: Kind,
}

enum Kind {
    Embedded(Arc<Embedded>, #[expect(dead_code, reason = "it goes with the store")] tempfile::TempDir),
    Etcd(Arc<Etcd>, #[expect(dead_code, reason = "it ends with the store")] Cluster),
}

impl Engine {
    async fn compact(&self, revision: Revision) {
        match &self.kind {
            Kind::Embedded(store, _) => store.compact(revision).unwrap(),
            Kind::Etcd(store, _) => store.compact(revision).await.unwrap(),
        }
    }
}

/// All engines that there are here.
async fn engines() -> Vec<Engine> {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let mut engines = vec![Engine { store: store.clone(), kind: Kind::Embedded(store, dir) }];
    if let Some(cluster) = Cluster::start(1, &[]) {
        let store = Arc::new(connect(&cluster).await);
        engines.push(Engine { store: store.clone(), kind: Kind::Etcd(store, cluster) });
    }
    engines
}

fn config(endpoints: Vec<String>) -> Config {
    Config { endpoints, root: "/registry/".into(), ..Config::default() }
}

async fn connect(cluster: &Cluster) -> Etcd {
    Etcd::connect(&config(cluster.urls())).await.unwrap()
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.to_owned().into(), ttl: None }
}

fn write(ops: Vec<Op>) -> Txn {
    Txn { compares: vec![], ops }
}
