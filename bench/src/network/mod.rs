//! Services and network policies at size, in network namespaces of their own.

mod packets;
mod policies;
mod services;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use coracle_network::{NodeNetwork, NodeNetworkConfig};

use crate::report::Report;

/// The first argument of the process that measures, in a namespace.
pub const INSIDE: &str = "network-inside";

/// Runs the measurement in a namespace, and takes over what it prints.
pub fn measure(report: &mut Report) -> Result<()> {
    let own = std::env::current_exe()?;
    let output = Command::new("unshare").arg("--net").arg(own).arg(INSIDE).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the measurement of the network failed");
    for line in String::from_utf8(output.stdout)?.lines() {
        let [what, value, unit, budget] = line.split('\t').collect::<Vec<_>>()[..] else { bail!("{line:?}") };
        report.line(what, value.parse()?, unit, budget);
    }
    Ok(())
}

/// What the process in the namespace does: it measures, or has a part in it.
pub fn inside(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            services::measure()?;
            policies::measure()
        }
        ["echo"] => packets::echo(),
        ["ask", to] => packets::ask(to),
        _ => bail!("{arguments:?}"),
    }
}

fn tell(what: &str, value: f64, unit: &str, budget: &str) {
    println!("{what}\t{value}\t{unit}\t{budget}");
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The middle and the largest of some times.
fn middle_and_largest(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |place: usize| times.get(place).copied().map(milliseconds).unwrap_or_default();
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// The network of a node in the current namespace.
fn node(state: &Path) -> Result<Arc<NodeNetwork>> {
    NodeNetwork::new(NodeNetworkConfig {
        bridge: "cni0".into(),
        state: state.to_owned(),
        pod_cidr: "10.244.0.0/24".parse()?,
        cluster_cidr: "10.244.0.0/16".parse()?,
        service_cidr: "10.96.0.0/12".parse()?,
        service_addresses: Vec::new(),
        addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        overlay: "vxlan0".into(),
        mtu: 1500,
        on_host: false,
    })
}

/// A pod: a namespace that lives as long as a process in it.
struct Pod {
    process: Child,
    address: std::net::IpAddr,
}

impl Pod {
    fn new(network: &Arc<NodeNetwork>, name: &str) -> Result<Pod> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let mut process = Command::new("unshare").args(["--net", "sleep", "600"]).spawn()?;
        let path = format!("/proc/{}/ns/net", process.id());
        let start = Instant::now();
        while std::fs::read_link(&path).is_ok_and(|of| of == own) {
            ensure!(start.elapsed() < Duration::from_secs(10), "a namespace is made");
            std::thread::sleep(Duration::from_millis(5));
        }
        let made = || -> Result<_> {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let namespace = File::open(&path)?;
            let addresses = runtime.block_on(network.attach(name, namespace.as_fd(), &[]))?;
            addresses.first().copied().context("a pod has an address")
        };
        match made() {
            Ok(address) => Ok(Pod { process, address }),
            Err(error) => {
                let _ = process.kill();
                Err(error)
            }
        }
    }

    /// This program in the pod.
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let namespace = format!("--net=/proc/{}/ns/net", self.process.id());
        let mut command = Command::new("nsenter");
        command.arg(namespace).arg(std::env::current_exe()?).arg(INSIDE).args(arguments);
        Ok(command)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
