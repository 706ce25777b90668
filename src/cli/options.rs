//! The options of a server: flags over variables over the configuration file.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{CommandError, DependencyModeArg, TableArgs};
use crate::config::{Flag, Layers, Loaded, PREFIX};
use crate::pdp::Defaults;
use crate::server::{CacheSize, Exposure, PolicySource, ServerConfig};
use crate::store::postgres::causes;

/// What is set most often. The configuration file has more, and a variable for each.
#[derive(Debug, clap::Args)]
pub(super) struct OptionArgs {
    /// A configuration file (TOML): every option is described in deploy/config.toml
    #[arg(long, value_name = "FILE", env = "ECS_AUTHZ_CONFIG")]
    config: Option<PathBuf>,
    /// The directory of policies: DIR/DOMAIN/grants.toml and DIR/DOMAIN/policies/NAME.json
    #[arg(long, value_name = "DIR", env = "ECS_AUTHZ_POLICIES")]
    policies: Option<PathBuf>,
    /// Take policies from PostgreSQL instead: postgresql://USER:PASSWORD@HOST:PORT/NAME, with TLS and a verified host
    /// unless it is this machine or `?sslmode=` says otherwise. Prefer the environment or a file, for other users of the
    /// machine can read the command line
    #[arg(long, value_name = "URL", env = "ECS_AUTHZ_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A file that holds the URL of the database
    #[arg(long, value_name = "FILE", env = "ECS_AUTHZ_DATABASE_URL_FILE")]
    database_url_file: Option<PathBuf>,
    /// The most connections that read policies; one more follows changes [default: 8]
    #[arg(long, value_name = "COUNT", env = "ECS_AUTHZ_DATABASE_CONNECTIONS")]
    database_connections: Option<u32>,
    /// How long answers from the cache are given while the database can't be reached; then requests fail [default: 60]
    #[arg(long, value_name = "SECONDS", env = "ECS_AUTHZ_MAX_STALE_SECONDS")]
    max_stale_seconds: Option<u32>,
    /// How long to wait at the start for a database that can't be reached yet or is still to be migrated [default: 0]
    #[arg(long, value_name = "SECONDS", env = "ECS_AUTHZ_DATABASE_WAIT_SECONDS")]
    database_wait_seconds: Option<u32>,
    /// Where to serve gRPC [default: 127.0.0.1:50051]
    #[arg(long, value_name = "IP:PORT", env = "ECS_AUTHZ_GRPC_ADDR")]
    grpc_addr: Option<SocketAddr>,
    /// A Unix domain socket to serve gRPC on, too, for processes of this user and group (its mode is 0660)
    #[arg(long, value_name = "PATH", env = "ECS_AUTHZ_GRPC_SOCKET")]
    grpc_socket: Option<PathBuf>,
    /// How many threads serve gRPC [default: one for each processor that may be used]
    #[arg(long, value_name = "COUNT", env = "ECS_AUTHZ_GRPC_WORKERS")]
    grpc_workers: Option<u32>,
    /// Where to serve HTTP: /livez, /readyz and /metrics [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT", env = "ECS_AUTHZ_HTTP_ADDR")]
    http_addr: Option<SocketAddr>,
    #[command(flatten)]
    tables: TableArgs,
    /// What dependency actions do to a decision at least [default: report]
    #[arg(long, value_name = "MODE", env = "ECS_AUTHZ_DEPENDENCY_MODE")]
    dependency_mode: Option<DependencyModeArg>,
    /// The region of the API, as resources and conditions of policies name it
    #[arg(long, value_name = "NAME", env = "ECS_AUTHZ_REGION")]
    region: Option<String>,
    /// The most memory for cached policies, in MiB [default: a quarter of the container's limit, or 64]
    #[arg(long, value_name = "MIB", env = "ECS_AUTHZ_CACHE_MIB")]
    cache_mib: Option<u32>,
    /// Listen beyond loopback without TLS, because something else protects the traffic
    #[arg(long, env = "ECS_AUTHZ_INSECURE", value_parser = clap::builder::BoolishValueParser::new())]
    insecure: bool,
}

impl OptionArgs {
    /// What holds: the flags, the variables of this process, the file.
    pub(super) fn load(&self) -> Result<Loaded, CommandError> {
        let mut variables = Vec::new();
        // A name that is no text can't be one of ours.
        for (name, value) in
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        {
            match value.into_string() {
                Ok(value) => variables.push((name, value)),
                // Passed over, it might have been what protects something.
                Err(_) if name.starts_with(PREFIX) => {
                    return Err(CommandError::Usage(format!("{name}: expected UTF-8")));
                }
                Err(_) => {}
            }
        }
        let layers = Layers { file: self.config.clone(), variables, flags: self.flags()? };
        Ok(layers.load()?)
    }

