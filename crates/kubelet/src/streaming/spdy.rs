//! SPDY/3.1 framing over any byte stream, the server's side.
//!
//! Only what Kubernetes' clients use: streams that the client opens, data both ways, half-close, resets, pings.
//! Clients of this family never send window updates, so windows are not waited for; what is received is granted
//! back at once, and a reader that is slow slows the whole connection, which bounds memory.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::PollSender;

use super::dictionary::dictionary;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;
const FIN: u8 = 1;

const STATUS_PROTOCOL_ERROR: u32 = 1;
const STATUS_REFUSED: u32 = 3;
const STATUS_STREAM_ALREADY_CLOSED: u32 = 9;

/// Bytes of a data frame that is sent.
const MAX_DATA: usize = 16 << 10;
/// Bytes of a frame that is taken.
const MAX_FRAME: usize = 1 << 20;
/// Bytes that wait for the readers of all streams of a connection together. A reader that is slow slows them all then.
const MAX_WAITING: usize = 2 << 20;
/// Bytes of a header block, unpacked.
const MAX_HEADERS: usize = 64 << 10;
/// Streams open at the same time.
const MAX_STREAMS: usize = 1024;
/// Frames that wait for a stream's reader.
const READ_QUEUE: usize = 16;
/// Frames that wait to be written.
const WRITE_QUEUE: usize = 64;

/// One stream that the client opened.
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Headers of its SYN_STREAM, names in lower case.
    pub headers: HashMap<String, String>,
    /// What the client sends, until its half-close.
    pub read: StreamRead,
    /// What is sent to the client; dropping it half-closes.
    pub write: StreamWrite,
}

/// The receiving half of a [`Stream`].
pub struct StreamRead {
    frames: mpsc::Receiver<Waiting>,
    current: Option<Waiting>,
}

/// A frame that waits for its reader, and its part of what may wait.
struct Waiting {
    data: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The sending half of a [`Stream`].
pub struct StreamWrite {
    id: u32,
    out: PollSender<Bytes>,
    finished: bool,
}

impl AsyncRead for StreamRead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(current) = &mut self.current {
                let count = current.data.len().min(buffer.remaining());
                buffer.put_slice(&current.data.split_to(count));
                if current.data.is_empty() {
                    self.current = None;
                }
                if count > 0 || buffer.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(self.frames.poll_recv(cx)) {
                Some(frame) => self.current = Some(frame),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn broken<E>(_: E) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for StreamWrite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.finished {
            return Poll::Ready(Err(broken(())));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.out.poll_reserve(cx)).map_err(broken)?;
        let count = data.len().min(MAX_DATA);
        let frame = data_frame(self.id, &data[..count], 0);
        self.out.send_item(frame).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        ready!(self.out.poll_reserve(cx)).map_err(broken)?;
        let frame = data_frame(self.id, &[], FIN);
        self.finished = true;
        Poll::Ready(self.out.send_item(frame).map_err(broken))
    }
}

impl Drop for StreamWrite {
    fn drop(&mut self) {
        let Some(out) = self.out.get_ref().cloned().filter(|_| !self.finished) else { return };
        let frame = data_frame(self.id, &[], FIN);
        if let Err(mpsc::error::TrySendError::Full(frame)) = out.try_send(frame)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Without room the half-close waits for it elsewhere.
            runtime.spawn(async move { out.send(frame).await });
        }
    }
}

fn data_frame(id: u32, data: &[u8], flags: u8) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(id & 0x7fff_ffff);
    frame.put_u32(u32::from(flags) << 24 | data.len() as u32);
    frame.put_slice(data);
    frame.freeze()
}

fn control_frame(kind: u16, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u32(u32::from(flags) << 24 | payload.len() as u32);
    frame.put_slice(payload);
    frame.freeze()
}

