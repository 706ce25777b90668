//! The one place where connections to a database are made: those of the pool, of the feed and of a migration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deadpool_postgres::{Manager, ManagerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::open::OpenError;
use super::protection::{Authorities, Protection};
use super::settings::DatabaseUrl;

/// What drives a client's connection.
pub(super) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Makes connections as an address asks for.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

/// Why certificates of authorities can't be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file is not there, or not one of certificates.
    #[error("expected PEM certificates of authorities in `{}`", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    /// There are none.
    #[error("there are no certificates of authorities in {0}")]
    None(String),
    /// They do not make a verifier.
    #[error("the certificates of authorities can't be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Connector {
    /// Reads the certificates that it will verify with.
    pub(super) fn new(url: &DatabaseUrl) -> Result<Self, OpenError> {
        let protection = url.protection();
        let mut config = url.config().clone();
        config.ssl_mode(if *protection == Protection::Plain { SslMode::Disable } else { SslMode::Require });
        let tls = tls(protection).map_err(|cause| OpenError::Authorities { url: url.to_string(), cause })?;
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
    }

    /// Connects. The driver has to be polled.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), tokio_postgres::Error> {
        self.config.connect(self.tls.clone()).await
    }

    /// What a pool makes its connections with; `options` go to the server, after those of the address.
    pub(super) fn manager(&self, options: &str, config: ManagerConfig) -> Manager {
        let mut address = self.config.clone();
        let given = address.get_options().unwrap_or_default().to_owned();
        address.options(format!("{given} {options}"));
        Manager::from_config(address, self.tls.clone(), config)
    }
}

fn tls(protection: &Protection) -> Result<ClientConfig, AuthoritiesError> {
    // Named, for other crates may bring a default of their own.
    let provider = Arc::new(ring::default_provider());
    let unusable = |error: rustls::Error| AuthoritiesError::Unusable(error.into());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let lenient = |authority| Arc::new(Lenient { authority, provider: provider.clone() });
    let builder = match protection {
        Protection::Plain => builder.with_root_certificates(RootCertStore::empty()),
        Protection::Encrypted => builder.dangerous().with_custom_certificate_verifier(lenient(None)),
        Protection::Authority(file) => {
            let roots = Arc::new(of_file(file)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            let verifier = verifier.map_err(|error| AuthoritiesError::Unusable(error.into()))?;
            builder.dangerous().with_custom_certificate_verifier(lenient(Some(verifier)))
        }
        Protection::Host(Authorities::File(file)) => builder.with_root_certificates(of_file(file)?),
        Protection::Host(Authorities::Platform) => builder.with_root_certificates(of_platform()?),
    };
    let mut config = builder.with_no_client_auth();
    // What `sslnegotiation=direct` needs.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(config)
}

fn of_file(file: &Path) -> Result<RootCertStore, AuthoritiesError> {
    let unreadable = |cause| AuthoritiesError::File { file: file.to_owned(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|error| AuthoritiesError::Unusable(error.into()))?;
    }
    some(roots, || format!("`{}`", file.display()))
}

/// A certificate of the platform's that can't be read only means that its hosts are not trusted.
fn of_platform() -> Result<RootCertStore, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    some(roots, || "this system: install `ca-certificates`, or say `sslrootcert=FILE`".to_owned())
}

fn some(roots: RootCertStore, place: impl FnOnce() -> String) -> Result<RootCertStore, AuthoritiesError> {
    if roots.is_empty() { Err(AuthoritiesError::None(place())) } else { Ok(roots) }
}

/// Verifies less than the host's name, because it was asked for.
#[derive(Debug)]
struct Lenient {
    /// Whose certificates count, for whatever host; without it, anyone's.
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // INVARIANT: the name is looked at last, so everything else is verified.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
