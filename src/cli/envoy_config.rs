//! `ecs-authz envoy-config`

use std::io::Write;
use std::net::SocketAddr;

use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;

use super::{CommandError, SUCCESS, TableArgs};
use crate::envoy::{EnvoyConfig, HostPort, Identity, routes};
use crate::server::load_catalog;

#[derive(Debug, clap::Args)]
pub(super) struct EnvoyConfigArgs {
    /// How callers are known
    #[arg(value_name = "IDENTITY", default_value = "jwt")]
    identity: IdentityArg,
    /// Print the routes alone, for a configuration of your own
    #[arg(long)]
    routes: bool,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    jwt: JwtArgs,
    #[command(flatten)]
    mtls: MtlsArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IdentityArg {
    /// By a token that Envoy verifies
    Jwt,
    /// By a certificate with a SPIFFE id
    Mtls,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Places")]
struct PlaceArgs {
    /// Where Envoy listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,
    /// Where the API is
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    api: HostPort,
    /// A name under which the API is called; may be repeated
    #[arg(long = "domain", value_name = "NAME", default_value = "ecs.example", value_parser = domain)]
    domains: Vec<String>,
    /// A replica of ecs-authz; may be repeated
    #[arg(long = "replica", value_name = "HOST:PORT", default_values = ["127.0.0.1:50051", "127.0.0.1:50052"])]
    replicas: Vec<HostPort>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "jwt")]
struct JwtArgs {
    /// The token's issuer
    #[arg(long, value_name = "ISS", default_value = "https://iam.example", value_parser = NonEmptyStringValueParser::new())]
    issuer: String,
    /// The token's audience
    #[arg(long, value_name = "AUD", default_value = "ecs-api", value_parser = NonEmptyStringValueParser::new())]
    audience: String,
    /// The issuer's keys, as Envoy finds them: a JSON Web Key Set
    #[arg(long, value_name = "FILE", default_value = "/etc/envoy/jwks.json", value_parser = NonEmptyStringValueParser::new())]
    jwks: String,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "mtls")]
struct MtlsArgs {
    /// Envoy's own certificate chain, as Envoy finds it
    #[arg(long, value_name = "FILE", default_value = "/etc/envoy/tls/tls.crt", value_parser = NonEmptyStringValueParser::new())]
    certificate: String,
    /// Its key
    #[arg(long, value_name = "FILE", default_value = "/etc/envoy/tls/tls.key", value_parser = NonEmptyStringValueParser::new())]
    key: String,
    /// The authorities of callers' certificates
    #[arg(long, value_name = "FILE", default_value = "/etc/envoy/tls/ca.crt", value_parser = NonEmptyStringValueParser::new())]
    ca: String,
    /// What the SPIFFE ids of callers start with
    #[arg(long, value_name = "URI", default_value = "spiffe://acme.example/", value_parser = spiffe_prefix)]
    spiffe_prefix: String,
}

/// A name as Envoy compares it: in lower case, and without the port, which it strips first.
fn domain(text: &str) -> Result<String, String> {
    let is_name =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte));
    if is_name {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected a name without port, such as ecs.example".to_owned())
    }
}

fn spiffe_prefix(text: &str) -> Result<String, String> {
    // Without the slash, `spiffe://acme.example.evil` starts so too.
    let is_domain = text
        .strip_prefix("spiffe://")
        .is_some_and(|rest| rest.split_once('/').is_some_and(|(domain, _)| !domain.is_empty()));
    if is_domain {
        Ok(text.to_owned())
    } else {
        Err("expected the trust domain and a slash, as in spiffe://acme.example/".to_owned())
    }
}

pub(super) fn run(args: EnvoyConfigArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let catalog = load_catalog(&args.tables.tables)?;
    if args.routes {
        write!(out, "{}", routes(&catalog))?;
        return Ok(SUCCESS);
    }
    let EnvoyConfigArgs { identity, places, jwt, mtls, .. } = args;
    let identity = match identity {
        IdentityArg::Jwt => Identity::Jwt { issuer: jwt.issuer, audience: jwt.audience, jwks: jwt.jwks },
        IdentityArg::Mtls => {
            let MtlsArgs { certificate, key, ca, spiffe_prefix } = mtls;
            Identity::Mtls { certificate, key, ca, spiffe_prefix }
        }
    };
    let PlaceArgs { listen, api, mut domains, replicas } = places;
    // Envoy refuses one that stands twice.
    domains.sort();
    domains.dedup();
    let config = EnvoyConfig { identity, listen, api, replicas, domains };
    write!(out, "{}", config.render(&catalog))?;
    Ok(SUCCESS)
}
