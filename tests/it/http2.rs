//! A client of HTTP/2 that sends what no library would: fields and frames as they are, in the order given.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A header field, pseudo or not, as it goes on the wire.
pub(crate) type Field = (String, String);

/// A part of a request. The last one ends the stream.
#[derive(Debug)]
pub(crate) enum Part {
    Headers(Vec<Field>),
    Data(&'static str),
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer.
    Status(u16),
    /// The stream was reset, the connection given up or closed: there is no answer.
    Ended,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends a request on a connection of its own, with prior knowledge, and reads until it ends.
pub(crate) async fn exchange(address: &str, parts: &[Part]) -> End {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = PREFACE.to_vec();
    // Without a dynamic table (setting 1), each block of the answer can be read by itself.
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
    for (index, part) in parts.iter().enumerate() {
        let end = if index + 1 == parts.len() { END_STREAM } else { 0 };
        bytes.extend(match part {
            Part::Headers(fields) => frame(HEADERS, END_HEADERS | end, 1, &block(fields)),
            Part::Data(data) => frame(DATA, end, 1, data.as_bytes()),
        });
    }
    // Envoy may give up before it has read everything.
    let _given_up_early = stream.write_all(&bytes).await;
    let mut end = End::Ended;
    while let Some((kind, flags, payload)) = read_frame(&mut stream).await {
        match kind {
            // A 100 is no answer yet, and trailers are none.
            HEADERS if matches!(end, End::Ended | End::Status(100)) => end = End::Status(status(&payload)),
            RST_STREAM | GOAWAY => return end,
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return end;
        }
    }
    end
}

/// A connection that is served, without a request.
pub(crate) struct Idle(TcpStream);

impl Idle {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await
    }

    /// One on which each answer may be so many bytes long.
    pub(crate) async fn open_with_window(address: SocketAddr, window: u32) -> Self {
        Self::open_with(address, &[&[0, 4], &window.to_be_bytes()[..]].concat()).await
    }

    async fn open_with(address: SocketAddr, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
        stream.write_all(&hello).await.unwrap();
        // Once the peer has said something, it serves the connection.
        assert_eq!(read_frame(&mut stream).await.map(|(kind, ..)| kind), Some(SETTINGS));
        Self(stream)
    }

    /// Makes a call, whose answer nobody reads.
    pub(crate) async fn call(&mut self, path: &str, message: &[u8]) {
        let headers = frame(HEADERS, END_HEADERS, 1, &call_of(path, &[]));
        let call = [headers, frame(DATA, END_STREAM, 1, message)].concat();
        self.0.write_all(&call).await.unwrap();
    }

    /// Reads until the peer says that it takes no more requests. Answers whether it did, before it closed the connection.
    pub(crate) async fn is_told_to_go(&mut self) -> bool {
        while let Some((kind, ..)) = read_frame(&mut self.0).await {
            if kind == GOAWAY {
                return true;
            }
        }
        false
    }
}

/// A connection on which HTTP/2 has begun, with these settings, and the server has answered with its own.
pub(crate) async fn begin(mut stream: TcpStream, settings: &[u8]) -> TcpStream {
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.unwrap();
    let (kind, flags, _) = read_frame(&mut stream).await.expect("settings");
    assert_eq!((kind, flags), (SETTINGS, 0));
    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    stream
}

/// The headers of a call, as a block.
pub(crate) fn call_of(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let fields = fields.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    block(&fields.collect::<Vec<_>>())
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The type, flags and payload of the next frame, unless the connection is closed.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

/// The fields as HPACK literals that are not indexed (RFC 7541, 6.2.2).
fn block(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.extend(length(text.len()));
            block.extend(text.bytes());
        }
    }
    block
}

/// A length as HPACK's integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(length: usize) -> Vec<u8> {
    let byte = |value: usize| u8::try_from(value).expect("a byte");
    let Some(mut rest) = length.checked_sub(127) else { return vec![byte(length)] };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    bytes.push(byte(rest));
    bytes
}

/// The `:status` of an answer, which Envoy writes first: indexed, or by name with digits that may be Huffman's.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may stand before it.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a field");
    match block[start..] {
        [byte @ 0x88..=0x8e, ..] => INDEXED[usize::from(byte - 0x88)],
        [0x08 | 0x48, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |n, byte| n * 10 + u16::from(byte - b'0')),
        [0x08 | 0x48, length @ (0x82 | 0x83), ref rest @ ..] => huffman(&rest[..usize::from(length - 0x80)]),
        ref other => panic!("expected a status, found {other:x?}"),
    }
}

/// Three digits in the code of RFC 7541, appendix B: five bits up to two, six above.
fn huffman(bytes: &[u8]) -> u16 {
    let bits = bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (32 - 8 * bytes.len());
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let next = |count: u32| (bits << at) >> (32 - count);
        let (digit, count) = if next(5) < 3 { (next(5), 5) } else { (next(6) - 22, 6) };
        status = status * 10 + u16::try_from(digit).expect("a digit");
        at += count;
    }
    status
}
