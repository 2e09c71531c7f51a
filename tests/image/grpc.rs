//! A server of the gRPC health service, in as much of HTTP/2 as one probe at a time needs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::{Outcome, process};

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// No frame is longer unless it was agreed on.
const LONGEST: usize = 1 << 14;

/// `grpc --port N`: says `SERVING` to whoever asks.
pub fn serve(arguments: &[String]) -> Outcome {
    process::on_terminate(process::end_as_terminated);
    let port = arguments.windows(2).find(|pair| pair[0] == "--port").map_or("5000", |pair| &pair[1]);
    let port = port.parse::<u16>()?;
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || answer(stream));
    }
    Ok(0)
}

/// Answers every request of a connection.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE])?;
    frame(&mut stream, SETTINGS, 0, 0, &[])?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if length > LONGEST {
            return Ok(());
        }
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut stream, SETTINGS, ACK, 0, &[])?,
            PING if flags & ACK == 0 => frame(&mut stream, PING, ACK, 0, &payload)?,
            HEADERS => {
                // `:status 200` is the eighth of the static table.
                let mut headers = vec![0x88];
                literal(&mut headers, "content-type", "application/grpc");
                frame(&mut stream, HEADERS, END_HEADERS, id, &headers)?;
                // A message that is not compressed, two bytes long: field 1 is 1, SERVING.
                frame(&mut stream, 0, 0, id, &[0, 0, 0, 0, 2, 8, 1])?;
                let mut trailers = Vec::new();
                literal(&mut trailers, "grpc-status", "0");
                frame(&mut stream, HEADERS, END_HEADERS | END_STREAM, id, &trailers)?;
            }
            _ => {}
        }
    }
}

fn frame(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    stream.write_all(&bytes)
}

/// A header that is in no table and does not come into one. Both are shorter than 127 bytes.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap_or(0));
        block.extend(text.as_bytes());
    }
}
