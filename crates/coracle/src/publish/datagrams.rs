//! Datagrams of published ports: each client has a session with a socket of its own in the node, so that answers find back.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Socket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

use super::forward::Target;

/// Most clients of one port at a time; another one takes the place of the one that was silent for longest.
const MAX_SESSIONS: usize = 1000;
/// After how much silence a session ends.
const IDLE: Duration = Duration::from_secs(60);
/// Datagrams of one client that wait; more are lost, as datagrams may be.
const QUEUE: usize = 64;
/// Bytes of the largest datagram.
const LARGEST: usize = 64 << 10;

struct Session {
    sender: mpsc::Sender<Vec<u8>>,
    heard: Instant,
}

/// Takes datagrams on to the node, and answers back.
pub(super) async fn forward(socket: Socket, target: Target) -> Result<()> {
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let mut sessions: HashMap<SocketAddr, Session> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // Of an answer to a client that is gone.
            Err(error) => {
                tracing::debug!(port = target.port, "a published port was told: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        let datagram = match sessions.get_mut(&client) {
            Some(session) => {
                session.heard = Instant::now();
                match session.sender.try_send(datagram) {
                    Ok(()) | Err(TrySendError::Full(_)) => continue,
                    Err(TrySendError::Closed(datagram)) => datagram,
                }
            }
            None => datagram,
        };
        if sessions.len() >= MAX_SESSIONS {
            make_room(&mut sessions);
        }
        let Some(place) = target.places.session() else { continue };
        let (sender, receiver) = mpsc::channel(QUEUE);
        sessions.insert(client, Session { sender, heard: Instant::now() });
        let (socket, target) = (socket.clone(), target.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = session(&socket, client, &target, datagram, receiver).await {
                tracing::debug!(port = target.port, "datagrams of a published port were not taken on: {error}");
            }
        });
    }
}

/// Forgets sessions that have ended, or the one that was silent for longest, which ends by that.
fn make_room(sessions: &mut HashMap<SocketAddr, Session>) {
    sessions.retain(|_, session| !session.sender.is_closed());
    if sessions.len() >= MAX_SESSIONS
        && let Some(client) = sessions.iter().min_by_key(|(_, session)| session.heard).map(|(client, _)| *client)
    {
        sessions.remove(&client);
    }
}

/// One client, until it is silent for long. The kernel says at once where nobody listens: then the next is asked, who gets the
/// first datagram as well.
async fn session(
    socket: &UdpSocket,
    client: SocketAddr,
    target: &Target,
    first: Vec<u8>,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut failed = io::Error::from(io::ErrorKind::ConnectionRefused);
    for candidate in target.all() {
        match exchange(socket, client, candidate.address, &first, &mut datagrams).await {
            Err((error, false)) => failed = error,
            Err((error, true)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(failed)
}

/// Sends and answers until there is silence. An error comes with whether there was an answer before it.
async fn exchange(
    socket: &UdpSocket,
    client: SocketAddr,
    address: SocketAddr,
    first: &[u8],
    datagrams: &mut mpsc::Receiver<Vec<u8>>,
) -> Result<(), (io::Error, bool)> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let open = async {
        let backend = UdpSocket::bind((any, 0)).await?;
        backend.connect(address).await?;
        backend.send(first).await?;
        Ok(backend)
    };
    let backend: UdpSocket = open.await.map_err(|error| (error, false))?;
    let mut answered = false;
    loop {
        let silence = tokio::time::sleep(IDLE);
        tokio::select! {
            datagram = datagrams.recv() => match datagram {
                Some(datagram) => backend.send(&datagram).await.map_err(|error| (error, answered))?,
                None => return Ok(()),
            },
            ready = backend.ready(Interest::READABLE | Interest::ERROR) => {
                if ready.map_err(|error| (error, answered))?.is_error() {
                    // Nobody listens there; without an answer that could be read, this is all that is told.
                    let told = backend.try_io(Interest::ERROR, || match backend.take_error()? {
                        Some(error) => Ok(error),
                        None => Err(io::ErrorKind::WouldBlock.into()),
                    });
                    if let Ok(error) = told {
                        return Err((error, answered));
                    }
                }
                // Made when there is something: most sessions wait, and most datagrams are small.
                let mut answer = Vec::with_capacity(LARGEST);
                match backend.try_recv_buf(&mut answer) {
                    Ok(_) => {
                        answered = true;
                        socket.send_to(&answer, client).await.map_err(|error| (error, answered))?
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err((error, answered)),
                }
            }
            () = silence => return Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_silent_for_longest_makes_room_unless_others_have_ended() {
        let now = Instant::now();
        let mut kept = Vec::new();
        let mut sessions: HashMap<SocketAddr, Session> = (0..MAX_SESSIONS)
            .map(|number| {
                let (sender, receiver) = mpsc::channel(1);
                kept.push(receiver);
                let client = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number as u16 + 1);
                (client, Session { sender, heard: now + Duration::from_secs(number as u64) })
            })
            .collect();
        make_room(&mut sessions);
        assert_eq!(sessions.len(), MAX_SESSIONS - 1);
        assert!(!sessions.contains_key(&"127.0.0.1:1".parse().unwrap()));
        kept.truncate(10);
        make_room(&mut sessions);
        assert_eq!(sessions.len(), 9, "those that have ended are forgotten first");
    }
}