/// Two numbers as a control frame: RST_STREAM, WINDOW_UPDATE.
fn pair_frame(kind: u16, first: u32, second: u32) -> Bytes {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&first.to_be_bytes());
    payload[4..].copy_from_slice(&second.to_be_bytes());
    control_frame(kind, 0, &payload)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SPDY: {text}"))
}

/// Unpacks header blocks; the compression's state spans the connection.
struct HeaderReader(Decompress);

impl HeaderReader {
    fn new() -> HeaderReader {
        HeaderReader(Decompress::new(true))
    }

    fn read(&mut self, block: &[u8]) -> io::Result<HashMap<String, String>> {
        let mut plain: Vec<u8> = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let before = (self.0.total_in(), plain.len());
            let outcome = self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            rest = &rest[(self.0.total_in() - before.0) as usize..];
            if let Err(error) = outcome {
                if error.needs_dictionary().is_none() {
                    return Err(invalid("a header block is damaged"));
                }
                self.0.set_dictionary(&dictionary()).map_err(|_| invalid("a header block has another dictionary"))?;
                continue;
            }
            if plain.len() > MAX_HEADERS {
                return Err(invalid("a header block is too long"));
            }
            if plain.len() == plain.capacity() {
                plain.reserve(plain.len().max(1024));
            } else if rest.is_empty() || (self.0.total_in() == before.0 && plain.len() == before.1) {
                break;
            }
        }
        parse_headers(&plain)
    }
}

fn parse_headers(mut plain: &[u8]) -> io::Result<HashMap<String, String>> {
    fn number(plain: &mut &[u8]) -> io::Result<usize> {
        if plain.len() < 4 { Err(invalid("a header block is cut")) } else { Ok(plain.get_u32() as usize) }
    }
    fn text(plain: &mut &[u8]) -> io::Result<String> {
        let length = number(plain)?;
        let (head, rest) = plain.split_at_checked(length).ok_or_else(|| invalid("a header block is cut"))?;
        *plain = rest;
        Ok(String::from_utf8_lossy(head).into_owned())
    }
    let count = number(&mut plain)?;
    let mut headers = HashMap::new();
    for _ in 0..count {
        let name = text(&mut plain)?;
        headers.insert(name.to_lowercase(), text(&mut plain)?);
    }
    Ok(headers)
}

/// Packs header blocks.
struct HeaderWriter(Compress);

impl HeaderWriter {
    fn new() -> io::Result<HeaderWriter> {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&dictionary()).map_err(|_| invalid("the dictionary is refused"))?;
        Ok(HeaderWriter(compress))
    }

    fn write(&mut self, headers: &[(&str, &str)]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(plain.len() + 128);
        let mut rest = &plain[..];
        loop {
            let before = self.0.total_in();
            self.0
                .compress_vec(rest, &mut packed, FlushCompress::Sync)
                .map_err(|_| invalid("headers cannot be packed"))?;
            rest = &rest[(self.0.total_in() - before) as usize..];
            if packed.len() < packed.capacity() && rest.is_empty() {
                return Ok(packed);
            }
            packed.reserve(256);
        }
    }
}

/// Serves a connection; answers with the streams that the client opens. The connection ends when the client closes
/// it, or when the receiver and all streams are dropped.
pub fn serve<S>(io: S) -> mpsc::Receiver<Stream>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (opened, streams) = mpsc::channel(16);
    let (out, mut frames) = mpsc::channel::<Bytes>(WRITE_QUEUE);
    let (reader, mut writer) = tokio::io::split(io);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            let mut result = writer.write_all(&frame).await;
            while let (Ok(()), Ok(frame)) = (&result, frames.try_recv()) {
                result = writer.write_all(&frame).await;
            }
            if result.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        // The reader holds its sender weakly: once all streams are gone the writer ends the connection.
        let weak = out.downgrade();
        let mut connection = Connection {
            out: weak,
            opened,
            streams: HashMap::new(),
            room: Arc::new(Semaphore::new(MAX_WAITING)),
            headers: HeaderReader::new(),
            last: 0,
        };
        let result = connection.read_all(reader, out).await;
        if let Err(error) = result {
            tracing::debug!(%error, "a SPDY connection ended");
        }
    });
    streams
}

