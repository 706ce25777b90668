//! The directory store, watched.

use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::store::PolicyStore;
use ecs_authz::store::directory::DirectoryStore;

use super::Backend;
use crate::reference::{Domain, grants_file};
use crate::support::PolicyDir;

pub(super) struct DirectoryBackend {
    dir: PolicyDir,
    store: Arc<DirectoryStore>,
}

impl Backend for DirectoryBackend {
    fn open(catalog: Arc<Catalog>) -> Self {
        let dir = PolicyDir::new();
        // A directory without any domain is taken for a mistake.
        dir.write("elsewhere/grants.toml", "");
        let store = Arc::new(DirectoryStore::open(dir.path(), catalog).expect("an empty directory"));
        Self { dir, store }
    }

    fn store(&self) -> Arc<dyn PolicyStore> {
        self.store.clone()
    }

    /// Read at once, without the watch and its quiet time; it has its own tests.
    fn write(&self, domain_id: &str, domain: &Domain) {
        if self.dir.path().join(domain_id).exists() {
            self.dir.remove(domain_id);
        }
        for (name, document) in &domain.policies {
            self.dir.write(&format!("{domain_id}/policies/{name}.json"), &document.to_string());
        }
        self.dir.write(&format!("{domain_id}/grants.toml"), &grants_file(domain));
        self.store.reload().expect("sound files");
    }
}
