//! The options that name a database, for the commands that do nothing without one.

use std::path::PathBuf;
use std::time::Duration;

use super::CommandError;
use crate::config::DatabaseConfig;
use crate::store::postgres::{PostgresSettings, UrlFault, causes};

#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct DatabaseArgs {
    /// The database: postgresql://USER:PASSWORD@HOST:PORT/NAME
    #[arg(long, value_name = "URL", env = "ECS_AUTHZ_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A file that holds the URL of the database
    #[arg(long, value_name = "FILE", env = "ECS_AUTHZ_DATABASE_URL_FILE")]
    database_url_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// The database.
    pub(super) fn settings(self) -> Result<PostgresSettings, CommandError> {
        let url = self.database_url.map(|url| url.parse()).transpose();
        let url = url.map_err(|fault: UrlFault| CommandError::Usage(fault.to_string()))?;
        let config = DatabaseConfig {
            url,
            url_file: self.database_url_file,
            connections: 1,
            ..DatabaseConfig::default()
        };
        let settings =
            config.settings(Duration::ZERO).map_err(|error| CommandError::Usage(causes(&error)))?;
        settings
            .ok_or_else(|| CommandError::Usage("expected --database-url or --database-url-file".to_owned()))
    }
}
