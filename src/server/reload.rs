//! What a server reads again when it is told to. What has a fault stays what it was.

use std::sync::Arc;

use super::{Certificates, OpenStore, Reload, RunningServer};
use crate::store::directory::{Change, DirectoryStore};

/// The most faults that are logged at once.
const MAX_SHOWN: usize = 100;

impl RunningServer {
    /// Reads the certificates and the policy directory again, and opens the file of the decision log anew. What came of each is
    /// logged. A database is followed anyway.
    pub async fn reload(&self) {
        self.decision_log.reopen();
        let certificates = self.certificates.clone();
        let policies = match &self.store {
            OpenStore::Directory { store, watch: _ } => Some(store.clone()),
            OpenStore::Postgres(_) => None,
        };
        let read = tokio::task::spawn_blocking(move || {
            reload_certificates(&certificates);
            policies.iter().for_each(reload_policies);
        });
        if read.await.is_err() {
            tracing::error!("reading certificates and policies again panicked: this is a bug of ecs-authz");
        }
    }
}

fn reload_certificates(certificates: &Certificates) {
    let outcomes = certificates.reload();
    if outcomes.is_empty() {
        return;
    }
    let replaced = outcomes.iter().filter(|outcome| **outcome == Reload::Replaced).count();
    let faults = certificates.faults();
    for fault in &faults {
        tracing::error!(fault, "certificate not read again, the last good one stays");
    }
    if faults.is_empty() {
        tracing::info!(listeners = outcomes.len(), replaced, "certificates read again");
    }
}

fn reload_policies(store: &Arc<DirectoryStore>) {
    let directory = store.root().display();
    match store.reload() {
        Ok(change) => {
            let is_changed = change == Change::Loaded;
            tracing::info!(%directory, domains = store.domain_count(), is_changed, "policies read again");
        }
        Err(faults) => {
            for fault in faults.lines(MAX_SHOWN) {
                tracing::error!(fault, "policies not read again, the last good ones stay");
            }
        }
    }
}
