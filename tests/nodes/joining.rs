//! Hosts that join by a token, and those that are refused.

use coracle_e2e::*;

use crate::machine::{Daemon, Machine};

#[test]
fn a_host_joins_by_a_token_and_is_refused_with_a_reason_otherwise() {
    if !can_run() {
        return;
    }
    let (router, one, two) = (Machine::router(&[1]), Machine::new(), Machine::new());
    let (address, other) = (router.connect(&one, 1, 2).to_string(), router.connect(&two, 1, 3).to_string());
    let mut server = Daemon::start(&one, "joined", "server", &["--node-name", "one", "--node-ip", &address]);
    eventually("the server answers", || {
        let mut command = server.cluster.command("token ls");
        let output = one.enter(&mut command).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(server.log()) }
    });
    let command = server.ok("token create", &["--print-join-command", "--description", "for two"]);
    let words: Vec<&str> = command.split_whitespace().collect();
    let ["coracle", "agent", "--server", url, "--token", token, "--discovery-token-ca-cert-hash", hash] = words[..]
    else {
        panic!("{command}")
    };
    assert!(server.ok("token ls", &[]).contains("for two"));
    let node = ["--node-name", "two", "--node-ip", &other];
    let joining = |token: &str, hash: &str| -> Vec<String> {
        let join = ["--server", url, "--token", token, "--discovery-token-ca-cert-hash", hash];
        join.iter().chain(&node).map(|word| (*word).to_owned()).collect()
    };
    let join = |agent: &mut Daemon<'_>, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        agent.again("agent", &words);
    };
    let wrong_hash = format!("sha256:{}", "0".repeat(64));
    let words = joining(token, &wrong_hash);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut agent = Daemon::start(&two, "joins", "agent", &words);
    let log = agent.ended();
    assert!(log.contains("Nothing was trusted"), "{log}");

    // A token that has expired, and one of another cluster.
    let short = server.ok("token create", &["--ttl", "1s"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    for wrong in [short.trim(), "zzzzzz.0123456789abcdef"] {
        join(&mut agent, &joining(wrong, hash));
        let log = agent.ended();
        assert!(log.contains("does not know the token"), "{log}");
    }
    let id = token.split_once('.').unwrap().0;
    join(&mut agent, &joining(&format!("{id}.0000000000000000"), hash));
    let log = agent.ended();
    assert!(log.contains("is not signed with the token"), "{log}");

    join(&mut agent, &joining(token, hash));
    let ready = |server: &Daemon<'_>, agent: &Daemon<'_>| {
        eventually("the node is Ready", || {
            let request = http::Request::get("/api/v1/nodes/two").header("accept", "application/json");
            let answer = one.in_network(|| server.cluster.api().try_send(request.body(Vec::new()).unwrap()));
            let text = answer.map(|answer| answer.text).unwrap_or_default();
            let is_ready = text.contains("kubelet is posting ready status");
            if is_ready { Ok(()) } else { Err(format!("{text}\n{}", agent.log())) }
        });
    };
    ready(&server, &agent);
    // It is known from then on: no token, and a server that comes later.
    server.ok("token rm", &[id]);
    server.kill();
    agent.again("agent", &node);
    server.again("server", &["--node-name", "one", "--node-ip", &address]);
    ready(&server, &agent);
    eventually("it has a certificate of its server", || {
        let requests =
            one.in_network(|| server.cluster.api().get("/apis/certificates.k8s.io/v1/certificatesigningrequests").ok());
        let all = requests["items"].as_array().cloned().unwrap_or_default();
        let is_its = |request: &&serde_json::Value| {
            request["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
                && request["spec"]["username"] == "system:node:two"
                && request["status"]["certificate"].is_string()
        };
        if all.iter().find(is_its).is_some() { Ok(()) } else { Err(format!("{all:#?}")) }
    });
}
