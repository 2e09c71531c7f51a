//! Clients that call all the time, in pods and on the host, and write down how each call went.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use coracle_e2e::*;
use serde_json::json;

/// How often each target is called.
const PERIOD: &str = "100";

/// A moment as clients write it down, in milliseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it began, in milliseconds.
    pub at: u64,
    /// What was called.
    pub target: String,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Call {
    fn read(line: &str) -> Option<Call> {
        let mut words = line.splitn(4, ' ');
        let (at, target) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let (outcome, text) = (words.next()?, words.next().unwrap_or_default());
        Some(Call { at, target, failure: (outcome != "ok").then(|| text.to_owned()) })
    }
}

/// A client.
pub enum Client<'a> {
    /// In a pod of this name.
    Pod(&'a Namespace<'a>, String),
    /// On the host, writing to a file.
    Host(Child, PathBuf),
}

impl<'a> Client<'a> {
    /// One in a pod on a node, which stays there whatever becomes of the node.
    pub fn in_pod(namespace: &'a Namespace<'a>, name: &str, node: &str, targets: &[(String, String)]) -> Client<'a> {
        let command: Vec<String> = ["call".into(), PERIOD.into()].into_iter().chain(words(targets)).collect();
        let mut object = pod(name, &command.iter().map(String::as_str).collect::<Vec<_>>());
        object["spec"]["nodeName"] = json!(node);
        object["spec"]["restartPolicy"] = json!("Always");
        object["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        namespace.create("pods", &object);
        namespace.pod_ready(name);
        Client::Pod(namespace, name.into())
    }

    /// One on the host.
    pub fn on_host(cluster: &Cluster, targets: &[(String, String)]) -> Client<'a> {
        let path = cluster.directory().join("calls");
        let mut command = Command::new(built("coracle-test-image"));
        command.arg("call").arg(PERIOD).args(words(targets)).stdin(Stdio::null());
        command.stdout(File::create(&path).unwrap()).stderr(Stdio::null());
        Client::Host(command.spawn().unwrap(), path)
    }

    /// The calls of a client that began in a time, as far as they are known.
    pub fn calls(&self, from: u64, to: u64) -> Vec<Call> {
        let text = match self {
            Client::Pod(namespace, name) => {
                let path = namespace.path(&format!("pods/{name}/log?sinceSeconds={}", (now() - from) / 1000 + 5));
                let request = http::Request::get(path).body(Vec::new()).unwrap();
                namespace.api.try_send(request).filter(|answer| answer.status == 200).map_or(String::new(), |a| a.text)
            }
            Client::Host(_, path) => std::fs::read_to_string(path).unwrap(),
        };
        text.lines().filter_map(Call::read).filter(|call| (from..to).contains(&call.at)).collect()
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if let Client::Host(child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn words(targets: &[(String, String)]) -> impl Iterator<Item = String> + '_ {
    targets.iter().map(|(name, url)| format!("{name}={url}"))
}

/// How long nothing may fail until the failures are said to be over, in milliseconds.
const QUIET: u64 = 3000;

/// Waits until all calls of these clients to these targets have succeeded for a while; answers the moment of the last failure
/// since one, and how many there were of each target.
#[track_caller]
pub fn settled(
    what: &str,
    since: u64,
    clients: &[&Client<'_>],
    counts: impl Fn(&str) -> bool,
) -> (u64, BTreeMap<String, usize>) {
    eventually(&format!("{what}: no call fails"), || {
        let until = now();
        let (mut failed, mut last) = (BTreeMap::new(), since);
        for client in clients {
            let calls = client.calls(since, until);
            let calls: Vec<&Call> = calls.iter().filter(|call| counts(&call.target)).collect();
            // A call may take a while until it is written down.
            let newest = calls.last().map_or(0, |call| call.at);
            if newest + QUIET < until {
                return Err(format!("nothing is known since {newest}, and it is {until}"));
            }
            let failures: Vec<&&Call> = calls.iter().filter(|call| call.failure.is_some()).collect();
            for failure in &failures {
                *failed.entry(failure.target.clone()).or_default() += 1;
            }
            if let Some(failure) = failures.last() {
                last = last.max(failure.at);
                if failure.at + QUIET > until {
                    return Err(format!("{failure:?}"));
                }
            }
        }
        if last + QUIET > until { Err("it is too early to say".into()) } else { Ok((last, failed)) }
    })
}

/// Checks that no call failed that began since a moment, once those that began until now have ended; answers how many there were.
#[track_caller]
pub fn none_failed(what: &str, since: u64, clients: &[&Client<'_>], counts: impl Fn(&str) -> bool) -> usize {
    let until = now();
    std::thread::sleep(Duration::from_millis(QUIET + 1000));
    let mut all = 0;
    for client in clients {
        let calls: Vec<Call> = client.calls(since, until);
        let calls: Vec<Call> = calls.into_iter().filter(|call| counts(&call.target)).collect();
        assert!(!calls.is_empty(), "{what}: a client called nobody");
        let failed: Vec<&Call> = calls.iter().filter(|call| call.failure.is_some()).collect();
        assert!(failed.is_empty(), "{what}: {} of {} calls failed: {failed:#?}", failed.len(), calls.len());
        all += calls.len();
    }
    all
}
