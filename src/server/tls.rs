//! TLS of the listeners, from files that may change while it is served.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, SupportedProtocolVersion, version};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::config::admin::{SecretError, read};
use crate::config::{ClientAuth, MinimumVersion, TlsConfig};
use crate::store::postgres;

/// How often the files are looked at. Certificates are replaced long before they expire.
const INTERVAL: Duration = Duration::from_secs(5);

/// Why TLS can't be set up. What the key's file holds is never shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error(transparent)]
    Read(#[from] SecretError),
    /// A file is not one of certificates.
    #[error("`{}`: expected certificates in PEM", .0.display())]
    Certificates(PathBuf),
    /// The key's file is none.
    #[error("`{}`: expected a private key in PEM, without a password", .0.display())]
    Key(PathBuf),
    /// A certificate of an authority can't be used.
    #[error("the authorities in `{}` can't be used", .file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: rustls::Error,
    },
    /// The authorities do not make a verifier.
    #[error("clients can't be verified")]
    Verifier(#[from] VerifierBuilderError),
    /// The certificate and its key can't be used together.
    #[error("no TLS can be set up with the certificate `{}` and the key `{}`", .certificate.display(), .key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why.
        #[source]
        cause: Box<rustls::Error>,
    },
}

/// What is spoken inside.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What came of looking at the files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They hold what they did.
    Unchanged,
    /// New connections get what they hold now.
    Replaced,
    /// They have a fault, so what they held before is kept.
    Kept,
}

/// TLS of one listener, as its files were when they were last sound.
pub(super) struct Tls {
    config: TlsConfig,
    clients: ClientAuth,
    protocol: Protocol,
    current: ArcSwap<rustls::ServerConfig>,
    last: Mutex<LastRead>,
}

/// What the files were when they were last read.
struct LastRead {
    /// Of their content. The times of files are too coarse to tell.
    digest: Option<[u8; 32]>,
    fault: Option<String>,
}

impl Tls {
    pub(super) fn load(config: TlsConfig, clients: ClientAuth, protocol: Protocol) -> Result<Self, TlsError> {
        let files = Files::read(&config)?;
        let current = ArcSwap::from_pointee(files.server_config(&config, clients, protocol)?);
        let last = Mutex::new(LastRead { digest: Some(files.digest()), fault: None });
        Ok(Self { config, clients, protocol, current, last })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    fn reload(&self) -> Reload {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.config);
        let digest = files.as_ref().ok().map(Files::digest);
        if digest.is_some() && digest == last.digest {
            return Reload::Unchanged;
        }
        last.digest = digest;
        // All or nothing: a new certificate may be there before its key.
        match files.and_then(|files| files.server_config(&self.config, self.clients, self.protocol)) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                last.fault = None;
                tracing::info!(certificate = %self.config.certificate.display(), "new connections get the new certificate");
                Reload::Replaced
            }
            Err(error) => {
                let fault = postgres::causes(&error).to_string();
                if last.fault.as_ref() != Some(&fault) {
                    tracing::error!(fault, "the certificate that was there is kept");
                }
                last.fault = Some(fault);
                Reload::Kept
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The certificates of all listeners.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    listeners: Vec<Arc<Tls>>,
}

impl Certificates {
    /// Loads those of one listener.
    pub(super) fn load(
        &mut self,
        config: TlsConfig,
        clients: ClientAuth,
        protocol: Protocol,
    ) -> Result<Arc<Tls>, TlsError> {
        let tls = Arc::new(Tls::load(config, clients, protocol)?);
        self.listeners.push(tls.clone());
        Ok(tls)
    }

    /// Looks at the files now, of each listener.
    #[must_use]
    pub fn reload(&self) -> Vec<Reload> {
        self.listeners.iter().map(|tls| tls.reload()).collect()
    }

    /// What keeps new certificates from being used.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let last = self.listeners.iter().map(|tls| tls.last.lock().unwrap_or_else(PoisonError::into_inner));
        last.filter_map(|last| last.fault.clone()).collect()
    }

    /// Looks at the files again and again until the server stops.
    pub(super) async fn watch(self, stopped: impl Future<Output = ()>) -> io::Result<()> {
        let mut stopped = pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return Ok(()),
                () = sleep(INTERVAL) => {}
            }
            let certificates = self.clone();
            tokio::task::spawn_blocking(move || certificates.reload()).await.map_err(io::Error::other)?;
        }
    }
}

/// What the files hold.
struct Files {
    certificate: String,
    key: String,
    client_ca: Option<String>,
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&config.certificate)?,
            key: read(&config.key)?,
            client_ca: config.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for text in [&self.certificate, &self.key].into_iter().chain(&self.client_ca) {
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        }
        digest.finalize().into()
    }

    fn server_config(
        &self,
        config: &TlsConfig,
        clients: ClientAuth,
        protocol: Protocol,
    ) -> Result<rustls::ServerConfig, TlsError> {
        let unusable = |cause| TlsError::Unusable {
            certificate: config.certificate.clone(),
            key: config.key.clone(),
            cause: Box::new(cause),
        };
        // Named, for other crates may bring a default of their own.
        let provider = Arc::new(ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(versions(config.minimum_version)).map_err(unusable)?;
        let builder = match (&config.client_ca, &self.client_ca) {
            (Some(file), Some(pem)) => {
                let authorities = Arc::new(authorities(file, pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
                builder.with_client_cert_verifier(match clients {
                    ClientAuth::Required => verifier.build()?,
                    ClientAuth::Optional => verifier.allow_unauthenticated().build()?,
                })
            }
            _ => builder.with_no_client_auth(),
        };
        let chain = certificates(&config.certificate, &self.certificate)?;
        // What the parser has to say may quote the file.
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let key = key.map_err(|_| TlsError::Key(config.key.clone()))?;
        let mut server = builder.with_single_cert(chain, key).map_err(unusable)?;
        server.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        // A client that resumes a session is not verified again, and these connections are long.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(server)
    }
}

/// Reads the certificates of authorities, for whoever asks a listener.
///
/// # Errors
///
/// If the file can't be read, or is not one of them.
pub fn read_authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    authorities(file, &read(file)?)
}

fn versions(minimum: MinimumVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match minimum {
        MinimumVersion::V1_2 => rustls::ALL_VERSIONS,
        MinimumVersion::V1_3 => &NEWEST,
    }
}

fn certificates(file: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.ok().filter(|certificates| !certificates.is_empty());
    parsed.ok_or_else(|| TlsError::Certificates(file.to_owned()))
}

fn authorities(file: &Path, pem: &str) -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(file, pem)? {
        let added = authorities.add(certificate);
        added.map_err(|cause| TlsError::Authority { file: file.to_owned(), cause })?;
    }
    Ok(authorities)
}
