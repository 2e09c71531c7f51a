//! What `--publish` says, in the grammar of `docker run`: `[[HOSTIP:][HOSTPORT]:]NODEPORT[/tcp|udp][@NODE]`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;

/// Most ports that one cluster publishes.
const MAX_PORTS: usize = 256;

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// One value of `--publish`: a port, or as many in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    address: IpAddr,
    /// The first port of the host; `None` for any that are free.
    host: Option<u16>,
    /// The first port of the node.
    node: u16,
    count: u16,
    protocol: Protocol,
    /// The name of the node; the one with the server unless given.
    at: Option<String>,
}

/// A port of the host that leads to one of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Where the host listens; port 0 for any that is free.
    pub host: SocketAddr,
    /// The node's port.
    pub node_port: u16,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The number of the node.
    pub node: u8,
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Publish, String> {
        let (rest, at) = match text.rsplit_once('@') {
            Some((_, "")) => return Err("a node is named after '@'".into()),
            Some((rest, node)) => (rest, Some(node.to_owned())),
            None => (text, None),
        };
        let (rest, protocol) = match rest.rsplit_once('/') {
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => return Err(format!("{other:?} is no protocol that is published: tcp and udp are")),
            None => (rest, Protocol::Tcp),
        };
        let (address, host, node) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (address, ports) =
                    bracketed.split_once("]:").ok_or("an address in brackets is followed by ':' and ports")?;
                let (host, node) = ports.split_once(':').ok_or("an address is followed by HOSTPORT:NODEPORT")?;
                (Some(address), Some(host), node)
            }
            None => match rest.split(':').collect::<Vec<_>>()[..] {
                [node] => (None, None, node),
                [host, node] => (None, Some(host), node),
                [address, host, node] => (Some(address), Some(host), node),
                _ => return Err("it is [[HOSTIP:][HOSTPORT]:]NODEPORT, and an address of IPv6 is in brackets".into()),
            },
        };
        let address = match address {
            None => Ipv4Addr::LOCALHOST.into(),
            Some(address) => address.parse().map_err(|_| format!("{address:?} is no address of this host"))?,
        };
        let (node, count) = range(node)?;
        if node == 0 {
            return Err("a node has no port 0".into());
        }
        let host = match host {
            None | Some("") => None,
            Some(host) => Some(range(host)?),
        };
        match host {
            Some((0, others)) if others > 1 => Err("a range does not begin with port 0".into()),
            Some((_, others)) if others != count => {
                Err(format!("the host's range has another length ({others}) than the node's ({count})"))
            }
            Some((0, _)) | None => Ok(Publish { address, host: None, node, count, protocol, at }),
            Some((host, _)) => Ok(Publish { address, host: Some(host), node, count, protocol, at }),
        }
    }
}

/// A port, or a range of ports, as the first one and how many there are.
fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|_| is_number);
        number.ok_or_else(|| format!("{text:?} is no port: ports are from 1 to 65535"))
    };
    let Some((first, last)) = text.split_once('-') else { return Ok((port(text)?, 1)) };
    let (first, last) = (port(first)?, port(last)?);
    let more = last.checked_sub(first).ok_or_else(|| format!("the range {text} ends before it begins"))?;
    match more.checked_add(1) {
        Some(count) if usize::from(count) <= MAX_PORTS => Ok((first, count)),
        _ => Err(format!("the range {text} has more than {MAX_PORTS} ports")),
    }
}

