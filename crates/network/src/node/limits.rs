//! Limits of a pod's traffic.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{NodeNetwork, port_name};
use crate::netlink::{Socket, in_namespace, qdisc, route};

/// Limits in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficLimits {
    /// Of what comes to the pod.
    pub ingress: Option<u64>,
    /// Of what it sends. A pod that may administer its network (`NET_ADMIN`) can take this one away.
    pub egress: Option<u64>,
}

impl NodeNetwork {
    /// Limits the traffic of a connected pod, of which these are the addresses. It lasts as long as the pod's link.
    ///
    /// # Errors
    /// The kernel refuses, as one without token buckets does (`CONFIG_NET_SCH_TBF`).
    pub async fn limit(
        self: &Arc<Self>,
        addresses: &[IpAddr],
        netns: BorrowedFd<'_>,
        limits: TrafficLimits,
    ) -> Result<()> {
        let first = *addresses.first().context("a pod has an address")?;
        let netns = netns.try_clone_to_owned()?;
        tokio::task::spawn_blocking(move || limit(first, netns.as_fd(), limits)).await?
    }
}

/// Each end of the pod's link limits what it sends to the other.
pub(crate) fn limit(first: IpAddr, netns: BorrowedFd<'_>, limits: TrafficLimits) -> Result<()> {
    let on = |link: &str, rate: u64| {
        let mut socket = Socket::route()?;
        let index = route::index_of(&mut socket, link)?;
        socket.request(qdisc::limit(index, rate)).with_context(|| format!("failed to limit what {link} sends"))
    };
    if let Some(rate) = limits.ingress {
        on(&port_name(first), rate)?;
    }
    if let Some(rate) = limits.egress {
        in_namespace(netns, || on("eth0", rate))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Namespace, attach, is_root, node_config, v4};
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    /// How long it takes that much to come from one pod to another.
    fn transfer(from: &Namespace, to: &Namespace, address: Ipv4Addr, bytes: usize) -> Duration {
        let listener = to.run(|| TcpListener::bind((address, 7000)).unwrap());
        let sender = from.run(|| TcpStream::connect((address, 7000)).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        let began = Instant::now();
        let writer = std::thread::spawn(move || (&sender).write_all(&vec![0; bytes]).unwrap());
        receiver.read_exact(&mut vec![0; bytes]).unwrap();
        writer.join().unwrap();
        began.elapsed()
    }

    #[test]
    fn a_pod_gets_and_sends_no_faster_than_it_is_limited_to() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Namespace::new().run(|| {
            let network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
            let pods = ["limited", "free"].map(|name| {
                let pod = Namespace::new();
                let addresses = attach(&network, name, &pod, &[]);
                (pod, addresses)
            });
            let [(limited, addresses), (free, others)] = &pods;
            let limits = TrafficLimits { ingress: Some(8_000_000), egress: Some(4_000_000) };
            limit(addresses[0], limited.fd().as_fd(), limits).unwrap();
            limit(addresses[0], limited.fd().as_fd(), limits).unwrap();
            // Beyond the burst, 1 MB and half of it a second.
            const BYTES: usize = 700_000;
            let coming = transfer(free, limited, v4(*addresses), BYTES);
            assert!(coming > Duration::from_millis(400), "{coming:?}");
            let going = transfer(limited, free, v4(*others), BYTES);
            assert!(going > Duration::from_millis(800), "{going:?}");
            for rate in [1000, 1_000_000_000_000_000] {
                let all = TrafficLimits { ingress: Some(rate), egress: Some(rate) };
                limit(addresses[0], limited.fd().as_fd(), all).unwrap();
            }
        });
    }
}
