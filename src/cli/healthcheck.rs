//! `ecs-authz healthcheck`: for containers and units without a client of their own.

use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{CommandError, ERROR, SUCCESS};

/// The most bytes of an answer that are read: some faults, a line each.
const MAX_ANSWER_BYTES: u64 = 64 * 1_024;

#[derive(Debug, clap::Args)]
pub(super) struct HealthcheckArgs {
    /// Where health is served over HTTP
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", env = "ECS_AUTHZ_HTTP_ADDR")]
    http_addr: SocketAddr,
    /// What to ask: whether it can decide, or only whether it answers
    #[arg(long, value_name = "WHAT", default_value = "ready")]
    of: Question,
    /// How long it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout_seconds: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Question {
    /// `/readyz`
    Ready,
    /// `/livez`
    Live,
}

pub(super) fn run(args: &HealthcheckArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let limit = Duration::from_secs(args.timeout_seconds);
    let answer = ask(args.http_addr, args.of, limit).map_err(|cause| {
        CommandError::NoAnswer(format!("no answer from http://{}{}: {cause}", args.http_addr, args.of.path()))
    })?;
    writeln!(out, "{}", answer.body.trim_end())?;
    Ok(if answer.is_ok { SUCCESS } else { ERROR })
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/readyz",
            Self::Live => "/livez",
        }
    }
}

struct Answer {
    is_ok: bool,
    body: String,
}

/// Asks in HTTP/1.0: the answer ends with the connection, so there is nothing else to understand.
fn ask(addr: SocketAddr, question: Question, limit: Duration) -> io::Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&addr, limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.set_write_timeout(Some(limit))?;
    write!(connection, "GET {} HTTP/1.0\r\nhost: {addr}\r\n\r\n", question.path())?;
    let mut answer = String::new();
    connection.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.strip_prefix("HTTP/").and_then(|status| status.split([' ', '\r']).nth(1));
    let code = code.ok_or_else(|| io::Error::other("expected HTTP, found something else"))?;
    Ok(Answer { is_ok: code == "200", body: body.to_owned() })
}
