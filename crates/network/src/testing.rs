//! Network namespaces for tests: each is a thread that lives in one.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use coracle_values::addresses::Family;
use ipnet::IpNet;

use crate::{HostPort, NodeNetwork, NodeNetworkConfig};

pub use coracle_testing::{Lacks, is_root, skip};

/// A network namespace that lives as long as its file.
pub struct Namespace(File);

impl Namespace {
    pub fn new() -> Namespace {
        let thread = std::thread::spawn(|| {
            // SAFETY: a network namespace is no memory; only this thread goes there, and it ends at once.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Namespace(thread.join().unwrap())
    }

    pub fn fd(&self) -> &File {
        &self.0
    }

    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        use std::os::fd::AsFd;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }
}

/// The counterpart in a family of an address that is written as one of IPv4: `fd00:10:9:2::1` of `10.9.2.1`.
pub fn of(family: Family, address: &str) -> IpAddr {
    let digits: Vec<&str> = address.split('.').collect();
    let text = match (family, &digits[..]) {
        (Family::V6, [a, b, c, d]) => format!("fd00:{a}:{b}:{c}::{d}"),
        _ => address.to_owned(),
    };
    text.parse().unwrap()
}

/// The same of a network: of 16, 24 or 32 bits there, of 48, 64 or 128 here.
pub fn net(family: Family, network: &str) -> IpNet {
    let (address, prefix) = network.split_once('/').unwrap();
    let prefix = match (family, prefix) {
        (Family::V6, "16") => 48,
        (Family::V6, "24") => 64,
        (Family::V6, "32") => 128,
        (_, prefix) => prefix.parse().unwrap(),
    };
    IpNet::new(of(family, address), prefix).unwrap()
}

/// A host's addresses of both families with their networks, each with its gateway.
pub fn host_of_both(address: &str, gateway: &str) -> Vec<(IpNet, IpAddr)> {
    Family::ALL.map(|family| (net(family, &format!("{address}/24")), of(family, gateway))).into()
}

pub fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Connects a pod; answers with its addresses, that of IPv4 first.
pub fn attach(network: &NodeNetwork, name: &str, pod: &Namespace, ports: &[HostPort]) -> [IpAddr; 2] {
    use std::os::fd::AsFd;
    network.attach_blocking(name, pod.fd().as_fd(), ports).unwrap().try_into().unwrap()
}

/// The one of IPv4.
pub fn v4(addresses: [IpAddr; 2]) -> Ipv4Addr {
    let IpAddr::V4(address) = addresses[0] else { panic!("{addresses:?}") };
    address
}

/// Answers every connection with one byte, on a thread of its own.
pub fn tcp_server(port: u16, answer: u8) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(1000).flatten() {
            let mut stream = stream;
            let _ = stream.write_all(&[answer]);
        }
    });
}

/// The byte that a server answers with, `None` when it cannot be reached.
pub fn tcp_answer(address: impl Into<IpAddr>, port: u16) -> Option<u8> {
    let address = SocketAddr::new(address.into(), port);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

/// Answers datagrams with one byte, on a thread of its own.
pub fn udp_server(port: u16, answer: u8) {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for _ in 0..1000 {
            let Ok((_, client)) = socket.recv_from(&mut [0]) else { return };
            let _ = socket.send_to(&[answer], client);
        }
    });
}

/// The byte with which a datagram is answered, `None` when it is not.
pub fn udp_answer(socket: &UdpSocket, address: impl Into<IpAddr>, port: u16) -> Option<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    socket.send_to(&[1], (address.into(), port)).ok()?;
    let mut byte = [0];
    socket.recv_from(&mut byte).ok()?;
    Some(byte[0])
}

/// A node's network in the current namespace, with its files in a directory.
pub fn node_config(bridge: &str, state: &std::path::Path, on_host: bool) -> NodeNetworkConfig {
    NodeNetworkConfig {
        bridge: bridge.into(),
        state: state.join("addresses"),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        overlay: "vx".into(),
        pod_cidr: "10.244.0.0/24,fd00:10:244::/64".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16,fd00:10:244::/48".parse().unwrap(),
        service_cidr: "10.96.0.0/16,fd00:10:96::/48".parse().unwrap(),
        service_addresses: vec!["10.96.0.10".parse().unwrap()],
        mtu: 1500,
        on_host,
    }
}

/// Frames as they are on a link.
pub struct Wire(OwnedFd);

pub const EVERYBODY: [u8; 6] = [0xff; 6];

impl Wire {
    /// Opens a link of the current namespace.
    pub fn open(link: &str) -> Wire {
        // SAFETY: the call takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(ALL.to_be())) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just made and is nobody else's.
        let wire = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = rustix::net::netdevice::name_to_index(&wire, link).unwrap();
        // SAFETY: zeroes are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL.to_be();
        address.sll_ifindex = index as i32;
        let size = size_of_val(&address) as u32;
        // SAFETY: the address lives across the call and has the size that is said.
        let bound = unsafe { libc::bind(fd, (&raw const address).cast(), size) };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        rustix::net::sockopt::set_socket_timeout(
            &wire,
            rustix::net::sockopt::Timeout::Recv,
            Some(Duration::from_secs(10)),
        )
        .unwrap();
        Wire(wire)
    }

    pub fn send(&self, frame: &[u8]) {
        rustix::io::write(&self.0, frame).unwrap();
    }

    /// The next frame that satisfies a condition.
    pub fn next(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut buffer = [0; 2048];
        loop {
            let length = rustix::io::read(&self.0, &mut buffer).unwrap();
            if wanted(&buffer[..length]) {
                return buffer[..length].to_vec();
            }
        }
    }
}

const ALL: u16 = 3;

pub fn frame(to: [u8; 6], from: [u8; 6], protocol: u16, data: &[u8]) -> Vec<u8> {
    [&to[..], &from, &protocol.to_be_bytes(), data].concat()
}

/// An ARP answer: the address `is` has this hardware address.
pub fn arp(hardware: [u8; 6], is: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 2][..], &hardware, &is.octets(), &EVERYBODY, &to.octets()].concat()
}

/// A packet with a datagram of one byte.
pub fn datagram(from: Ipv4Addr, to: Ipv4Addr, port: u16, byte: u8) -> Vec<u8> {
    let mut header = [&[0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0][..], &from.octets(), &to.octets()].concat();
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes());
    [&header[..], &4000_u16.to_be_bytes(), &port.to_be_bytes(), &[0, 9, 0, 0, byte]].concat()
}
