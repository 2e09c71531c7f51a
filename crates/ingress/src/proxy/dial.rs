//! Connections to endpoints, which others name: the kernel leads them to no other place.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

/// The bits of packets' marks that say what must not become of a connection; 0 where nobody looks at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It is refused where a rule translates it, as those of services do.
    pub as_sent: u32,
}

/// How connections to endpoints are made.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    marks: Marks,
}

impl Dial {
    /// One with these marks.
    pub fn new(marks: Marks) -> Dial {
        Dial { marks }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// There is none, or this process may not mark it.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let mark = self.marks.as_sent;
        if mark != 0 {
            socket2::SockRef::from(&socket).set_mark(mark)?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
