//! Clients that send too much, too slowly or nothing, and those that do not read: each ends, or costs nobody else anything.
//!
//! While each of them does its worst, another client asks for decisions without a pause and gets every one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ecs_authz::config::LimitsConfig;
use ecs_authz::grpc::pb;
use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::raw::{self, AUTHORIZE, Raw, framed};
use super::{directory, metric, places, serve, start, unhurried};
use crate::edge::until;
use crate::http2::{
    ACK, CONTINUATION, END_HEADERS, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, begin,
    call_of, frame, read_frame,
};
use crate::support::{Client, block_on, client, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_flood_of_resets_ends_the_connection,
        a_flood_of_resets_by_the_server_ends_the_connection,
        a_flood_of_continuations_ends_the_connection,
        a_flood_of_pings_costs_nobody_else_anything,
        a_flood_of_settings_costs_nobody_else_anything,
        headers_over_the_limit_end_their_call_alone,
        a_slow_writer_keeps_no_place_and_is_ended,
        a_slow_reader_is_ended,
        a_client_that_never_begins_is_ended,
    ]
}

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody else, who asks without a pause.
struct SomebodyElse {
    enough: Arc<AtomicBool>,
    asking: JoinHandle<usize>,
}

impl SomebodyElse {
    async fn asks(server: &RunningServer) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let (mut client, is_enough) = (client(server).await, enough.clone());
        let asking = tokio::spawn(async move {
            let mut answered = 0;
            // A bound, so that no test goes on for ever.
            while !is_enough.load(Ordering::Relaxed) && answered < 100_000 {
                is_answered(&mut client).await;
                answered += 1;
            }
            answered
        });
        Self { enough, asking }
    }

    /// Every one was answered.
    async fn ends_content(self) {
        self.enough.store(true, Ordering::Relaxed);
        assert!(self.asking.await.expect("each is answered") > 0);
    }
}

async fn is_answered(client: &mut Client) {
    let answer = timeout(PATIENCE, client.authorize(start())).await.expect("an answer in time");
    assert_eq!(answer.expect("a decision").into_inner().decision(), pb::Decision::Allow);
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The server gave it up.
    Ended,
    /// It was answered what was sent last.
    GoesOn,
}

/// Sends these bytes and then a ping.
async fn outcome_of(addr: SocketAddr, flood: Vec<u8>) -> Outcome {
    const LAST: &[u8] = b"the last";
    let stream = begin(TcpStream::connect(addr).await.unwrap(), &[]).await;
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        // It may be given up before all is written.
        let _ended = writer.write_all(&flood).await;
        let _ended = writer.write_all(&frame(PING, 0, 0, LAST)).await;
        writer
    });
    let reading = async {
        loop {
            match read_frame(&mut reader).await {
                None | Some((GOAWAY, ..)) => return Outcome::Ended,
                Some((PING, ACK, payload)) if payload == LAST => return Outcome::GoesOn,
                Some(_) => {}
            }
        }
    };
    let outcome = timeout(PATIENCE, reading).await.expect("an outcome");
    drop(writing);
    outcome
}

/// A flood, while somebody else is answered.
fn flood(bytes: impl FnOnce() -> Vec<u8>) -> Outcome {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), unhurried()).await;
        let somebody_else = SomebodyElse::asks(&server).await;
        let outcome = outcome_of(server.grpc_addr, bytes()).await;
        is_answered(&mut client(&server).await).await;
        somebody_else.ends_content().await;
        outcome
    })
}

/// The streams that a client may open.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

fn a_flood_of_resets_ends_the_connection() {
    let call = call_of(AUTHORIZE, &[]);
    let outcome = flood(|| {
        let reset = |stream| {
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, END_HEADERS, stream, &call), reset].concat()
        };
        streams(20_000).flat_map(reset).collect()
    });
    assert_eq!(outcome, Outcome::Ended);
}

fn a_flood_of_resets_by_the_server_ends_the_connection() {
    let call = call_of(AUTHORIZE, &[]);
    let outcome = flood(|| {
        // A window that is too large is a fault of the stream alone.
        let fault = |stream| {
            let window = frame(WINDOW_UPDATE, 0, stream, &i32::MAX.to_be_bytes());
            [frame(HEADERS, END_HEADERS, stream, &call), window].concat()
        };
        streams(20_000).flat_map(fault).collect()
    });
    assert_eq!(outcome, Outcome::Ended);
}

fn a_flood_of_continuations_ends_the_connection() {
    let outcome = flood(|| {
        let field = [&[0, 1, b'x', 127, 0x81, 0x1e][..], &[b'y'; 4_096 - 128]].concat();
        let begin = frame(HEADERS, 0, 1, &call_of(AUTHORIZE, &[]));
        let more = frame(CONTINUATION, 0, 1, &field).repeat(5_000);
        // So that nothing is wrong with it but how much it is.
        let end = frame(CONTINUATION, END_HEADERS, 1, &[]);
        [begin, more, end].concat()
    });
    assert_eq!(outcome, Outcome::Ended);
}

