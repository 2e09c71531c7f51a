//! kill -9 at random moments under load: no acknowledged write is lost.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use coracle_store::{Embedded, Op, Options, Store, Txn};

const DIR: &str = "CORACLE_STORE_KILL_TEST";
const OPTIONS: Options = Options { segment_bytes: 64 << 10, snapshot_after: 128 << 10 };

/// Not a test of its own: the process that the other one kills.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = std::sync::Arc::new(Embedded::open(dir.as_ref(), OPTIONS).unwrap());
        let tasks = (0..16).map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0u64..1_000_000 {
                    let op =
                        Op::Put { key: format!("/k/{task}").as_str().into(), value: n.to_string().into(), ttl: None };
                    store.txn(Txn { compares: vec![], ops: vec![op] }).await.unwrap();
                    println!("ack {task} {n}");
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

#[test]
fn kill_9_loses_no_acknowledged_write() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut newest = [None; 16];
            for line in output.lines().map_while(Result::ok) {
                let words: Vec<_> = line.split(' ').collect();
                if let ["ack", task, n] = words[..]
                    && let (Ok(task), Ok(n)) = (task.parse::<usize>(), n.parse::<u64>())
                {
                    newest[task] = Some(n);
                }
            }
            newest
        });
        std::thread::sleep(Duration::from_millis(60 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = reader.join().unwrap();
        let store = Embedded::open(dir.path(), OPTIONS).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (task, acknowledged) in newest.iter().enumerate().filter_map(|(task, n)| Some((task, (*n)?))) {
            let kv = runtime.block_on(store.get(&format!("/k/{task}"), None)).unwrap().unwrap();
            let found: u64 = std::str::from_utf8(kv.value()).unwrap().parse().unwrap();
            assert!(found >= acknowledged, "task {task}: {acknowledged} was acknowledged, {found} is there");
        }
    }
}
