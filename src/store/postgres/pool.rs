//! Connections to the database that are used again and again: how long they are waited for, and which are not used again.

use std::time::Duration;

use deadpool_postgres::{BuildError, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::time::timeout;

use super::connector::Connector;
use super::{DatabaseUrl, OpenError, ReadError, migrate};

/// How long a read may wait for a connection. With its answer, it stays well within the 2 s that a request waits.
const WAIT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);
/// When the server gives up: before we do, so that a slow statement is told from a dead connection.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(600);
/// How long the schema may take to be checked.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CREATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections for reading.
#[derive(Debug)]
pub(super) struct ReadPool(Pool);

/// A connection that goes back to the pool only if its answer has come. Whoever leaves in the middle, for time or because
/// nobody waits any more, can't know whether it is dead, and would leave it to the next one.
pub(super) struct Lent(Option<Object>);

impl ReadPool {
    pub(super) fn new(connector: &Connector, max_connections: usize) -> Result<Self, BuildError> {
        Ok(Self(pool(connector, max_connections, STATEMENT_TIMEOUT, Planning::Once)?))
    }

    /// Whether the database is there with the schema of this program.
    pub(super) async fn check(&self, url: &DatabaseUrl) -> Result<(), OpenError> {
        check(&self.0, url).await
    }

    pub(super) async fn lend(&self) -> Result<Lent, ReadError> {
        Ok(Lent::of(timeout(WAIT_TIMEOUT, self.0.get()).await??))
    }

    /// Ends the connections that nobody uses: after a silence of one, as in a failover, they would be silent too.
    pub(super) fn forget_idle(&self) {
        self.0.retain(|_, _| false);
    }
}

impl Lent {
    pub(super) fn of(client: Object) -> Self {
        Self(Some(client))
    }

    pub(super) fn client_mut(&mut self) -> Result<&mut Object, PoolError> {
        self.0.as_mut().ok_or(PoolError::Closed)
    }

    pub(super) fn client(&self) -> Result<&Object, PoolError> {
        // INVARIANT: it is there until it is given back.
        self.0.as_ref().ok_or(PoolError::Closed)
    }

    pub(super) fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

/// When the server plans a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Planning {
    /// Once a connection: to plan a read takes longer than the read, and the plan is always the same.
    Once,
    /// As the server likes: what is listed depends much on the filter.
    Free,
}

/// Connections whose statements may take as long as this.
pub(super) fn pool(
    connector: &Connector,
    max_connections: usize,
    limit: Duration,
    planning: Planning,
) -> Result<Pool, BuildError> {
    let plan_cache_mode = match planning {
        Planning::Once => "force_generic_plan",
        Planning::Free => "auto",
    };
    let limit_ms = limit.as_millis();
    let options = format!("-c statement_timeout={limit_ms} -c plan_cache_mode={plan_cache_mode}");
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(connector.manager(&options, config))
        .max_size(max_connections)
        .wait_timeout(Some(limit))
        .create_timeout(Some(CREATE_TIMEOUT))
        .recycle_timeout(Some(WAIT_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
}

/// Whether the database is there with the schema of this program. Leaves a connection in the pool.
pub(super) async fn check(pool: &Pool, url: &DatabaseUrl) -> Result<(), OpenError> {
    let unreachable = |cause| OpenError::Unreachable { url: url.to_string(), cause };
    let client = pool.get().await.map_err(|error| match error {
        // What the pool adds to it helps nobody.
        PoolError::Backend(error) => unreachable(error.into()),
        other => unreachable(other.into()),
    })?;
    let checked = timeout(CHECK_TIMEOUT, migrate::check(&client)).await;
    let checked = checked.map_err(|silence| unreachable(silence.into()))?;
    checked.map_err(|cause| OpenError::Schema { url: url.to_string(), cause })
}
