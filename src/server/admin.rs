//! The listener of the policy admin service: apart from decisions, and for those alone whom the configuration names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::{OpenStore, PolicySource, StartError, bind, reflection, transport};
use crate::config::admin::{AdminConfig, AdminTls, SecretError, read};
use crate::grpc::admin::{Access, PolicyAdmin};
use crate::pdp::Pdp;
use crate::store::postgres::OpenError;
use crate::store::postgres::administration::Administration;

const SERVICE: &str = "ecs.authz.v1.PolicyAdminService";
/// The most calls at once on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 16;
/// The most time of a call, a bit more than an answer has.
const CALL_TIMEOUT: Duration = Duration::from_secs(65);
/// How long a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why policies can't be administered as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AdminListenerError {
    /// Files are administered by editing them.
    #[error("expected policies in a database: those in files are edited there, take `[admin]` out")]
    NoDatabase,
    /// A token, a certificate or a key can't be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate, its key, or the authority can't be used together.
    #[error("no TLS can be set up with the certificate `{}`, its key `{}` and the authorities in `{}`",
        .tls.certificate.display(), .tls.key.display(),
        .tls.client_ca.as_ref().map(|file| file.display().to_string()).unwrap_or_default())]
    Tls {
        /// The files.
        tls: AdminTls,
        /// What is wrong with one of them.
        #[source]
        cause: tonic::transport::Error,
    },
    /// The connections to the database can't be set up.
    #[error("the connections to the database can't be set up")]
    Connections(#[from] OpenError),
}

/// A listener that is bound.
pub(super) struct AdminListener {
    pub(super) addr: SocketAddr,
    incoming: TcpIncoming,
    router: Router,
}

impl AdminListener {
    pub(super) async fn open(
        config: &AdminConfig,
        source: &PolicySource,
        store: &OpenStore,
        pdp: Arc<Pdp>,
    ) -> Result<Self, StartError> {
        let (PolicySource::Postgres(settings), OpenStore::Postgres(store)) = (source, store) else {
            return Err(AdminListenerError::NoDatabase.into());
        };
        let administration = Administration::new(settings).map_err(AdminListenerError::from)?;
        let mut server = transport(MAX_CONCURRENT_STREAMS, CALL_TIMEOUT);
        if let Some(tls) = &config.tls {
            let unusable = |cause| AdminListenerError::Tls { tls: tls.clone(), cause };
            server = server.tls_config(tls_config(tls, config)?).map_err(unusable)?;
        }
        let service = PolicyAdmin::service(pdp, store.clone(), administration, access(config)?);
        let router = server
            .add_service(service)
            .add_service(reflection(&[SERVICE]).build_v1()?)
            .add_service(reflection(&[SERVICE]).build_v1alpha()?);
        let (listener, addr) = bind(config.listen).await?;
        Ok(Self { addr, incoming: TcpIncoming::from(listener).with_nodelay(Some(true)), router })
    }

    /// Serves until it is told to stop.
    pub(super) async fn serve(self, stopped: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let served = self.router.serve_with_incoming_shutdown(self.incoming, stopped);
        served.await.map_err(io::Error::other)
    }
}

/// Reads the tokens.
fn access(config: &AdminConfig) -> Result<Access, AdminListenerError> {
    Ok(Access::new(config.tokens()?, config.tls.iter().flat_map(|tls| tls.clients.clone())))
}

fn tls_config(tls: &AdminTls, config: &AdminConfig) -> Result<ServerTlsConfig, AdminListenerError> {
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    let server = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_TIMEOUT);
    Ok(match &tls.client_ca {
        None => server,
        Some(authority) => server
            .client_ca_root(Certificate::from_pem(read(authority)?))
            // Who has a token needs no certificate.
            .client_auth_optional(!config.token.is_empty()),
    })
}
