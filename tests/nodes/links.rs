//! The host's ends of the links of local nodes, which can be taken down and up.

use std::fs::File;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const UP: u32 = 1;

/// A link of the host, by its number.
#[derive(Clone, Copy, Debug)]
pub struct HostLink(u32);

impl HostLink {
    /// The one whose other end is `eth0` in the network of a process.
    pub fn of(process: i32) -> HostLink {
        const NAME: u16 = 3;
        const OTHER_END: u16 = 5;
        let netns = File::open(format!("/proc/{process}/ns/net")).unwrap();
        let ask = || {
            // Only this thread moves, and it ends at once.
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(LinkNameSpaceType::Network)).unwrap();
            let mut attributes = Vec::new();
            attributes.extend(9_u16.to_ne_bytes());
            attributes.extend(NAME.to_ne_bytes());
            attributes.extend(b"eth0\0\0\0\0");
            let answer = exchange(GET_LINK, REQUEST, [0, 0, 0], &attributes);
            let mut rest = answer.get(32..).expect("the kernel tells of the link");
            loop {
                let short = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
                let (length, kind) = (usize::from(short(0)), short(2));
                if kind == OTHER_END {
                    return HostLink(u32::from_ne_bytes(rest[4..8].try_into().unwrap()));
                }
                rest = &rest[length.next_multiple_of(4)..];
            }
        };
        std::thread::scope(|scope| scope.spawn(ask).join()).unwrap()
    }

    /// Takes it down: nothing passes either way.
    pub fn down(self) {
        self.set(0);
    }

    pub fn up(self) {
        self.set(UP);
    }

    fn set(self, flags: u32) {
        let answer = exchange(NEW_LINK, REQUEST | ACKNOWLEDGE, [self.0, flags, UP], &[]);
        assert_eq!(answer[16..20], [0; 4], "the kernel refuses");
    }
}

/// Sends a message about a link, whose number, flags, and change of flags are given; answers what comes back.
fn exchange(kind: u16, flags: u16, link: [u32; 3], attributes: &[u8]) -> Vec<u8> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
    let socket = socket.unwrap();
    let mut message = Vec::new();
    message.extend((32 + attributes.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    link.iter().for_each(|number| message.extend(number.to_ne_bytes()));
    message.extend(attributes);
    send(&socket, &message, SendFlags::empty()).unwrap();
    let mut buffer = vec![0; 32 << 10];
    let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
    buffer.truncate(length);
    buffer
}
