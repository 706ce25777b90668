//! The policy admin service: where it listens, and who may call it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::{ClientAuth, MinimumVersion, TlsConfig, is_client_name};
use crate::grpc::admin::MAX_TOKEN_BYTES;

/// The fewest characters of a token: what 128 bits take in hexadecimal.
const MIN_TOKEN_CHARACTERS: usize = 32;
/// The most bytes of the configuration, a token's file, a certificate with its chain, or a bundle of authorities.
const MAX_FILE_BYTES: u64 = 1_024 * 1_024;

/// The policy admin service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it is served, apart from decisions.
    pub addr: SocketAddr,
    /// Bearer tokens that are let in.
    #[serde(default)]
    pub token: Vec<TokenConfig>,
    /// The certificate of the listener, and those of the clients that are let in.
    pub tls: Option<AdminTls>,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// By what name the history knows who shows it.
    pub name: String,
    /// The file that holds it, and nothing else: at least 32 characters, no blanks.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
}

/// TLS of the listener. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    /// The listener's certificate, and those between it and its authority.
    #[schemars(extend("format" = "path"))]
    pub certificate: PathBuf,
    /// Its private key.
    #[schemars(extend("format" = "path"))]
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients.
    #[schemars(extend("format" = "path"))]
    pub client_ca: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub minimum_version: MinimumVersion,
    /// The names of clients that are let in, each whole: a URI such as a SPIFFE id, or a DNS name, among the alternative
    /// names of the certificate.
    #[serde(default)]
    pub clients: BTreeSet<String>,
}

/// Why a secret can't be used. What it holds is never shown.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("`{}` can't be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It holds no token.
    #[error(
        "`{}`: expected a token of at least {MIN_TOKEN_CHARACTERS} visible ASCII characters on one line, such as `openssl rand \
         -hex 32` prints", .0.display()
    )]
    NoToken(PathBuf),
    /// Whoever can write a token can let itself in.
    #[error("`{}`: others than its owner can write it: `chmod go-w` it", .0.display())]
    Writable(PathBuf),
    /// The history could not tell who made a change.
    #[error("the tokens `{0}` and `{1}` are the same: make another one")]
    Shared(String, String),
}

impl AdminConfig {
    /// What is well-formed and yet can't be meant.
    #[must_use]
    pub(super) fn fault(&self) -> Option<String> {
        let clients = self.tls.iter().flat_map(|tls| &tls.clients);
        let has_clients = clients.clone().next().is_some();
        let has_authority = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if self.token.is_empty() && !has_clients {
            return Some(
                "expected at least one `[[admin.token]]`, or `clients` in `[admin.tls]`: else nobody is let in"
                    .to_owned(),
            );
        }
        if has_clients != has_authority {
            return Some(
                "admin.tls: expected `clients` and `client_ca` together: which names, and who vouches for them"
                    .to_owned(),
            );
        }
        let mut names = BTreeSet::new();
        let of_tokens = self.token.iter().map(|token| &token.name).find_map(|name| {
            let is_new = names.insert(name);
            let expected = if !is_token_name(name) {
                "expected a name of letters, digits, `-`, `_` and `.`"
            } else if !is_new {
                "expected each name once"
            } else {
                return None;
            };
            Some(format!("admin.token.name: {expected}, found `{}`", name.escape_debug()))
        });
        let of_clients = { clients }.find(|name| !is_client_name(name)).map(|name| {
            let expected =
                "expected a URI, such as `spiffe://acme.example/deployer`, or a DNS name without wildcards";
            format!("admin.tls.clients: {expected}, found `{}`", name.escape_debug())
        });
        of_tokens.or(of_clients)
    }

    /// TLS of the listener, and whether clients need a certificate.
    #[must_use]
    pub fn listener_tls(&self) -> Option<(TlsConfig, ClientAuth)> {
        let AdminTls { certificate, key, client_ca, minimum_version, clients: _ } = self.tls.clone()?;
        // Who has a token needs no certificate.
        let clients = if self.token.is_empty() { ClientAuth::Required } else { ClientAuth::Optional };
        Some((TlsConfig { certificate, key, client_ca, minimum_version }, clients))
    }

    /// The tokens by name.
    ///
    /// # Errors
    ///
    /// If one can't be read, is none, or is another one's too.
    pub fn tokens(&self) -> Result<Vec<(String, String)>, SecretError> {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut tokens = Vec::new();
        for token in &self.token {
            let (name, text) = (token.name.clone(), token.read()?);
            if let Some(other) = names.insert(text.clone(), name.clone()) {
                return Err(SecretError::Shared(other, name));
            }
            tokens.push((name, text));
        }
        Ok(tokens)
    }
}

/// It stands in the history.
fn is_token_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

impl TokenConfig {
    /// Reads the token. A line break at the end does not belong to it.
    fn read(&self) -> Result<String, SecretError> {
        let text = read(&self.file)?;
        let token = text.strip_suffix('\n').unwrap_or(&text);
        let token = token.strip_suffix('\r').unwrap_or(token);
        let is_token = (MIN_TOKEN_CHARACTERS..=MAX_TOKEN_BYTES).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(SecretError::NoToken(self.file.clone()));
        }
        let metadata = fs::metadata(&self.file);
        let mode = metadata.map_err(|cause| SecretError::Read { path: self.file.clone(), cause })?.mode();
        if mode & 0o022 != 0 {
            return Err(SecretError::Writable(self.file.clone()));
        }
        if mode & 0o004 != 0 {
            tracing::warn!(file = %self.file.display(), "every user of this machine can read the token");
        }
        Ok(token.to_owned())
    }
}

