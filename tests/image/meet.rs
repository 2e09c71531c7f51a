//! Who reaches whom, asked of many at once.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::{Outcome, dns, process};

/// How long one waits for another.
const TIMEOUT: Duration = Duration::from_millis(1000);

/// `meet PORT,... COUNT NAME...`: answers at these ports of TCP and UDP, and asks those of these names, all at once, again and
/// again. Each round is a line: its number, and `ADDRESS/PROTOCOL/PORT` of those that answered. Before the first round each name
/// has so many addresses.
pub fn meet(arguments: &[String]) -> Outcome {
    process::on_terminate(process::end_as_terminated);
    let [ports, count, names @ ..] = arguments else { return Err("meet: ports and a number are missing".into()) };
    let count: usize = count.parse()?;
    let ports: Vec<u16> = ports.split(',').map(str::parse).collect::<Result<_, _>>()?;
    for port in &ports {
        answer(*port)?;
    }
    let addresses = names.iter().map(|name| known(name, count)).collect::<Vec<_>>().concat();
    for round in 0_u64.. {
        let mut asked = Vec::new();
        for at in addresses.iter().flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port))) {
            let (address, port) = (at.ip(), at.port());
            asked.push(std::thread::spawn(move || connects(at).then(|| format!("{address}/TCP/{port}"))));
            asked.push(std::thread::spawn(move || echoes(at).then(|| format!("{address}/UDP/{port}"))));
        }
        let answered: BTreeSet<String> = asked.into_iter().filter_map(|one| one.join().ok().flatten()).collect();
        println!("{round} {}", answered.into_iter().collect::<Vec<_>>().join(" "));
    }
    Ok(0)
}

/// Greets who connects, and sends datagrams back.
fn answer(port: u16) -> Result<(), std::io::Error> {
    let any = if UdpSocket::bind(("::", 0)).is_ok() { "::" } else { "0.0.0.0" };
    let (listener, socket) = (TcpListener::bind((any, port))?, UdpSocket::bind((any, port))?);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"x");
        }
    });
    Ok(())
}

/// The addresses of a name, of either family, once there are enough.
fn known(name: &str, count: usize) -> Vec<IpAddr> {
    loop {
        let of = |kind| dns::lookup(name, kind).unwrap_or_default();
        let found: Vec<IpAddr> =
            [of(dns::A), of(dns::AAAA)].concat().iter().filter_map(|one| one.parse().ok()).collect();
        if found.len() >= count {
            return found;
        }
        std::thread::sleep(TIMEOUT);
    }
}

fn connects(at: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&at, TIMEOUT) else { return false };
    stream.set_read_timeout(Some(TIMEOUT)).is_ok() && stream.read_exact(&mut [0]).is_ok()
}

fn echoes(at: SocketAddr) -> bool {
    let any = if at.is_ipv4() { "0.0.0.0" } else { "::" };
    let ask = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.connect(at)?;
        socket.send(b"x")?;
        socket.recv(&mut [0; 64])
    };
    ask().is_ok()
}
