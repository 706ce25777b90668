//! What an address says of TLS. The client library knows only half of it, so it is taken out before the rest is read.

use percent_encoding::percent_decode_str;

/// An address without `sslmode` and `sslrootcert`, and these.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) rest: String,
    pub(super) ssl_mode: Option<String>,
    pub(super) ssl_root_cert: Option<String>,
}

impl Address {
    /// Reads both forms: `postgresql://host/name?sslmode=require` and `host=host sslmode=require`.
    pub(super) fn parse(text: &str) -> Self {
        if text.starts_with("postgresql://") || text.starts_with("postgres://") {
            Self::of_url(text)
        } else {
            Self::of_pairs(text)
        }
    }

    fn of_url(text: &str) -> Self {
        // As the client library splits it: credentials end at the first `@`.
        let query_start = text.find('@').unwrap_or(0);
        let (credentials, place) = text.split_at(query_start);
        let Some((place, query)) = place.split_once('?') else {
            return Self { rest: text.to_owned(), ..Self::default() };
        };
        let mut address = Self { rest: format!("{credentials}{place}"), ..Self::default() };
        let mut mark = '?';
        for parameter in query.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let decode = |text| percent_decode_str(text).decode_utf8_lossy();
            if !address.take(&decode(key), &decode(value)) {
                address.rest.push(mark);
                address.rest.push_str(parameter);
                mark = '&';
            }
        }
        address
    }

    fn of_pairs(mut text: &str) -> Self {
        let mut address = Self::default();
        while let Some((key, value, rest)) = next_pair(text) {
            if !address.take(key, &value) {
                let (pair, _) = text.split_at(text.len() - rest.len());
                address.rest.push_str(pair);
            }
            text = rest;
        }
        // What can't be read is told by the client library.
        address.rest.push_str(text);
        address
    }

    /// Takes a parameter if it is about TLS. The last of a name is the one that counts, as in libpq.
    fn take(&mut self, key: &str, value: &str) -> bool {
        let place = match key {
            "sslmode" => &mut self.ssl_mode,
            "sslrootcert" => &mut self.ssl_root_cert,
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }
}

/// The next `key = value` or `key = 'value'`, where a backslash stands before what is meant as it is, and what follows.
fn next_pair(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let rest = rest.trim_start();
    let quoted = rest.strip_prefix('\'');
    let mut characters = quoted.unwrap_or(rest).chars();
    let mut value = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\'' if quoted.is_some() => break,
            blank if quoted.is_none() && blank.is_whitespace() => break,
            '\\' => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    Some((key.trim(), value, characters.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_tls_is_taken_out_of_both_forms() {
        let cases = [
            ("postgresql://u:p@h/n", "postgresql://u:p@h/n", None, None),
            ("postgresql://h/n?sslmode=verify-full", "postgresql://h/n", Some("verify-full"), None),
            (
                "postgres://u:p?x@h/n?a=1&ssl%6Dode=require&b=2&sslrootcert=%2Fca%20s.pem",
                "postgres://u:p?x@h/n?a=1&b=2",
                Some("require"),
                Some("/ca s.pem"),
            ),
            ("postgresql://h?sslmode=disable&sslmode=require", "postgresql://h", Some("require"), None),
            // No value, as the client library says.
            ("postgresql://h?a", "postgresql://h?a", None, None),
            ("host=h sslmode=require user=u", "host=h user=u", Some("require"), None),
            (
                "sslrootcert = '/it\\'s a.pem' password='sslmode=disable' sslmode =verify-ca",
                " password='sslmode=disable'",
                Some("verify-ca"),
                Some("/it's a.pem"),
            ),
            ("host=h sslmode='require", "host=h ", Some("require"), None),
            ("nonsense", "nonsense", None, None),
        ];
        for (text, rest, mode, cert) in cases {
            let expected = Address {
                rest: rest.to_owned(),
                ssl_mode: mode.map(str::to_owned),
                ssl_root_cert: cert.map(str::to_owned),
            };
            assert_eq!(Address::parse(text), expected, "{text}");
        }
    }
}