/// Reads a file of the configuration as text.
///
/// # Errors
///
/// If it can't be read, or is longer than any that is meant.
pub fn read(path: &Path) -> Result<String, SecretError> {
    read_bounded(path).map_err(|cause| SecretError::Read { path: path.to_owned(), cause })
}

/// Reads a file that may be what nobody means, such as a device without an end.
pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bytes = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    match u64::try_from(bytes) {
        Ok(0..=MAX_FILE_BYTES) => Ok(text),
        _ => Err(io::Error::other(format!("expected at most {MAX_FILE_BYTES} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn fault(text: &str) -> Option<String> {
        toml::from_str::<AdminConfig>(text).unwrap().fault()
    }

    const ADDR: &str = "addr = \"127.0.0.1:50052\"\n";
    const TOKEN: &str = "[[token]]\nname = \"ci\"\nfile = \"/t\"\n";
    const TLS: &str = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n";

    #[test]
    fn somebody_must_be_let_in() {
        assert!(fault(ADDR).unwrap().contains("nobody is let in"));
        assert!(fault(&format!("{ADDR}{TLS}")).unwrap().contains("nobody is let in"));
        assert_eq!(fault(&format!("{ADDR}{TOKEN}")), None);
        assert_eq!(fault(&format!("{ADDR}{TLS}client_ca = \"a\"\nclients = [\"spiffe://a/b\"]")), None);
        assert_eq!(fault(&format!("{ADDR}{TOKEN}{TLS}")), None);
    }

    #[test]
    fn names_without_an_authority_are_no_proof() {
        assert!(fault(&format!("{ADDR}{TLS}clients = [\"a\"]")).unwrap().contains("together"));
        assert!(fault(&format!("{ADDR}{TOKEN}{TLS}client_ca = \"a\"")).unwrap().contains("together"));
    }

    #[test]
    fn token_names_are_told_apart_in_the_history() {
        assert!(fault(&format!("{ADDR}{TOKEN}{TOKEN}")).unwrap().contains("each name once"));
        assert!(fault(&format!("{ADDR}{}", TOKEN.replace("ci", "c i"))).unwrap().contains("letters"));
    }

    #[test]
    fn clients_have_names_that_can_stand_in_certificates() {
        let of = |name: &str| fault(&format!("{ADDR}{TLS}client_ca = \"a\"\nclients = [\"{name}\"]"));
        for name in ["spiffe://acme.example/deployer", "deployer.acme.example", "https://x/y?z"] {
            assert_eq!(of(name), None, "{name}");
        }
        for name in ["", "*", "*.acme.example", "CN=deployer", "token:deployer", "sql:x", "://x", "a b"] {
            assert!(of(name).unwrap().contains("expected a URI"), "{name}");
        }
    }

    #[test]
    fn two_tokens_are_two() {
        let folder = tempfile::tempdir().unwrap();
        let token = |name: &str, text: &str| {
            let token = TokenConfig { name: name.into(), file: folder.path().join(name) };
            fs::write(&token.file, text).unwrap();
            fs::set_permissions(&token.file, fs::Permissions::from_mode(0o600)).unwrap();
            token
        };
        let (one, two) =
            ("0123456789abcdef0123456789abcdef", "another one that is long enough".replace(' ', "-"));
        let config =
            |token: Vec<TokenConfig>| AdminConfig { addr: ([127, 0, 0, 1], 0).into(), token, tls: None };
        let names = config(vec![token("a", one), token("b", &format!("{two}x"))]).tokens().unwrap();
        assert_eq!(names.len(), 2);
        let error = config(vec![token("a", one), token("b", &format!("{one}\n"))]).tokens().unwrap_err();
        assert_eq!(error.to_string(), "the tokens `a` and `b` are the same: make another one");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        assert!(matches!(read(Path::new("/dev/zero")), Err(SecretError::Read { .. })));
    }

    #[test]
    fn a_token_is_one_line_of_enough_characters() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |mode| fs::Permissions::from_mode(mode);
        let token = TokenConfig { name: "ci".into(), file: folder.path().join("token") };
        assert!(matches!(token.read(), Err(SecretError::Read { .. })));
        let good = "0123456789abcdef0123456789abcdef";
        for text in [good.to_owned(), format!("{good}\n"), format!("{good}\r\n")] {
            fs::write(&token.file, text).unwrap();
            assert_eq!(token.read().unwrap(), good);
        }
        for (bits, is_taken) in [(0o600, true), (0o644, true), (0o640, true), (0o660, false), (0o602, false)]
        {
            fs::set_permissions(&token.file, mode(bits)).unwrap();
            assert_eq!(token.read().is_ok(), is_taken, "{bits:o}");
        }
        fs::set_permissions(&token.file, mode(0o600)).unwrap();
        for text in ["", "short", &format!("{good}\n\n"), &format!("{good} {good}"), &"ä".repeat(32)] {
            fs::write(&token.file, text).unwrap();
            let error = token.read().unwrap_err();
            assert!(matches!(error, SecretError::NoToken(_)), "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }
}
