//! Network namespaces for tests: each is a thread that lives in one.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

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

/// Answers every connection with one byte, on a thread of its own.
pub fn tcp_server(port: u16, answer: u8) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(1000).flatten() {
            let mut stream = stream;
            let _ = stream.write_all(&[answer]);
        }
    });
}

/// The byte that a server answers with, `None` when it cannot be reached.
pub fn tcp_answer(address: Ipv4Addr, port: u16) -> Option<u8> {
    let address = SocketAddrV4::new(address, port);
    let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_secs(3)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

/// Answers datagrams with one byte, on a thread of its own.
pub fn udp_server(port: u16, answer: u8) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for _ in 0..1000 {
            let Ok((_, client)) = socket.recv_from(&mut [0]) else { return };
            let _ = socket.send_to(&[answer], client);
        }
    });
}

/// The byte with which a datagram is answered, `None` when it is not.
pub fn udp_answer(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> Option<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    socket.send_to(&[1], (address, port)).ok()?;
    let mut byte = [0];
    socket.recv_from(&mut byte).ok()?;
    Some(byte[0])
}
