//! Clients that let the server write nothing of an answer that is ready.

use std::net::SocketAddr;
use std::time::Duration;

use ecs_authz::config::LimitsConfig;
use ecs_authz::grpc::pb;
use h2::client::Builder;
use libtest_mimic::Trial;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::raw::{AUTHORIZE, Raw, framed};
use super::{directory, serve, start, unhurried};
use crate::http2::Idle;
use crate::support::{block_on, client, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        an_answer_that_nobody_takes_ends_its_connection,
        an_answer_of_which_a_part_is_taken_ends_its_connection,
        a_stream_whose_messages_nobody_takes_ends_its_connection,
        who_leaves_an_answer_is_told_to_go_first,
        a_stream_that_waits_for_its_caller_stays,
    ]
}

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);
const STREAM: &str = "/ecs.authz.v1.AuthorizationService/StreamAuthorize";

fn impatient() -> LimitsConfig {
    LimitsConfig { answer_timeout_seconds: 1, ..unhurried() }
}

/// A connection to which at most so many bytes of an answer are written.
async fn connect(addr: SocketAddr, window: u32) -> Raw {
    Raw::connect_with(addr, Builder::new().initial_window_size(window)).await
}

/// Asks, takes what there is room for, and waits until that is all there will ever be. Answers how much there was.
async fn wait_for_the_cut(raw: &mut Raw, path: &str, message: Bytes) -> usize {
    let (answer, mut stream) = raw.begin(path, &[]).await.expect("a stream");
    stream.send_data(message, path == AUTHORIZE).expect("a message");
    let mut body = answer.await.expect("the headers of an answer").into_body();
    let mut taken = 0;
    loop {
        match timeout(PATIENCE, body.data()).await.expect("the cut") {
            // It makes no room for more.
            Some(Ok(data)) => taken += data.len(),
            Some(Err(_cut)) => return taken,
            None => panic!("the whole answer came"),
        }
    }
}

fn an_answer_that_nobody_takes_ends_its_connection() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), impatient()).await;
        let mut raw = connect(server.grpc_addr, 0).await;
        assert_eq!(wait_for_the_cut(&mut raw, AUTHORIZE, framed(&start())).await, 0);
        raw.begin(AUTHORIZE, &[]).await.expect_err("a connection that is cut");
        // Others are served.
        assert_eq!(connect(server.grpc_addr, 65_535).await.authorize(&start(), &[]).await, Code::Ok);
    });
}

fn an_answer_of_which_a_part_is_taken_ends_its_connection() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), impatient()).await;
        let mut raw = connect(server.grpc_addr, 1).await;
        assert_eq!(wait_for_the_cut(&mut raw, AUTHORIZE, framed(&start())).await, 1);
    });
}

fn a_stream_whose_messages_nobody_takes_ends_its_connection() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), impatient()).await;
        let requests = pb::StreamAuthorizeRequest { request: Some(start()) };
        for window in [0, 1] {
            let mut raw = connect(server.grpc_addr, window).await;
            let taken = wait_for_the_cut(&mut raw, STREAM, framed(&requests)).await;
            assert_eq!(taken, usize::try_from(window).unwrap());
        }
    });
}

fn who_leaves_an_answer_is_told_to_go_first() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), LimitsConfig { answer_timeout_seconds: 2, ..unhurried() }).await;
        let mut lazy = Idle::open_with_window(server.grpc_addr, 0).await;
        lazy.call(AUTHORIZE, &framed(&start())).await;
        assert!(timeout(PATIENCE, lazy.is_told_to_go()).await.expect("GOAWAY"));
    });
}

fn a_stream_that_waits_for_its_caller_stays() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), impatient()).await;
        let (requests, stream) = mpsc::channel(1);
        let ask = async || {
            requests.send(pb::StreamAuthorizeRequest { request: Some(start()) }).await.expect("a stream");
        };
        ask().await;
        let mut client = client(&server).await;
        let mut answers = client.stream_authorize(ReceiverStream::new(stream)).await.unwrap().into_inner();
        answers.message().await.unwrap().expect("an answer");
        // One that came later and leaves its answer has come and gone.
        wait_for_the_cut(&mut connect(server.grpc_addr, 0).await, AUTHORIZE, framed(&start())).await;
        ask().await;
        answers.message().await.unwrap().expect("an answer");
    });
}