struct Connection {
    out: mpsc::WeakSender<Bytes>,
    opened: mpsc::Sender<Stream>,
    streams: HashMap<u32, Option<mpsc::Sender<Waiting>>>,
    room: Arc<Semaphore>,
    headers: HeaderReader,
    last: u32,
}

impl Connection {
    async fn read_all<R: AsyncRead + Unpin>(&mut self, mut reader: R, out: mpsc::Sender<Bytes>) -> io::Result<()> {
        let mut packer = HeaderWriter::new()?;
        // Until nobody takes new streams any more, the connection lives by itself.
        let mut keep = Some(out);
        loop {
            let mut head = [0; 8];
            let mut filled = 0;
            let opened = self.opened.clone();
            // Single reads, not `read_exact`: they lose nothing when the other branch wins.
            while filled < head.len() {
                tokio::select! {
                    count = reader.read(&mut head[filled..]) => match count? {
                        0 => return Ok(()),
                        count => filled += count,
                    },
                    () = opened.closed(), if keep.is_some() => keep = None,
                }
            }
            let mut rest = &head[..];
            let (first, second) = (rest.get_u32(), rest.get_u32());
            let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
            if length > MAX_FRAME {
                return Err(invalid("a frame is too long"));
            }
            let mut payload = vec![0; length];
            reader.read_exact(&mut payload).await?;
            if first & 0x8000_0000 == 0 {
                self.on_data(first, flags, payload.into()).await?;
            } else if (first >> 16) as u16 & 0x7fff != VERSION {
                return Err(invalid("a frame is of another version"));
            } else if !self.on_control(first as u16, flags, &payload, &mut packer).await? {
                return Ok(());
            }
        }
    }

    async fn send(&self, frame: Bytes) -> io::Result<()> {
        match self.out.upgrade() {
            Some(out) => out.send(frame).await.map_err(broken),
            None => Err(broken(())),
        }
    }

    async fn on_data(&mut self, id: u32, flags: u8, data: Bytes) -> io::Result<()> {
        let length = data.len() as u32;
        let finished = flags & FIN != 0;
        let Some(reader) = self.streams.get_mut(&id) else {
            return self.send(pair_frame(RST_STREAM, id, STATUS_PROTOCOL_ERROR)).await;
        };
        match reader {
            Some(sender) => {
                // A reader that is gone does not want the rest; the client may go on.
                let unwanted = !data.is_empty() && {
                    let room = self.room.clone().acquire_many_owned(length).await.map_err(broken)?;
                    sender.send(Waiting { data, _room: room }).await.is_err()
                };
                if unwanted || finished {
                    *reader = None;
                }
            }
            None if !data.is_empty() && finished => {
                self.send(pair_frame(RST_STREAM, id, STATUS_STREAM_ALREADY_CLOSED)).await?;
            }
            None => {}
        }
        if length > 0 {
            self.send(pair_frame(WINDOW_UPDATE, id, length)).await?;
            self.send(pair_frame(WINDOW_UPDATE, 0, length)).await?;
        }
        Ok(())
    }