fn a_flood_of_pings_costs_nobody_else_anything() {
    let outcome = flood(|| frame(PING, 0, 0, b"and more").repeat(100_000));
    assert_eq!(outcome, Outcome::GoesOn);
}

fn a_flood_of_settings_costs_nobody_else_anything() {
    // The largest frame may be this large, again and again.
    let outcome = flood(|| frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x40, 0]).repeat(100_000));
    assert_eq!(outcome, Outcome::GoesOn);
}

fn headers_over_the_limit_end_their_call_alone() {
    let dir = directory();
    block_on(async {
        let limits = LimitsConfig { max_header_list_bytes: 8_192, ..unhurried() };
        let server = serve(dir.path(), limits).await;
        let mut raw = Raw::connect(server.grpc_addr).await;
        let large = "x".repeat(4_096);
        assert_eq!(raw.authorize(&start(), &[("x-large", &large)]).await, Code::Ok);
        let (answer, _message) =
            raw.begin(AUTHORIZE, &[("x-large", &large), ("x-larger", &large)]).await.expect("a stream");
        // 431: Request Header Fields Too Large.
        assert_eq!(answer.await.expect("an answer").status(), 431);
        assert_eq!(raw.authorize(&start(), &[]).await, Code::Ok);
    });
}

/// Sends a call's message byte by byte, and never the last one. Answers the code.
async fn write_slowly(mut raw: Raw) -> Code {
    let (mut answer, mut message) = raw.begin(AUTHORIZE, &[]).await.expect("a stream");
    let bytes = framed(&start());
    for byte in bytes.iter().take(bytes.len() - 1) {
        // The answer may be there already.
        let Ok(()) = message.send_data(vec![*byte].into(), false) else { break };
        tokio::select! {
            answer = &mut answer => return raw::code(answer.expect("an answer")).await,
            () = sleep(Duration::from_millis(200)) => {}
        }
    }
    raw::code(answer.await.expect("an answer")).await
}

fn a_slow_writer_keeps_no_place_and_is_ended() {
    let dir = directory();
    block_on(async {
        // Far more of them than there are places.
        let limits = LimitsConfig { decision_budget_ms: 15_000, ..places(2) };
        let server = serve(dir.path(), limits).await;
        let mut writers = JoinSet::new();
        for _ in 0..50 {
            writers.spawn(write_slowly(Raw::connect(server.grpc_addr).await));
        }
        let somebody_else = SomebodyElse::asks(&server).await;
        let codes = timeout(PATIENCE, writers.join_all()).await.expect("all are ended");
        assert_eq!(codes, [Code::DeadlineExceeded; 50]);
        somebody_else.ends_content().await;
    });
}

/// A server that soon asks whether somebody is there, and waits for the answer as long as a busy machine may take.
fn watchful() -> LimitsConfig {
    LimitsConfig { keepalive_interval_seconds: 1, keepalive_timeout_seconds: 15, ..unhurried() }
}

async fn until_only(server: &RunningServer, connections: f64) {
    let what = format!("{connections} connections are left");
    until(&what, async || metric(server, "ecs_authz_connections").await <= connections).await;
}

fn a_slow_reader_is_ended() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), watchful()).await;
        let somebody_else = SomebodyElse::asks(&server).await;
        let mut readers = Vec::new();
        for _ in 0..5 {
            // It may be sent as much as there is, and reads none of it.
            let settings = [&[0, 4][..], &i32::MAX.to_be_bytes()].concat();
            let mut stream = begin(TcpStream::connect(server.grpc_addr).await.unwrap(), &settings).await;
            let window = (i32::MAX - 65_535).to_be_bytes();
            let mut bytes = frame(WINDOW_UPDATE, 0, 0, &window);
            let call = call_of("/ecs.authz.v1.AuthorizationService/ListActions", &[]);
            for id in streams(200) {
                bytes.extend(frame(HEADERS, END_HEADERS, id, &call));
                bytes.extend(frame(0, 1, id, &[0; 5]));
            }
            stream.write_all(&bytes).await.unwrap();
            readers.push(stream);
        }
        until_only(&server, 1.0).await;
        is_answered(&mut client(&server).await).await;
        somebody_else.ends_content().await;
        drop(readers);
    });
}

fn a_client_that_never_begins_is_ended() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), watchful()).await;
        let mut clients = Vec::new();
        for bytes in
            [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"]
        {
            let mut stream = TcpStream::connect(server.grpc_addr).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            clients.push(stream);
        }
        let somebody_else = SomebodyElse::asks(&server).await;
        until_only(&server, 1.0).await;
        somebody_else.ends_content().await;
        drop(clients);
    });
}
