//! `ecs-authz healthcheck`: for containers and units without a client of their own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{CommandError, ERROR, SUCCESS};
use crate::server::read_authorities;
use crate::store::postgres::causes;

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
    /// Ask over TLS, and believe the authorities in this file (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name in the certificate of the service
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    server_name: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Question {
    /// `/readyz`
    Ready,
    /// `/livez`
    Live,
}

pub(super) fn run(args: &HealthcheckArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let answer = ask(args).map_err(|cause| {
        let scheme = if args.ca.is_some() { "https" } else { "http" };
        let (addr, path) = (args.http_addr, args.of.path());
        CommandError::NoAnswer(format!("no answer from {scheme}://{addr}{path}: {cause}"))
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

fn ask(args: &HealthcheckArgs) -> io::Result<Answer> {
    let limit = Duration::from_secs(args.timeout_seconds);
    let connection = TcpStream::connect_timeout(&args.http_addr, limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.set_write_timeout(Some(limit))?;
    match &args.ca {
        None => exchange(connection, args),
        Some(file) => exchange(protect(connection, file, &args.server_name)?, args),
    }
}

/// TLS of our side. Hands are shaken with the first bytes.
fn protect(
    connection: TcpStream,
    file: &Path,
    name: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let authorities = read_authorities(file).map_err(|error| io::Error::other(causes(&error).to_string()))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.with_root_certificates(authorities).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, connection))
}

/// Asks in HTTP/1.0: the answer ends with the connection, so there is nothing else to understand.
fn exchange(mut connection: impl Read + Write, args: &HealthcheckArgs) -> io::Result<Answer> {
    write!(connection, "GET {} HTTP/1.0\r\nhost: {}\r\n\r\n", args.of.path(), args.http_addr)?;
    connection.flush()?;
    let mut answer = String::new();
    connection.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.strip_prefix("HTTP/").and_then(|status| status.split([' ', '\r']).nth(1));
    let code = code.ok_or_else(|| io::Error::other("expected HTTP, found something else"))?;
    Ok(Answer { is_ok: code == "200", body: body.to_owned() })
}
