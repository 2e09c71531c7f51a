//! The registry of a local cluster: `up --registry`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Asks the registry as a client on the host does; answers with the status and the rest.
fn ask(port: u16, request: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "{request} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no answer")?;
    Ok((status, answer))
}

/// Runs a command in a pod of an image on a node.
fn run_of(namespace: &Namespace<'_>, image: &str, node: &str, host_network: bool, command: &[&str]) -> Run {
    let mut object = pod("", command);
    object["metadata"] = json!({"generateName": "run-"});
    object["spec"]["nodeName"] = json!(node);
    object["spec"]["hostNetwork"] = json!(host_network);
    object["spec"]["containers"][0]["image"] = json!(image);
    object["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    namespace.run_pod(&object)
}

#[test]
fn every_node_pulls_what_was_pushed_and_pods_do_not_reach_the_registry() {
    if !can_run() {
        return;
    }
    // Others look whether the host is as before, and wait for a minute only.
    let _alone = crate::on_the_host::HOST.lock();
    let cluster = Cluster::new("loc-registry");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = cluster.run("up", &["--registry", &port.to_string()]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("another port") && !cluster.data.exists(), "{text}");
    drop(taken);

    cluster.ok("up", &["--nodes", "2", "--registry", &port.to_string()]);
    let archive = cluster.directory().join("image.tar");
    write_archive(&built("coracle-test-image"), &["test:1", "quay.io/org/other:2"], &archive).unwrap();
    let pushed = cluster.ok("image push", &[&archive.to_string_lossy()]);
    assert_eq!(pushed, format!("Pushed localhost:{port}/test:1\nPushed localhost:{port}/org/other:2\n"));
    let (status, list) = ask(port, "GET /v2/_catalog").unwrap();
    assert!(status == 200 && list.ends_with(r#"{"repositories":["org/other","test"]}"#), "{list}");
    let hosting = cluster.api();
    let hosting = eventually("it is told where the registry is", || {
        let map = hosting.get("/api/v1/namespaces/kube-public/configmaps/local-registry-hosting");
        if map.status == 200 { Ok(map.body) } else { Err(map.text) }
    });
    assert_eq!(hosting["data"]["localRegistryHosting.v1"], format!("host: \"localhost:{port}\"\n"));

    let namespace = cluster.namespace("registry");
    let second = format!("{}-2", cluster.name);
    let local = format!("localhost:{port}/test:1");
    let pull_all = || {
        for node in [&cluster.name, &second] {
            for image in [&local, &format!("{}-registry:{port}/org/other:2", cluster.name)] {
                let run = run_of(&namespace, image, node, false, &["echo", "pulled"]);
                assert_eq!(run.log, "pulled\n", "{image} on {node}");
            }
        }
    };
    pull_all();
    // Neither from the node's network, nor by the node's address: there is no port but the host's own.
    for (target, host_network) in
        [(format!("localhost:{port}"), true), (format!("{}:{port}", cluster.node_address()), false)]
    {
        let run = run_of(&namespace, &local, &cluster.name, host_network, &["wget", &format!("http://{target}/v2/")]);
        assert_ne!(run.code, 0, "{target}: {run:?}");
    }
    assert!(TcpStream::connect((cluster.node_address(), port)).is_err());

    // The daemon is killed, and comes back with all of it.
    kill_process(Pid::from_raw(cluster.daemon().expect("there is a daemon")).unwrap(), Signal::KILL).unwrap();
    let (status, _) = eventually("it answers again", || ask(port, "GET /v2/test/manifests/1"));
    assert_eq!(status, 200);
    eventually("the API server is back", || {
        let answer = cluster.api().try_send(http::Request::get("/readyz").body(Vec::new()).unwrap());
        if answer.is_some_and(|answer| answer.status == 200) { Ok(()) } else { Err("no answer") }
    });
    cluster.ok("image rm", &[&local]);
    pull_all();

    cluster.ok("stop", &["--grace", "1s"]);
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    cluster.ok("start", &[]);
    assert_eq!(ask(port, "GET /v2/test/manifests/1").unwrap().0, 200);

    // What a node has is packed again, and runs as it did.
    cluster.load_image(&["loaded:3"]);
    assert_eq!(cluster.ok("image push", &["loaded:3"]), format!("Pushed localhost:{port}/loaded:3\n"));
    let run = run_of(&namespace, &format!("localhost:{port}/loaded:3"), &second, false, &["echo", "packed"]);
    assert_eq!(run.log, "packed\n");
    assert!(!cluster.run("image push", &["nowhere:1"]).status.success());

    // What is no archive leaves nothing, and what is removed is not pulled any more.
    std::fs::write(&archive, b"no archive").unwrap();
    assert!(!cluster.run("image push", &[&archive.to_string_lossy()]).status.success());
    assert_eq!(ask(port, "DELETE /v2/test/manifests/1").unwrap().0, 202);
    assert_eq!(ask(port, "GET /v2/test/manifests/1").unwrap().0, 404);
    cluster.ok("down", &[]);
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok() && !cluster.data.exists());
}