/// The ports of a cluster that has these nodes.
///
/// # Errors
/// A node is not there, a port of the host is named twice, or there are too many.
pub fn resolve(wanted: &[Publish], cluster: &Cluster) -> Result<Vec<Port>> {
    let nodes = cluster.all_nodes();
    let (mut ports, mut taken) = (Vec::new(), BTreeSet::new());
    for one in wanted {
        let name = one.at.as_deref().unwrap_or_else(|| cluster.node_name());
        let node = nodes.iter().find(|node| node.name() == name).with_context(|| {
            let names: Vec<String> = nodes.iter().map(|node| node.name()).collect();
            format!(
                "a port cannot be published of the node {name:?}, which is not there: there are {}",
                names.join(", ")
            )
        })?;
        for offset in 0..one.count {
            let host = SocketAddr::new(one.address, one.host.map_or(0, |first| first.saturating_add(offset)));
            if host.port() != 0 && !taken.insert((host, one.protocol)) {
                bail!("the port {host}/{} of the host is published twice", one.protocol);
            }
            let node_port = one.node.saturating_add(offset);
            ports.push(Port { host, node_port, protocol: one.protocol, node: node.number });
        }
    }
    if ports.len() > MAX_PORTS {
        bail!("a cluster publishes {MAX_PORTS} ports at most");
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{FurtherNode, Kind, Place};

    fn cluster() -> Cluster {
        let place = Place { name: "dev".into(), dir: "/x".into(), listed: None };
        let mut cluster = Cluster::new(&place, Kind::Local, "10.90.7.0/24".parse().unwrap());
        cluster.nodes = vec![FurtherNode { number: 2, ..FurtherNode::default() }];
        cluster
    }

    fn ports(texts: &[&str]) -> Result<Vec<String>, String> {
        let wanted = texts.iter().map(|text| text.parse()).collect::<Result<Vec<Publish>, String>>()?;
        let ports = resolve(&wanted, &cluster()).map_err(|error| error.to_string())?;
        let line = |port: Port| format!("{}>{}/{}@{}", port.host, port.node_port, port.protocol, port.node);
        Ok(ports.into_iter().map(line).collect())
    }

    #[test]
    fn the_grammar_is_that_of_docker_and_the_host_listens_on_loopback_unless_told_otherwise() {
        for (text, expected) in [
            ("8080:80", "127.0.0.1:8080>80/tcp@1"),
            ("80", "127.0.0.1:0>80/tcp@1"),
            (":80", "127.0.0.1:0>80/tcp@1"),
            ("0:80", "127.0.0.1:0>80/tcp@1"),
            ("0.0.0.0:8080:80/tcp", "0.0.0.0:8080>80/tcp@1"),
            ("192.0.2.1::53/udp", "192.0.2.1:0>53/udp@1"),
            ("[::1]:8080:80", "[::1]:8080>80/tcp@1"),
            ("[::]::80/udp@dev-2", "[::]:0>80/udp@2"),
            ("8080:80@dev", "127.0.0.1:8080>80/tcp@1"),
        ] {
            assert_eq!(ports(&[text]).unwrap(), [expected], "{text}");
        }
        let range = ports(&["8000-8002:9000-9002"]).unwrap();
        assert_eq!((range.len(), range[2].as_str()), (3, "127.0.0.1:8002>9002/tcp@1"));
        assert_eq!(ports(&["9000-9001/udp"]).unwrap(), ["127.0.0.1:0>9000/udp@1", "127.0.0.1:0>9001/udp@1"]);
        assert_eq!(ports(&["65535:65535"]).unwrap(), ["127.0.0.1:65535>65535/tcp@1"]);
    }

    #[test]
    fn what_cannot_be_published_is_refused() {
        for text in [
            "",
            ":",
            "a:b",
            "8080:0",
            "8080:80/sctp",
            "8080:80@",
            "::1:8080:80",
            "[::1]",
            "[::1]:80",
            "[x]:1:2",
            "host:8080:80",
            "8000-8010:80",
            "8010-8000:8010-8000",
            "0-1:80-81",
            "65536:80",
            "+1:80",
            "1-300:1-300",
            "80:80@nobody",
            "1:2:3:4",
        ] {
            assert!(ports(&[text]).is_err(), "{text}");
        }
        assert!(ports(&["8080:80", "8080:81"]).unwrap_err().contains("twice"));
        assert!(ports(&["8080:80", "8080:80/udp", "127.0.0.2:8080:80"]).is_ok());
        assert!(ports(&["1000-1200:1000-1200", "2000-2200:2000-2200"]).unwrap_err().contains("at most"));
    }
}