    fn flags(&self) -> Result<Vec<Flag>, CommandError> {
        let path = |path: &Option<PathBuf>| path.as_deref().map(text).transpose();
        let number = |number: &Option<u32>| number.map(|number| i64::from(number).into());
        let tables = self.tables.tables.iter().filter(|table| !table.as_os_str().is_empty());
        let tables = tables.map(|table| text(table)).collect::<Result<Vec<_>, _>>()?;
        let flags = [
            ("policies", "--policies", path(&self.policies)?),
            ("database.url", "--database-url", self.database_url.clone().map(Into::into)),
            ("database.url_file", "--database-url-file", path(&self.database_url_file)?),
            ("database.connections", "--database-connections", number(&self.database_connections)),
            ("database.wait_seconds", "--database-wait-seconds", number(&self.database_wait_seconds)),
            ("max_stale_seconds", "--max-stale-seconds", number(&self.max_stale_seconds)),
            ("grpc.addr", "--grpc-addr", self.grpc_addr.map(|addr| addr.to_string().into())),
            ("grpc.socket", "--grpc-socket", path(&self.grpc_socket)?),
            ("grpc.workers", "--grpc-workers", number(&self.grpc_workers)),
            ("http.addr", "--http-addr", self.http_addr.map(|addr| addr.to_string().into())),
            ("tables", "--table", (!tables.is_empty()).then(|| tables.into())),
            ("dependency_mode", "--dependency-mode", self.dependency_mode.map(|mode| mode.word().into())),
            ("region", "--region", self.region.clone().map(Into::into)),
            ("cache.mib", "--cache-mib", number(&self.cache_mib)),
            ("insecure", "--insecure", self.insecure.then(|| true.into())),
        ];
        let said =
            |(option, name, value): (_, _, Option<toml::Value>)| Some(Flag { option, name, value: value? });
        Ok(flags.into_iter().filter_map(said).collect())
    }
}

/// A file's name as an option has it: what is no text would be another file's.
fn text(path: &Path) -> Result<toml::Value, CommandError> {
    let expected = || CommandError::Usage(format!("`{}`: expected a name in UTF-8", path.display()));
    path.to_str().map(Into::into).ok_or_else(expected)
}

/// What a server is made of, by what holds.
pub(super) fn server_config(loaded: Loaded) -> Result<ServerConfig, CommandError> {
    let Loaded { config, .. } = loaded;
    let database = config.database.settings(config.max_stale());
    let database = database.map_err(|error| CommandError::Usage(causes(&error)))?;
    let policies = match (&config.policies, database) {
        (Some(root), None) => PolicySource::Directory(root.clone()),
        (None, Some(settings)) => PolicySource::Postgres(settings),
        (Some(_), Some(_)) | (None, None) => {
            return Err(CommandError::Usage(
                "expected exactly one of --policies and --database-url (ECS_AUTHZ_POLICIES, ECS_AUTHZ_DATABASE_URL, or \
                 `policies` and `database.url` in the configuration)"
                    .to_owned(),
            ));
        }
    };
    let mib = |mib: u64| CacheSize::Bytes(mib.saturating_mul(1_024 * 1_024));
    Ok(ServerConfig {
        policies,
        tables: config.tables.clone(),
        grpc_addr: config.grpc.addr,
        grpc_socket: config.grpc.socket.clone(),
        http_addr: config.http.addr,
        defaults: Defaults { dependency_mode: config.dependency_mode.into(), region: config.region.clone() },
        cache: config.cache.mib.map_or(CacheSize::Automatic, mib),
        exposure: if config.insecure { Exposure::Insecure } else { Exposure::Loopback },
        config,
    })
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;
    use crate::config::{Config, schema};

    /// Each flag names an option that there is, and its help the option's default and variable.
    #[test]
    fn flags_are_options() {
        let command = OptionArgs::augment_args(Command::new("serve"));
        let every = "serve --policies p --database-url u --database-url-file f --database-connections 1 \
                     --database-wait-seconds 1 --max-stale-seconds 1 --grpc-addr 127.0.0.1:1 --grpc-socket s \
                     --grpc-workers 1 \
                     --http-addr 127.0.0.1:1 --table t --dependency-mode report --region r --cache-mib 1 --insecure";
        let matches = command.clone().try_get_matches_from(every.split_whitespace()).unwrap();
        let flags =
            <OptionArgs as clap::FromArgMatches>::from_arg_matches(&matches).unwrap().flags().unwrap();
        let defaults: toml::Table = toml::from_str(&toml::to_string(&Config::default()).unwrap()).unwrap();
        let schema = schema();
        for flag in &flags {
            let pointer = format!("/properties/{}", flag.option.replace('.', "/properties/"));
            assert!(schema.pointer(&pointer).is_some(), "{}", flag.option);
            let arg =
                { command.get_arguments() }.find(|arg| arg.get_long() == Some(&flag.name[2..])).unwrap();
            let variable = format!("ECS_AUTHZ_{}", flag.option.replace('.', "_").to_uppercase());
            assert_eq!(arg.get_env().unwrap().to_str(), Some(variable.as_str()));
            let (first, rest) = flag.option.split_once('.').unwrap_or((flag.option, ""));
            let default =
                defaults.get(first).filter(|_| flag.option != "tables" && flag.option != "insecure");
            let default =
                if rest.is_empty() { default } else { default.and_then(|section| section.get(rest)) };
            let help = arg.get_help().unwrap().to_string();
            if let Some(default) = default {
                let shown = format!("[default: {}]", default.to_string().trim_matches('"'));
                assert!(help.contains(&shown), "{help} tells no {shown}");
            }
        }
        // And the one that names the file.
        assert_eq!(flags.len() + 1, command.get_arguments().count());
    }
}
