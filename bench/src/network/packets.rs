//! What a packet costs: datagrams that are answered, and connections that begin.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

const PORT: u16 = 8080;
const ROUNDS: usize = 5;
const DATAGRAMS: usize = 5_000;
const CONNECTIONS: usize = 500;

/// Answers both for ever.
pub fn echo() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    });
    for stream in listener.incoming() {
        stream?.write_all(b"x")?;
    }
    Ok(())
}

/// Prints the time that a datagram and its answer take in µs, and that of a connection: the best of some rounds.
pub fn ask(to: &str) -> Result<()> {
    let to = (to.parse::<Ipv4Addr>()?, PORT);
    // The server may only start.
    let start = Instant::now();
    while TcpStream::connect(to).is_err() {
        ensure!(start.elapsed() < Duration::from_secs(10), "nobody answers at {to:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let datagrams = best(DATAGRAMS, || {
        socket.send(b"x")?;
        Ok(socket.recv(&mut [0; 8]).map(drop)?)
    })?;
    let connections = best(CONNECTIONS, || Ok(TcpStream::connect(to)?.read_exact(&mut [0])?))?;
    println!("{datagrams} {connections}");
    Ok(())
}

fn best(count: usize, mut one: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..count).try_for_each(|_| one())?;
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / count as f64);
    }
    Ok(best)
}
