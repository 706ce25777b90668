//! The policy admin service: where it listens, and who may call it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

/// The fewest characters of a token: what 128 bits take in hexadecimal.
const MIN_TOKEN_CHARACTERS: usize = 32;
/// The most bytes of a token.
const MAX_TOKEN_BYTES: usize = 4_096;

/// The policy admin service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it is served, apart from decisions.
    pub listen: SocketAddr,
    /// Bearer tokens that are let in.
    #[serde(default)]
    pub token: Vec<TokenConfig>,
    /// The certificate of the listener, and those of the clients that are let in.
    pub tls: Option<AdminTls>,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// By what name the history knows who shows it.
    pub name: String,
    /// The file that holds it, and nothing else: at least 32 characters, no blanks.
    pub file: PathBuf,
}

/// TLS of the listener. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    /// The listener's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// The names of clients that are let in, each whole: a URI such as a SPIFFE id, or a DNS name, among the alternative
    /// names of the certificate.
    #[serde(default)]
    pub clients: BTreeSet<String>,
}

/// Why a secret can't be used. What it holds is never shown.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("`{}` can't be read: {cause}", .path.display())]
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
}

impl AdminConfig {
    /// What is well-formed and yet can't be meant.
    #[must_use]
    pub(super) fn fault(&self) -> Option<String> {
        let clients = self.tls.as_ref().map(|tls| &tls.clients);
        let has_clients = clients.is_some_and(|clients| !clients.is_empty());
        let has_authority = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let mut names = BTreeSet::new();
        if self.token.is_empty() && !has_clients {
            Some("expected at least one `[[admin.token]]`, or `clients` in `[admin.tls]`: else nobody is let in".to_owned())
        } else if has_clients != has_authority {
            Some("admin.tls: expected `clients` and `client_ca` together: which names, and who vouches for them".to_owned())
        } else if let Some(token) = self.token.iter().find(|token| !is_token_name(&token.name)) {
            let expected = "expected a name of letters, digits, `-`, `_` and `.`";
            Some(format!("admin.token.name: {expected}, found `{}`", token.name.escape_debug()))
        } else {
            let twice = self.token.iter().find(|token| !names.insert(&token.name));
            twice.map(|token| {
                format!("admin.token.name: expected each name once, found `{}` twice", token.name)
            })
        }
    }
}

/// It stands in the history.
fn is_token_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

impl TokenConfig {
    /// Reads the token. A line break at the end does not belong to it.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or holds no token.
    pub fn read(&self) -> Result<String, SecretError> {
        let text = read(&self.file)?;
        let token = text.strip_suffix('\n').unwrap_or(&text);
        let token = token.strip_suffix('\r').unwrap_or(token);
        let is_token = (MIN_TOKEN_CHARACTERS..=MAX_TOKEN_BYTES).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token { Ok(token.to_owned()) } else { Err(SecretError::NoToken(self.file.clone())) }
    }
}

/// Reads a file of the configuration as text.
///
/// # Errors
///
/// If it can't be read.
pub fn read(path: &Path) -> Result<String, SecretError> {
    fs::read_to_string(path).map_err(|cause| SecretError::Read { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        toml::from_str::<AdminConfig>(text).unwrap().fault()
    }

    const LISTEN: &str = "listen = \"127.0.0.1:50052\"\n";
    const TOKEN: &str = "[[token]]\nname = \"ci\"\nfile = \"/t\"\n";
    const TLS: &str = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n";

    #[test]
    fn somebody_must_be_let_in() {
        assert!(fault(LISTEN).unwrap().contains("nobody is let in"));
        assert!(fault(&format!("{LISTEN}{TLS}")).unwrap().contains("nobody is let in"));
        assert_eq!(fault(&format!("{LISTEN}{TOKEN}")), None);
        assert_eq!(fault(&format!("{LISTEN}{TLS}client_ca = \"a\"\nclients = [\"spiffe://a/b\"]")), None);
        assert_eq!(fault(&format!("{LISTEN}{TOKEN}{TLS}")), None);
    }

    #[test]
    fn names_without_an_authority_are_no_proof() {
        assert!(fault(&format!("{LISTEN}{TLS}clients = [\"a\"]")).unwrap().contains("together"));
        assert!(fault(&format!("{LISTEN}{TOKEN}{TLS}client_ca = \"a\"")).unwrap().contains("together"));
    }

    #[test]
    fn token_names_are_told_apart_in_the_history() {
        assert!(fault(&format!("{LISTEN}{TOKEN}{TOKEN}")).unwrap().contains("twice"));
        assert!(fault(&format!("{LISTEN}{}", TOKEN.replace("ci", "c i"))).unwrap().contains("letters"));
    }

    #[test]
    fn a_token_is_one_line_of_enough_characters() {
        let folder = tempfile::tempdir().unwrap();
        let token = TokenConfig { name: "ci".into(), file: folder.path().join("token") };
        assert!(matches!(token.read(), Err(SecretError::Read { .. })));
        let good = "0123456789abcdef0123456789abcdef";
        for text in [good.to_owned(), format!("{good}\n"), format!("{good}\r\n")] {
            fs::write(&token.file, text).unwrap();
            assert_eq!(token.read().unwrap(), good);
        }
        for text in ["", "short", &format!("{good}\n\n"), &format!("{good} {good}"), &"ä".repeat(32)] {
            fs::write(&token.file, text).unwrap();
            let error = token.read().unwrap_err();
            assert!(matches!(error, SecretError::NoToken(_)), "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }
}
