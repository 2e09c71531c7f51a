//! The sockets of published ports: opened on the host, kept by a node's first process, used by its daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};
use serde::{Deserialize, Serialize};

use crate::local_node::{FIRST, LocalNode};
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

/// The sockets of a node.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those that lead to its ports.
    pub ports: Vec<Published>,
    /// That of the cluster's registry, on the node with the server.
    pub registry: Option<OwnedFd>,
}

/// What the registry is called where its socket is handed on.
const REGISTRY: &str = "registry";

impl Sockets {
    /// Has a command inherit them, and tells it which they are.
    pub fn pass_on(&self, command: &mut Command) {
        let ports = self.ports.iter().map(|one| (one.socket.as_raw_fd(), one.node_port.to_string()));
        let registry = self.registry.iter().map(|socket| (socket.as_raw_fd(), REGISTRY.to_owned()));
        let all: Vec<(RawFd, String)> = ports.chain(registry).collect();
        if !all.is_empty() {
            let named: Vec<String> = all.iter().map(|(descriptor, what)| format!("{descriptor}={what}")).collect();
            command.arg("--published").arg(named.join(","));
            sys::pass_on(command, all.into_iter().map(|(descriptor, _)| descriptor).collect());
        }
    }

    /// Takes them over by what [`Sockets::pass_on`] told. Nobody who is started from here on has them, unless told so.
    ///
    /// # Errors
    /// There are none of that name.
    pub fn take(told: &str) -> Result<Sockets> {
        let mut sockets = Sockets::default();
        let mut one = |text: &str| {
            let (descriptor, what) = text.split_once('=').context("it is DESCRIPTOR=PORT")?;
            let socket = sys::take_descriptor(descriptor.parse()?)?;
            match what {
                REGISTRY => sockets.registry = Some(socket),
                port => sockets.ports.push(Published { socket, node_port: port.parse()? }),
            }
            anyhow::Ok(())
        };
        let mut named = told.split(',').filter(|text| !text.is_empty());
        named.try_for_each(&mut one).with_context(|| format!("failed to take over the sockets {told:?}"))?;
        Ok(sockets)
    }

    /// What people are told of the ports.
    ///
    /// # Errors
    /// One is no socket of an address.
    pub fn told(&self) -> io::Result<Vec<Told>> {
        self.ports.iter().map(Published::told).collect()
    }
}

/// The sockets of nodes that are about to be started, by their numbers.
#[derive(Debug, Default)]
pub struct Listening(BTreeMap<u8, Sockets>);

impl Listening {
    /// Opens the sockets of those nodes of a cluster that do not run, on the host, where this process is.
    ///
    /// # Errors
    /// A port is in use, or an address is not the host's; none is open then.
    pub fn open(nodes: &[LocalNode<'_>]) -> Result<Listening> {
        let mut open = BTreeMap::new();
        for node in nodes {
            let ports: Vec<_> = node.cluster.published.iter().filter(|port| port.node == node.number).collect();
            let registry = node.cluster.registry.filter(|_| node.is_first());
            if (ports.is_empty() && registry.is_none()) || node.process().is_some() {
                continue;
            }
            let ports = ports.into_iter().map(open_one).collect::<Result<Vec<_>>>()?;
            let registry = registry.map(open_registry).transpose()?;
            open.insert(node.number, Sockets { ports, registry });
        }
        Ok(Listening(open))
    }

    /// Those of a node.
    pub fn of(&self, node: u8) -> Option<&Sockets> {
        self.0.get(&node)
    }
}

/// On this host alone, as it has no credentials and no TLS.
fn open_registry(port: u16) -> Result<OwnedFd> {
    let host = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let opened = open_one(&Port { host, node_port: 0, protocol: Protocol::Tcp, node: FIRST });
    opened.map(|one| one.socket).with_context(|| {
        format!(
            "there is no place for the registry: name another port of this host, as `--registry {}`",
            port.wrapping_add(1)
        )
    })
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
        let first = listening.of(1).unwrap();
        assert!(first.ports.len() == 1 && first.registry.is_none() && listening.of(2).is_none());
        let mut command = Command::new("x");
        first.pass_on(&mut command);
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        assert!(arguments[0] == "--published" && arguments[1].ends_with("=80"), "{arguments:?}");
        for wrong in ["x", "3", "-1=80", "99999=80", "0=80"] {
            assert!(Sockets::take(wrong).is_err(), "{wrong}");
        }
        assert!(Sockets::take("").unwrap().ports.is_empty());
    }
}