    /// Whether the connection goes on.
    async fn on_control(
        &mut self,
        kind: u16,
        flags: u8,
        mut payload: &[u8],
        packer: &mut HeaderWriter,
    ) -> io::Result<bool> {
        let need = match kind {
            SYN_STREAM => 10,
            RST_STREAM | WINDOW_UPDATE => 8,
            PING => 4,
            _ => 0,
        };
        if payload.len() < need {
            return Err(invalid("a control frame is cut"));
        }
        match kind {
            SYN_STREAM => {
                let id = payload.get_u32() & 0x7fff_ffff;
                payload.advance(6);
                let headers = self.headers.read(payload)?;
                self.open(id, flags, headers, packer).await?;
            }
            RST_STREAM => {
                let id = payload.get_u32() & 0x7fff_ffff;
                self.streams.remove(&id);
            }
            // Odd pings are the client's.
            PING if payload[3] & 1 == 1 => self.send(control_frame(PING, 0, &payload[..4])).await?,
            GOAWAY => return Ok(!self.streams.is_empty()),
            SETTINGS | PING | WINDOW_UPDATE | SYN_REPLY => {}
            // Its block must be unpacked, for the compression's state, even if nobody asks for it.
            HEADERS if payload.len() >= 4 => {
                self.headers.read(&payload[4..])?;
            }
            _ => {}
        }
        Ok(true)
    }

