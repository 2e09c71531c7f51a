//! 10,000 pods with 1,000 policies, all on one node: more than any has.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use coracle_network::bench::Policies;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::{Pod, middle_and_largest, milliseconds, node, tell, timed};

const PODS: usize = 10_000;
const POLICIES: usize = 1_000;
const NAMESPACES: usize = 100;
const CHANGES: usize = 50;

pub fn measure() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("coracle-bench-").tempdir()?;
    let network = node(&directory.path().join("policies"))?;
    let (client, server) = (Pod::new(&network, "client")?, Pod::new(&network, "server")?);
    let mut echo = server.command(&["echo"])?.stdin(Stdio::null()).spawn()?;
    let measured = compare(&client, &server);
    let _ = echo.kill();
    let _ = echo.wait();
    measured
}

fn compare(client: &Pod, server: &Pod) -> Result<()> {
    let mut policies = Policies::new("n")?;
    policies.enforce();
    let without = round_trips(client, server)?;
    let start = Instant::now();
    for number in 0..PODS {
        policies.set_pod(pod(number, address(number).to_string(), "web"))?;
    }
    for (number, pod) in [client, server].into_iter().enumerate() {
        policies.set_pod(self::pod(PODS + number, pod.address.to_string(), "web"))?;
    }
    for number in 0..POLICIES {
        policies.set_policy(&policy(number, 8080)?);
    }
    policies.enforce();
    tell("10,000 pods with 1,000 policies, from JSON to packets", milliseconds(start.elapsed()), "ms", "");
    let mut changes = |what: &str, change: &mut dyn FnMut(&mut Policies, usize) -> Result<()>| -> Result<()> {
        let (mut times, mut ends) = (Vec::new(), Vec::new());
        for n in 0..CHANGES {
            times.push(timed(|| {
                change(&mut policies, n)?;
                policies.enforce();
                Ok(())
            })?);
            ends.push(timed(|| {
                policies.end_forbidden();
                Ok(())
            })?);
        }
        let (middle, largest) = middle_and_largest(times);
        tell(&format!("change of {what} among them"), middle, "ms", "5 ms");
        tell("the same, slowest of 50", largest, "ms", "");
        tell("then to look which connections it forbids", middle_and_largest(ends).0, "ms", "");
        Ok(())
    };
    changes("a pod's labels", &mut |policies, n| policies.set_pod(pod(n, address(n).to_string(), "db")))?;
    changes("a policy", &mut |policies, n| {
        policies.set_policy(&policy(n + 1, 9090)?);
        Ok(())
    })?;
    let with = round_trips(client, server)?;
    tell("a datagram and its answer between pods, no policies", without.0, "µs", "");
    tell("the same, with 10,000 pods and 1,000 policies", with.0, "µs", "");
    tell("a connection between pods, no policies", without.1, "µs", "");
    tell("the same, with 10,000 pods and 1,000 policies", with.1, "µs", "");
    Ok(())
}

fn round_trips(client: &Pod, server: &Pod) -> Result<(f64, f64)> {
    let output = client.command(&["ask", &server.address.to_string()])?.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the client failed");
    let text = String::from_utf8(output.stdout)?;
    let (datagram, connection) = text.trim().split_once(' ').context("two times")?;
    Ok((datagram.parse()?, connection.parse()?))
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 1, 0)) + number as u32)
}

fn namespace(number: usize) -> String {
    // The two that talk are of the first.
    format!("n-{}", if number < PODS { number % NAMESPACES } else { 0 })
}

fn pod(number: usize, address: String, app: &str) -> Value {
    json!({"metadata": {"name": format!("p-{number}"), "namespace": namespace(number), "labels": {"app": app}},
        "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Running", "podIP": address}})
}

/// Ten for each namespace: in it, those of one application may reach each other.
fn policy(number: usize, port: u16) -> Result<NetworkPolicy> {
    let app = ["web", "db"][number / NAMESPACES % 2];
    let apps = json!({"matchLabels": {"app": app}});
    let ports = json!([{"port": port}, {"port": port, "protocol": "UDP"}]);
    let (from, to) = (json!([{"podSelector": {}}]), json!([{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]));
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("p-{number}"), "namespace": namespace(number)},
        "spec": {"podSelector": apps, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": from, "ports": ports}], "egress": [{"to": to, "ports": ports}]},
    }))?)
}
