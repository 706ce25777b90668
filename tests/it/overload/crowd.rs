//! Many connections, and many requests: what they cost the process, which is the program itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use ecs_authz::grpc::pb;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use libtest_mimic::Trial;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::{alice, directory, start};
use crate::edge::until;
use crate::http2;
use crate::serving::Serving;
use crate::support::{Client, PolicyDir, block_on, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![ten_thousand_idle_connections_keep_nobody_waiting, memory_does_not_grow_with_requests]
}

/// The program over a directory of policies, with as many files as it may have.
struct Program {
    serving: Serving,
    addr: SocketAddr,
    _policies: PolicyDir,
}

impl Program {
    fn start(limits: &str, args: &[&str]) -> Self {
        let policies = directory();
        // A busy machine is no fault of ours.
        let text =
            format!("[connections]\nmax_age_seconds = 0\n[limits]\ndecision_budget_ms = 60000\n{limits}\n");
        policies.write(".config.toml", &text);
        let (root, file) = (policies.path(), policies.path().join(".config.toml"));
        let places = ["--policies", root.to_str().unwrap(), "--config", file.to_str().unwrap()];
        let mut serving = Serving::start(&[&places, args].concat(), &[("RUST_LOG", "error")]);
        let line = serving.await_ready();
        let addr = line.split([' ', ',']).find_map(|word| word.parse().ok()).expect("an address");
        Self { serving, addr, _policies: policies }
    }

    /// A line of what the kernel tells of it, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.serving.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr)).unwrap();
        AuthorizationServiceClient::new(endpoint.connect().await.expect("a connection"))
    }
}

#[expect(clippy::print_stderr, reason = "the measurement is what is wanted")]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// Lets a process open as many files as the machine lets it, and tells how many.
fn raise_files(pid: u32) -> usize {
    let pid = pid.to_string();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let hard = line.split_whitespace().nth(1).expect("a hard limit").to_owned();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status();
    assert!(status.expect("prlimit").success());
    hard.parse().unwrap_or(usize::MAX)
}

/// An idle connection of HTTP/2, from one of several addresses: each has its own ports.
async fn idle(addr: SocketAddr, index: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let host = u8::try_from(2 + index % 8).unwrap();
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0).into()).unwrap();
    http2::begin(socket.connect(addr).await.expect("a connection"), &[]).await
}

fn ten_thousand_idle_connections_keep_nobody_waiting() {
    // Nobody answers probes here.
    let program = Program::start("keepalive_interval_seconds = 3600", &[]);
    let files = raise_files(program.serving.id()).min(raise_files(std::process::id()));
    // The other tests need some files too.
    let count = files.saturating_sub(2_000).min(10_000);
    block_on(async {
        let mut client = program.client().await;
        is_allowed(&mut client).await;
        let before = program.memory();
        let mut opening = JoinSet::new();
        let mut crowd = Vec::with_capacity(count);
        for index in 0..count {
            // A few at a time: the listener's queue is bounded by the machine.
            if opening.len() >= 50 {
                crowd.push(opening.join_next().await.expect("one").expect("a connection"));
            }
            opening.spawn(idle(program.addr, index));
        }
        crowd.extend(opening.join_all().await);
        let each = (program.memory().saturating_sub(before)) * 1_024 / u64::try_from(count).unwrap().max(1);
        tell(&format!(
            "{count} idle connections (of 10000 wanted): {each} bytes of the server's memory for each"
        ));
        assert!(count < 1_000 || each < 64 * 1_024, "{each} bytes for each connection");
        for _ in 0..200 {
            is_allowed(&mut client).await;
        }
        is_allowed(&mut program.client().await).await;
        // They are still there: each answers.
        for stream in &mut crowd {
            let ping = http2::frame(http2::PING, 0, 0, b"are you?");
            tokio::io::AsyncWriteExt::write_all(stream, &ping).await.expect("a connection");
        }
        for stream in &mut crowd {
            loop {
                let (kind, flags, _) = http2::read_frame(stream).await.expect("a connection");
                if (kind, flags) == (http2::PING, http2::ACK) {
                    break;
                }
            }
        }
        drop(crowd);
        let open = || std::fs::read_dir(format!("/proc/{}/fd", program.serving.id())).unwrap().count();
        until("their files are closed", async || open() < 100).await;
        is_allowed(&mut client).await;
    });
}

async fn is_allowed(client: &mut Client) {
    let answer = timeout(Duration::from_secs(60), client.authorize(start())).await.expect("an answer");
    assert_eq!(answer.expect("a decision").into_inner().decision(), pb::Decision::Allow);
}

/// One round of whatever clients do: allows, denials, errors, batches, lists, calls that are given up, and connections.
async fn round(program_addr: SocketAddr, worker: usize, calls: usize) {
    let endpoint = Endpoint::from_shared(format!("http://{program_addr}")).unwrap();
    let mut client = AuthorizationServiceClient::new(endpoint.connect().await.expect("a connection"));
    for call in 0..calls {
        match call % 10 {
            0 => {
                // As many principals as are asked for all the time, and more than the cache holds.
                let user = format!("user-{}-{worker}", call % 1_000);
                let principal = Some(pb::Principal { user_id: user, ..alice() });
                let denied = client.authorize(pb::AuthorizeRequest { principal, ..start() }).await;
                assert_eq!(denied.expect("a decision").into_inner().decision(), pb::Decision::Deny);
            }
            1 => {
                let malformed = client.authorize(pb::AuthorizeRequest::default()).await;
                assert_eq!(malformed.expect_err("malformed").code(), Code::InvalidArgument);
            }
            2 => {
                let requests = vec![start(); 10];
                client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await.expect("decisions");
            }
            3 => {
                let mut never = Request::new(pb::AuthorizeRequest { min_revision: 99, ..start() });
                never.set_timeout(Duration::from_millis(1));
                client.authorize(never).await.expect_err("never");
            }
            4 if call % 100 == 4 => {
                let principal = Some(alice());
                let list = pb::ListPermissionsRequest { principal, ..Default::default() };
                client.list_permissions(list).await.expect("permissions");
            }
            5 if call % 100 == 5 => {
                client = AuthorizationServiceClient::new(endpoint.connect().await.expect("a connection"));
            }
            _ => is_allowed(&mut client).await,
        }
    }
}

fn memory_does_not_grow_with_requests() {
    const WORKERS: usize = 8;
    const CALLS: usize = 500;
    let program = Program::start("", &["--cache-mib", "1"]);
    let addr = program.addr;
    let rounds = async |rounds: usize| {
        for _ in 0..rounds {
            let workers = (0..WORKERS).map(|worker| round(addr, worker, CALLS));
            workers.collect::<JoinSet<()>>().join_all().await;
        }
    };
    block_on(async {
        // The cache, the allocator's pools and the threads are what they will be.
        rounds(2).await;
        let warm = program.memory();
        rounds(6).await;
        let after = program.memory();
        let requests = 6 * WORKERS * CALLS;
        tell(&format!("after a warm-up {warm} KiB, after {requests} more requests {after} KiB"));
        // What leaks 200 bytes a request is found. The noise of the allocator is less than a MiB.
        assert!(after < warm + 4 * 1_024, "from {warm} to {after} KiB with {requests} requests");
    });
}
