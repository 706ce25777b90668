//! Where a server's policies come from.

use std::path::PathBuf;
use std::sync::Arc;

use super::StartError;
use crate::catalog::Catalog;
use crate::store::PolicyStore;
use crate::store::directory::{DirectoryStore, FileWatch};
use crate::store::postgres::{PostgresSettings, PostgresStore};

/// Where policies are.
#[derive(Debug, Clone)]
pub enum PolicySource {
    /// In the files of a directory.
    Directory(PathBuf),
    /// In a PostgreSQL database.
    Postgres(PostgresSettings),
}

/// The store that was opened, and what keeps it up to date.
#[derive(Debug)]
pub enum OpenStore {
    /// Files.
    Directory {
        /// What they say.
        store: Arc<DirectoryStore>,
        /// Its end ends the watch.
        watch: FileWatch,
    },
    /// A database.
    Postgres(Arc<PostgresStore>),
}

impl PolicySource {
    /// Opens the store and begins to follow its changes.
    pub(super) async fn open(&self, catalog: Arc<Catalog>) -> Result<OpenStore, StartError> {
        match self {
            Self::Directory(root) => {
                let store = Arc::new(DirectoryStore::open(root, catalog)?);
                let watch = store.watch()?;
                Ok(OpenStore::Directory { store, watch })
            }
            Self::Postgres(settings) => {
                Ok(OpenStore::Postgres(Arc::new(PostgresStore::open(settings, catalog).await?)))
            }
        }
    }
}

impl OpenStore {
    /// The store, for whoever reads policies.
    #[must_use]
    pub fn store(&self) -> Arc<dyn PolicyStore> {
        match self {
            Self::Directory { store, .. } => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }
}
