//! Connections to endpoints, which others name: the kernel leads them to no other place.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// The bits of packets' marks that say what must not become of a connection; 0 where nobody looks at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It is refused where a rule translates it, as those of services do.
    pub as_sent: u32,
    /// It is refused where it would come to this machine.
    pub elsewhere: u32,
}

/// How connections to endpoints are made.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    marks: Marks,
    node: Vec<IpAddr>,
}

impl Dial {
    /// One with these marks. At these addresses of the node may be pods, which [`crate::backend::Forbidden`] decides.
    pub fn new(marks: Marks, node: Vec<IpAddr>) -> Dial {
        Dial { marks, node }
    }

    fn mark(&self, to: IpAddr) -> u32 {
        self.marks.as_sent | if self.node.contains(&to) { 0 } else { self.marks.elsewhere }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// There is none, or this process may not mark it.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let mark = self.mark(to.ip());
        if mark != 0 {
            socket2::SockRef::from(&socket).set_mark(mark)?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_nodes_own_addresses_may_be_here() {
        let (own, other) = (IpAddr::from([10, 90, 0, 2]), IpAddr::from([10, 90, 0, 3]));
        let dial = Dial::new(Marks { as_sent: 1, elsewhere: 2 }, vec![own]);
        assert_eq!((dial.mark(own), dial.mark(other)), (1, 3));
    }
}