    async fn open(
        &mut self,
        id: u32,
        flags: u8,
        headers: HashMap<String, String>,
        packer: &mut HeaderWriter,
    ) -> io::Result<()> {
        if id.is_multiple_of(2) || id <= self.last {
            return self.send(pair_frame(RST_STREAM, id, STATUS_PROTOCOL_ERROR)).await;
        }
        self.last = id;
        // Streams that both sides closed are forgotten when the next one comes.
        self.streams.retain(|_, reader| reader.as_ref().is_some_and(|reader| !reader.is_closed()));
        let Some(out) = self.out.upgrade().filter(|_| self.streams.len() < MAX_STREAMS) else {
            return self.send(pair_frame(RST_STREAM, id, STATUS_REFUSED)).await;
        };
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend(packer.write(&[])?);
        self.send(control_frame(SYN_REPLY, 0, &payload)).await?;
        let (sender, frames) = mpsc::channel(READ_QUEUE);
        self.streams.insert(id, (flags & FIN == 0).then_some(sender));
        let stream = Stream {
            id,
            headers,
            read: StreamRead { frames, current: None },
            write: StreamWrite { id, out: PollSender::new(out), finished: false },
        };
        if self.opened.send(stream).await.is_err() {
            self.streams.remove(&id);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    /// A client that opens streams and reads frames.
    pub(crate) struct Client {
        pub(crate) io: DuplexStream,
        packer: HeaderWriter,
    }

    impl Client {
        pub(crate) fn new(io: DuplexStream) -> Client {
            Client { io, packer: HeaderWriter::new().unwrap() }
        }

        pub(crate) async fn open(&mut self, id: u32, flags: u8, headers: &[(&str, &str)]) {
            let mut payload = id.to_be_bytes().to_vec();
            payload.extend([0; 6]);
            payload.extend(self.packer.write(headers).unwrap());
            self.io.write_all(&control_frame(SYN_STREAM, flags, &payload)).await.unwrap();
        }

        pub(crate) async fn send(&mut self, id: u32, data: &[u8], fin: bool) {
            self.io.write_all(&data_frame(id, data, if fin { FIN } else { 0 })).await.unwrap();
        }

        /// The next data frame: stream, bytes, whether it is the last.
        pub(crate) async fn data(&mut self) -> (u32, Vec<u8>, bool) {
            loop {
                let first = self.io.read_u32().await.unwrap();
                let second = self.io.read_u32().await.unwrap();
                let mut payload = vec![0; (second & 0xff_ffff) as usize];
                self.io.read_exact(&mut payload).await.unwrap();
                if first & 0x8000_0000 == 0 {
                    return (first, payload, second >> 24 & 1 == 1);
                }
            }
        }
    }

    #[tokio::test]
    async fn streams_carry_data_both_ways_and_half_close() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let mut streams = serve(server);
        let mut client = Client::new(client);
        client.open(1, 0, &[("streamtype", "error"), ("X", "y")]).await;
        client.open(3, 0, &[("streamtype", "stdin")]).await;
        let first = streams.recv().await.unwrap();
        assert_eq!((first.headers["streamtype"].as_str(), first.headers["x"].as_str()), ("error", "y"));
        let mut second = streams.recv().await.unwrap();
        assert_eq!(second.headers["streamtype"], "stdin");
        client.send(3, b"hello ", false).await;
        client.send(3, b"world", true).await;
        let mut text = String::new();
        second.read.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello world");
        second.write.write_all(b"answer").await.unwrap();
        assert_eq!(client.data().await, (3, b"answer".to_vec(), false));
        drop(second);
        assert_eq!(client.data().await, (3, Vec::new(), true));
        drop((first, streams));
        let mut rest = Vec::new();
        client.io.read_to_end(&mut rest).await.unwrap();
    }

    #[test]
    fn header_blocks_survive_the_round_trip_and_damage_is_an_error() {
        let (mut writer, mut reader) = (HeaderWriter::new().unwrap(), HeaderReader::new());
        for round in 0..50 {
            let value = "v".repeat(round * 100);
            let block = writer.write(&[("Name", &value), ("port", "80")]).unwrap();
            let headers = reader.read(&block).unwrap();
            assert_eq!((headers["name"].as_str(), headers["port"].as_str()), (value.as_str(), "80"));
        }
        assert!(HeaderReader::new().read(b"garbage").is_err());
        assert!(parse_headers(&[0, 0, 0, 9, 0, 0, 0, 200]).is_err());
    }

    #[tokio::test]
    async fn what_waits_for_all_readers_together_is_bounded() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let mut streams = serve(server);
        let mut client = Client::new(client);
        let mut unread = Vec::new();
        for id in [1, 3, 5, 7] {
            client.open(id, 0, &[("streamtype", "data")]).await;
            unread.push(streams.recv().await.unwrap());
        }
        let piece = vec![b'x'; 1 << 16];
        let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = sent.clone();
        let sending = tokio::spawn(async move {
            loop {
                for id in [1, 3, 5, 7] {
                    client.io.write_all(&data_frame(id, &piece, 0)).await.unwrap();
                    counter.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
                }
            }
        });
        // The sender stands still: nothing more is taken however long one waits.
        let mut last = usize::MAX;
        while last != sent.load(std::sync::atomic::Ordering::SeqCst) || last == 0 {
            last = sent.load(std::sync::atomic::Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(last <= MAX_WAITING + (1 << 18), "{last}");
        sending.abort();
    }

    /// Frames of a client that may be anybody: some of them whole, some cut, some of garbage.
    fn frames() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        use proptest::prelude::*;
        let frame = (0u16..12, 0u32..6, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>())
            .prop_map(|(kind, id, flags, mut payload, headers)| {
                if headers && kind == 1 {
                    let block = HeaderWriter::new().unwrap().write(&[("streamtype", "stdin"), ("port", "80")]).unwrap();
                    payload = [&id.to_be_bytes()[..], &[0; 6], &block].concat();
                }
                if kind == 0 { data_frame(id, &payload, flags) } else { control_frame(kind, flags, &payload) }.to_vec()
            });
        let noise = proptest::collection::vec(any::<u8>(), 0..20);
        (proptest::collection::vec(frame, 0..12), noise).prop_map(|(frames, noise)| [frames.concat(), noise].concat())
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_client_make_it_panic(bytes in frames()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (opened, mut streams) = mpsc::channel(16);
                let (out, mut written) = mpsc::channel(WRITE_QUEUE);
                tokio::spawn(async move { while streams.recv().await.is_some() {} });
                tokio::spawn(async move { while written.recv().await.is_some() {} });
                let weak = out.downgrade();
                let (headers, room) = (HeaderReader::new(), Arc::new(Semaphore::new(MAX_WAITING)));
                let mut connection = Connection { out: weak, opened, streams: HashMap::new(), room, headers, last: 0 };
                let _ = connection.read_all(&bytes[..], out).await;
            });
        }
    }
}
