//! The sockets of published ports: opened on the host, kept by a node's first process, used by its daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};
use serde::{Deserialize, Serialize};

use crate::local_node::LocalNode;
use crate::sys;

use super::grammar::{Port, Protocol};

/// How many connections wait in a socket while nobody takes them.
const BACKLOG: i32 = 1024;

/// A port that is published now.
#[derive(Debug)]
pub struct Published {
    /// The socket, of the host's network.
    pub socket: OwnedFd,
    /// The port of the node to which it leads.
    pub node_port: u16,
}

/// What people are told of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Where the host listens.
    pub host: SocketAddr,
    /// The node's port.
    pub node_port: u16,
    /// How it is spoken to.
    pub protocol: Protocol,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}/{}", self.host, self.node_port, self.protocol)
    }
}

impl Published {
    /// How the socket is spoken to.
    pub fn protocol(&self) -> io::Result<Protocol> {
        let datagrams = sockopt::socket_type(&self.socket)? == SocketType::DGRAM;
        Ok(if datagrams { Protocol::Udp } else { Protocol::Tcp })
    }

    /// What people are told of it.
    ///
    /// # Errors
    /// It is no socket of an address.
    pub fn told(&self) -> io::Result<Told> {
        let host = SocketAddr::try_from(getsockname(&self.socket)?)?;
        Ok(Told { host, node_port: self.node_port, protocol: self.protocol()? })
    }
}

/// The sockets of nodes that are about to be started, by their numbers.
#[derive(Debug, Default)]
pub struct Listening(BTreeMap<u8, Vec<Published>>);

impl Listening {
    /// Opens the sockets of those nodes of a cluster that do not run, on the host, where this process is.
    ///
    /// # Errors
    /// A port is in use, or an address is not the host's; none is open then.
    pub fn open(nodes: &[LocalNode<'_>]) -> Result<Listening> {
        let mut open = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.process().is_none()) {
            let ports = node.cluster.published.iter().filter(|port| port.node == node.number);
            open.insert(node.number, ports.map(open_one).collect::<Result<Vec<_>>>()?);
        }
        Ok(Listening(open))
    }

    /// Those of a node.
    pub fn of(&self, node: u8) -> &[Published] {
        self.0.get(&node).map_or(&[], Vec::as_slice)
    }
}

fn open_one(port: &Port) -> Result<Published> {
    let Port { host, node_port, protocol, .. } = *port;
    let open = || -> io::Result<OwnedFd> {
        let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        if host.is_ipv6() {
            // Who publishes on all addresses of IPv6 has not asked for those of IPv4.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if protocol == Protocol::Tcp {
            // Connections that have ended do not keep the port.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &host)?;
        if protocol == Protocol::Tcp {
            listen(&socket, BACKLOG)?;
        }
        Ok(socket)
    };
    let advice = |error: &io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ": it is in use; publish another port of the host, or end who has it",
        io::ErrorKind::AddrNotAvailable => ": this host has no such address",
        _ => "",
    };
    let opened = open();
    let socket = opened.map_err(|error| {
        let advice = advice(&error);
        anyhow::Error::new(error).context(format!("failed to publish {host}/{protocol} of the host{advice}"))
    })?;
    Ok(Published { socket, node_port })
}

/// How the sockets are named to a process that is to have them: descriptors and ports of the node.
pub fn argument(published: &[Published]) -> String {
    let named = published.iter().map(|one| format!("{}={}", one.socket.as_raw_fd(), one.node_port));
    named.collect::<Vec<_>>().join(",")
}

/// Takes the sockets over that [`argument`] names. Nobody who is started from here on has them, unless told so.
///
/// # Errors
/// There are none of that name.
pub fn take(argument: &str) -> Result<Vec<Published>> {
    let one = |text: &str| {
        let (descriptor, node_port) = text.split_once('=').context("it is DESCRIPTOR=PORT")?;
        let descriptor: RawFd = descriptor.parse()?;
        Ok(Published { socket: sys::take_descriptor(descriptor)?, node_port: node_port.parse()? })
    };
    let named = argument.split(',').filter(|text| !text.is_empty());
    named.map(one).collect::<Result<_>>().with_context(|| format!("failed to take over the sockets {argument:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, Kind, Place};

    fn port(host: &str, protocol: Protocol) -> Port {
        Port { host: host.parse().unwrap(), node_port: 80, protocol, node: 1 }
    }

    #[test]
    fn a_port_that_is_taken_or_no_address_of_the_host_is_named() {
        let first = open_one(&port("127.0.0.1:0", Protocol::Tcp)).unwrap();
        let told = first.told().unwrap();
        assert!(told.host.port() != 0 && told.to_string().ends_with(" -> 80/tcp"), "{told}");
        let error =
            format!("{:#}", open_one(&Port { host: told.host, ..port("127.0.0.1:0", Protocol::Tcp) }).unwrap_err());
        assert!(error.contains(&told.host.to_string()) && error.contains("in use"), "{error}");
        let error = format!("{:#}", open_one(&port("192.0.2.77:0", Protocol::Udp)).unwrap_err());
        assert!(error.contains("no such address"), "{error}");
        let datagrams = open_one(&port("127.0.0.1:0", Protocol::Udp)).unwrap();
        assert_eq!(datagrams.told().unwrap().protocol, Protocol::Udp);
    }

    #[test]
    fn a_node_has_the_sockets_of_its_own_ports() {
        let place = Place { name: "published-by-a-test".into(), dir: "/nowhere".into(), listed: None };
        let mut cluster = Cluster::new(&place, Kind::Local, "10.90.7.0/24".parse().unwrap());
        cluster.published =
            vec![port("127.0.0.1:0", Protocol::Tcp), Port { node: 2, ..port("127.0.0.1:0", Protocol::Tcp) }];
        let listening = Listening::open(&cluster.all_nodes()).unwrap();
        assert_eq!((listening.of(1).len(), listening.of(2).len()), (1, 0));
        let argument = argument(listening.of(1));
        assert!(argument.ends_with("=80"), "{argument}");
        for wrong in ["x", "3", "-1=80", "99999=80", "0=80"] {
            assert!(take(wrong).is_err(), "{wrong}");
        }
        assert!(take("").unwrap().is_empty());
    }
}
