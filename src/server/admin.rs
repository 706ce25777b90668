//! The listener of the policy admin service: apart from decisions, and for those alone whom the configuration names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connections::{self, GrpcServer, MaxAge};
use super::drain::PhaseWatch;
use super::incoming::Incoming;
use super::limits::CallBounds;
use super::services::ServicesBuilder;
use super::tls::{Certificates, Protocol, TlsError};
use super::{OpenStore, PolicySource, StartError, reflection};
use crate::config::LimitsConfig;
use crate::config::admin::{AdminConfig, SecretError};
use crate::grpc::admin::{Access, PolicyAdmin};
use crate::grpc::observe::ObserveCalls;
use crate::pdp::Pdp;
use crate::store::postgres::OpenError;
use crate::store::postgres::administration::Administration;

const SERVICE: &str = "ecs.authz.v1.PolicyAdminService";
/// Few at once on a connection, each with a bit more time than an answer has.
const CALLS: CallBounds = CallBounds { max_streams: 16, time: Duration::from_secs(65) };

/// Why policies can't be administered as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AdminListenerError {
    /// Files are administered by editing them.
    #[error("expected policies in a database: those in files are edited there, take `[admin]` out")]
    NoDatabase,
    /// A token can't be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connections to the database can't be set up.
    #[error("the connections to the database can't be set up")]
    Connections(#[from] OpenError),
}

/// A listener that is bound.
pub(super) struct AdminListener {
    pub(super) addr: SocketAddr,
    incoming: Incoming,
    server: GrpcServer,
}

impl AdminListener {
    pub(super) async fn open(
        (config, limits): (&AdminConfig, &LimitsConfig),
        source: &PolicySource,
        store: &OpenStore,
        pdp: Arc<Pdp>,
        observe: ObserveCalls,
        certificates: &mut Certificates,
    ) -> Result<Self, StartError> {
        let (PolicySource::Postgres(settings), OpenStore::Postgres(store)) = (source, store) else {
            return Err(AdminListenerError::NoDatabase.into());
        };
        let administration = Administration::new(settings).map_err(AdminListenerError::from)?;
        let tls =
            config.listener_tls().map(|(tls, clients)| certificates.load(tls, clients, Protocol::Http2));
        let tls = tls.transpose().map_err(AdminListenerError::from)?;
        let service = PolicyAdmin::service(pdp, store.clone(), administration, access(config)?);
        let services = ServicesBuilder::new()
            .with(service)
            .with(reflection(&[SERVICE]).build_v1()?)
            .with(reflection(&[SERVICE]).build_v1alpha()?);
        let server = GrpcServer::new(limits, CALLS, observe, services);
        let (incoming, addr) = Incoming::on_port(config.addr, tls).await?;
        Ok(Self { addr, incoming, server })
    }

    /// Serves until the server drains. Those who administer are few, so their connections may grow old.
    pub(super) async fn serve(self, phase: PhaseWatch) -> io::Result<()> {
        connections::serve(self.incoming, self.server, MaxAge::Unlimited, phase).await
    }
}

/// Reads the tokens.
fn access(config: &AdminConfig) -> Result<Access, AdminListenerError> {
    Ok(Access::new(config.tokens()?, config.tls.iter().flat_map(|tls| tls.clients.clone())))
}
