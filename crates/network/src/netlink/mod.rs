//! Netlink: sockets, messages and their attributes. <https://docs.kernel.org/userspace-api/netlink/intro.html>

pub mod overlay;
pub mod proxied;
pub mod qdisc;
pub mod route;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with, sockopt,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const REPLACE: u16 = 0x100;
pub const EXCL: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const DUMP: u16 = 0x300;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// One netlink message under construction.
pub struct Message(Vec<u8>);

impl Message {
    /// Starts a message with its family's fixed header.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(header);
        Message(bytes)
    }

    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Message {
        put(&mut self.0, kind, value);
        self
    }

    pub fn text(self, kind: u16, value: &str) -> Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// A number in the machine's order, as rtnetlink has them.
    pub fn native(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as nfnetlink has them.
    pub fn big(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Attributes in an attribute.
    pub fn nest(mut self, kind: u16, inner: impl FnOnce(Message) -> Message) -> Message {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut message = inner(self);
        let length = (message.0.len() - start) as u16;
        message.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    /// Bytes without an attribute's header: a fixed structure within a nest.
    pub fn raw(mut self, value: &[u8]) -> Message {
        self.0.extend_from_slice(value);
        pad(&mut self.0);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }

    #[cfg(test)]
    pub fn contains(&self, text: &str) -> bool {
        self.0.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn wants_ack(&mut self) {
        self.0[6] |= ACK as u8;
    }
}

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in a slice.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A netlink socket; it stays in the network namespace in which it was opened.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket for links, addresses and routes.
    pub fn route() -> Result<Socket> {
        // NETLINK_ROUTE is protocol 0, which is said by saying none.
        Socket::open(None)
    }

    /// Opens a socket for nftables.
    pub fn netfilter() -> Result<Socket> {
        Socket::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> Result<Socket> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .context("failed to open a netlink socket")?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        // Large nftables batches need room; without the right to force it the default has to do.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, 32 << 20)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&fd, 4 << 20));
        let _ = sockopt::set_socket_recv_buffer_size(&fd, 1 << 20);
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends one message and waits for its acknowledgement.
    pub fn request(&mut self, message: Message) -> io::Result<()> {
        self.batch(vec![message])
    }

    /// Sends messages at once and waits until the last one is acknowledged; the first error ends it.
    pub fn batch(&mut self, mut messages: Vec<Message>) -> io::Result<()> {
        let Some(last) = messages.last_mut() else { return Ok(()) };
        last.wants_ack();
        self.send(messages, None)
    }

    /// Sends nftables messages as one transaction.
    pub fn transaction(&mut self, begin: Message, mut messages: Vec<Message>, end: Message) -> io::Result<()> {
        let Some(last) = messages.last_mut() else { return Ok(()) };
        last.wants_ack();
        messages.insert(0, begin);
        self.send(messages, Some(end))
    }

    fn send(&mut self, messages: Vec<Message>, end: Option<Message>) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend(message.finish(self.sequence));
        }
        let acknowledged = self.sequence;
        if let Some(end) = end {
            self.sequence += 1;
            bytes.extend(end.finish(self.sequence));
        }
        self.send_at_once(&bytes)?;
        let mut outcome = None;
        self.receive(|kind, sequence, payload| {
            if sequence < first || kind != ERROR {
                return true;
            }
            let code = payload.get(..4).map_or(0, |code| i32::from_ne_bytes(code.try_into().unwrap_or_default()));
            if code != 0 {
                outcome = Some(Err(io::Error::from_raw_os_error(-code)));
            } else if sequence == acknowledged {
                outcome = Some(Ok(()));
            }
            outcome.is_none()
        })?;
        outcome.unwrap_or_else(|| Err(io::Error::other("the kernel did not answer a netlink request")))
    }

    /// A transaction is one message however large it is, for which the kernel wants room in the socket first.
    fn send_at_once(&self, bytes: &[u8]) -> io::Result<()> {
        match send(&self.fd, bytes, SendFlags::empty()) {
            Err(Errno::MSGSIZE) => {
                sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len())?;
                send(&self.fd, bytes, SendFlags::empty())?;
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Sends a request whose answer is a list of messages; gives each to `each`.
    pub fn dump(&mut self, message: Message, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence += 1;
        let own = self.sequence;
        send(&self.fd, &message.finish(own), SendFlags::empty())?;
        let mut failed = None;
        self.receive(|kind, sequence, payload| {
            if sequence != own {
                return true;
            }
            match kind {
                DONE => return false,
                ERROR => {
                    let code =
                        payload.get(..4).map_or(0, |code| i32::from_ne_bytes(code.try_into().unwrap_or_default()));
                    failed = (code != 0).then(|| io::Error::from_raw_os_error(-code));
                    return false;
                }
                _ => each(payload),
            }
            true
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Gives incoming messages to `each` until it says that it has enough.
    fn receive(&self, mut each: impl FnMut(u16, u32, &[u8]) -> bool) -> io::Result<()> {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let (length, _) = match recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let mut rest = &buffer[..length];
            while rest.len() >= HEADER {
                let size = u32::from_ne_bytes(rest[..4].try_into().unwrap_or_default()) as usize;
                let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap_or_default());
                let sequence = u32::from_ne_bytes(rest[8..12].try_into().unwrap_or_default());
                let Some(payload) = rest.get(HEADER..size) else { break };
                if !each(kind, sequence, payload) {
                    return Ok(());
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Runs something in another network namespace: on a thread of its own, which alone goes there.
pub fn in_namespace<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
                .context("failed to enter the network namespace")?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread in the network namespace failed")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{self, Batch, Family, InPackets};
    use crate::testing::{Namespace, is_root};

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let message = Message::new(16, 0, &[]).native(1, 7).text(2, "eth0").nest(3, |inner| inner.bytes(4, b"x"));
        let bytes = message.finish(1);
        let found: Vec<_> = attributes(&bytes[HEADER..]).collect();
        assert_eq!(found[0], (1, &7u32.to_ne_bytes()[..]));
        assert_eq!(found[1], (2, &b"eth0\0"[..]));
        assert_eq!(attributes(found[2].1).next(), Some((4, &b"x"[..])));
    }

    #[test]
    fn broken_attributes_end_the_list() {
        assert_eq!(attributes(&[255, 255, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[2, 0]).count(), 0);
    }

    #[test]
    fn a_transaction_that_is_larger_than_the_room_of_the_socket_is_made_all_the_same() {
        if !is_root() {
            return;
        }
        Namespace::new().run(|| {
            let mut socket = Socket::netfilter().unwrap();
            sockopt::set_socket_send_buffer_size(&socket.fd, 4 << 10).unwrap();
            let mut batch = Batch::of(Family::V4);
            batch.renew_table("t");
            batch.set("t", "s", Family::V4.address(), None);
            let keys: Vec<Vec<u8>> = (0..10_000u32).map(|key| key.to_be_bytes().to_vec()).collect();
            batch.add_set_elements("t", "s", &keys);
            batch.commit(&mut socket).unwrap();
            assert!(nft::table_exists(&mut socket, Family::V4, "t").unwrap());
        });
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            for (_, value) in attributes(&bytes) {
                attributes(value).for_each(drop);
            }
        }
    }
}
