//! What the catalog asks of a request body: which one key it has, and whether it has a member.
//!
//! The caller passes the raw content or a summary of it. A body is looked at only where an operation needs it:
//! elsewhere a broken body never blocks a call.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::json_reader::{JsonFault, ObjectReader};

/// The body of a call, as far as the caller passed it on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Body {
    /// The call has no body, or the caller passed nothing of it.
    #[default]
    Absent,
    /// There is a body, but its bytes are encoded (`Content-Encoding`): what they say is not known.
    Encoded,
    /// What the caller read from the body.
    Summary(BodySummary),
    /// The body's bytes.
    Content {
        /// The bytes, as received.
        bytes: Vec<u8>,
        /// Whether they are only the start of the body.
        truncated: bool,
    },
}

/// A caller's reading of a body that is a JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodySummary {
    /// Every key of the top level, escapes decoded, repeated where it is repeated.
    pub top_level_keys: Vec<String>,
    /// Members by their path from the top, joined by dots (`server.publicip.eip`), with scalar values as text.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Whether the caller saw only the start of the body.
    pub truncated: bool,
}

/// Why the one top-level key of a body can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// There is no body, or an empty one.
    #[error("the operation is told by the body, and there is none")]
    Required,
    /// The body is not one JSON object.
    #[error("{0}")]
    NotAnObject(JsonFault),
    /// Another number of top-level keys than one. A repeated key counts each time.
    #[error("expected exactly one top-level key in the body, found {0}")]
    KeyCount(usize),
    /// The body is encoded, and nobody here decodes it: a decoder could be a bomb.
    #[error("the body is encoded, so its keys are not known")]
    Encoded,
    /// Only the start of the body is there.
    #[error("the body is cut short, so its keys are not known")]
    Truncated,
}

/// Whether a body has a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has.
    Present,
    /// It has not.
    Absent,
    /// No body, a summary that does not say, or a body that can't be read in one way.
    Unknown,
}

impl Body {
    /// The one top-level key, escapes decoded.
    ///
    /// # Errors
    ///
    /// If there is not exactly one, or it can't be told.
    pub fn sole_key(&self) -> Result<Cow<'_, str>, BodyFault> {
        match self {
            Self::Absent => Err(BodyFault::Required),
            Self::Encoded => Err(BodyFault::Encoded),
            Self::Summary(BodySummary { truncated: true, .. }) | Self::Content { truncated: true, .. } => {
                Err(BodyFault::Truncated)
            }
            Self::Summary(summary) => match summary.top_level_keys.as_slice() {
                [key] => Ok(Cow::Borrowed(key)),
                keys => Err(BodyFault::KeyCount(keys.len())),
            },
            Self::Content { bytes, truncated: false } => sole_key(bytes),
        }
    }

    /// Whether the body has the member at this path from its top, joined by dots.
    #[must_use]
    pub fn has_member(&self, path: &str) -> Presence {
        match self {
            Self::Absent | Self::Encoded => Presence::Unknown,
            Self::Summary(summary) => summary.has_member(path),
            Self::Content { truncated: true, .. } => Presence::Unknown,
            Self::Content { bytes, truncated: false } => content_has_member(bytes, path),
        }
    }

    /// Whether something may stand at this path. A summary that tells a value beside it is taken at its word.
    pub(super) fn may_have(&self, path: &str) -> bool {
        match self {
            Self::Summary(summary) if !summary.truncated => summary.names(path),
            _ => self.has_member(path) != Presence::Absent,
        }
    }
}

impl BodySummary {
    /// A summary is taken at its word on a member if it names the member or something in it, names something
    /// beside it, or lists top-level keys of which none leads there. Otherwise it does not say.
    fn has_member(&self, path: &str) -> Presence {
        if self.truncated {
            return Presence::Unknown;
        }
        let (top, is_top) = path.split_once('.').map_or((path, true), |(top, _)| (top, false));
        let has_top = self.top_level_keys.iter().any(|key| key.eq_ignore_ascii_case(top));
        if self.names(path) || (is_top && has_top) {
            return Presence::Present;
        }
        let names_sibling = path.rsplit_once('.').is_some_and(|(parent, _)| self.names(parent));
        let leads_nowhere = !self.top_level_keys.is_empty() && !has_top && !self.names(top);
        if names_sibling || leads_nowhere { Presence::Absent } else { Presence::Unknown }
    }

    /// Whether an attribute is the member at `path` or something in it, in whatever letter case.
    fn names(&self, path: &str) -> bool {
        self.attributes.keys().any(|key| {
            let (start, rest) = key.split_at_checked(path.len()).unwrap_or_default();
            start.eq_ignore_ascii_case(path) && !path.is_empty() && (rest.is_empty() || rest.starts_with('.'))
        })
    }
}

fn sole_key(content: &[u8]) -> Result<Cow<'_, str>, BodyFault> {
    let mut first = None;
    let mut count = 0;
    let read = ObjectReader::new(content).and_then(|mut reader| {
        reader.object(&mut |reader, key| {
            first.get_or_insert(key);
            count += 1;
            reader.skip_value()
        })?;
        reader.end()
    });
    match (read, first) {
        (Err(JsonFault::Empty), _) => Err(BodyFault::Required),
        (Err(JsonFault::Truncated), _) => Err(BodyFault::Truncated),
        (Err(fault), _) => Err(BodyFault::NotAnObject(fault)),
        (Ok(()), Some(key)) if count == 1 => Ok(key.decoded()),
        (Ok(()), _) => Err(BodyFault::KeyCount(count)),
    }
}

fn content_has_member(content: &[u8], path: &str) -> Presence {
    let mut occurrences = 0;
    let read = ObjectReader::new(content).and_then(|mut reader| {
        count_members(&mut reader, path, &mut occurrences)?;
        reader.end()
    });
    match (read, occurrences) {
        (Ok(()), 0) => Presence::Absent,
        // Repeated or not: some reading of the body has the member.
        (Ok(()), _) => Presence::Present,
        (Err(_), _) => Presence::Unknown,
    }
}

/// Counts the members at `path` in the object that starts here, through lists as well. Some readers fold
/// letter case, so a name in another one counts.
fn count_members(
    reader: &mut ObjectReader<'_>,
    path: &str,
    occurrences: &mut usize,
) -> Result<(), JsonFault> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    reader.object(&mut |reader, key| {
        if !key.decoded().eq_ignore_ascii_case(name) {
            return reader.skip_value();
        }
        match rest {
            Some(rest) => count_below(reader, rest, occurrences),
            None => {
                *occurrences += 1;
                reader.skip_value()
            }
        }
    })
}

fn count_below(reader: &mut ObjectReader<'_>, path: &str, occurrences: &mut usize) -> Result<(), JsonFault> {
    if reader.at_array() {
        reader.array(&mut |reader| count_below(reader, path, occurrences))
    } else if reader.at_object() {
        count_members(reader, path, occurrences)
    } else {
        reader.skip_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Body {
        Body::Content { bytes: text.into(), truncated: false }
    }

    fn summary(keys: &[&str], attributes: &[&str]) -> Body {
        Body::Summary(BodySummary {
            top_level_keys: keys.iter().map(ToString::to_string).collect(),
            attributes: attributes.iter().map(|key| (key.to_string(), vec![])).collect(),
            truncated: false,
        })
    }

    #[test]
    fn one_key_is_told_from_content_and_from_a_summary() {
        let told = Ok(Cow::Borrowed("os-start"));
        assert_eq!(content(r#"{"os-start": {}}"#).sole_key(), told);
        assert_eq!(content(r#"{"os-st\u0061rt": null}"#).sole_key(), told);
        assert_eq!(summary(&["os-start"], &[]).sole_key(), told);
    }

    #[test]
    fn every_other_body_has_its_own_fault() {
        let cases = [
            (Body::Absent, BodyFault::Required),
            (Body::Encoded, BodyFault::Encoded),
            (content(""), BodyFault::Required),
            (content(" "), BodyFault::Required),
            (content("[]"), BodyFault::NotAnObject(JsonFault::NotAnObject)),
            (content("{}"), BodyFault::KeyCount(0)),
            (content(r#"{"a":1,"b":2}"#), BodyFault::KeyCount(2)),
            (content(r#"{"a":1,"a":1}"#), BodyFault::KeyCount(2)),
            (content(r#"{"a":1,"\u0061":1}"#), BodyFault::KeyCount(2)),
            (content(r#"{"a":1"#), BodyFault::Truncated),
            (summary(&[], &[]), BodyFault::KeyCount(0)),
            (summary(&["a", "a"], &[]), BodyFault::KeyCount(2)),
        ];
        for (body, fault) in cases {
            assert_eq!(body.sole_key(), Err(fault), "{body:?}");
        }
        let cut = Body::Content { bytes: br#"{"os-start":null}"#.to_vec(), truncated: true };
        assert_eq!(cut.sole_key(), Err(BodyFault::Truncated));
        let cut = BodySummary { top_level_keys: vec!["a".into()], truncated: true, ..Default::default() };
        assert_eq!(Body::Summary(cut).sole_key(), Err(BodyFault::Truncated));
    }

    #[test]
    fn a_member_is_found_in_content() {
        use Presence::{Absent, Present, Unknown};
        let cases = [
            (r#"{"server":{"publicip":{"eip":{}}}}"#, Present),
            (r#"{"server":{"publicip":{"eip":null}}}"#, Present),
            (r#"{"server":{"publicip":{"\u0065ip":{}}}}"#, Present),
            (r#"{"server":{"a":1},"server":{"publicip":{"eip":1}}}"#, Present),
            (r#"{"server":[{"publicip":{"eip":1}},{}]}"#, Present),
            (r#"{"server":{"publicIp":{"eip":1}}}"#, Present),
            (r#"{"server":{"publicip":{"id":"x"}}}"#, Absent),
            (r#"{"server":{"publicip":"eip"}}"#, Absent),
            (r#"{"server":{}}"#, Absent),
            (r#"{"publicip":{"eip":{}}}"#, Absent),
            (r#"{"server":{"publicip":{"eip":"#, Unknown),
            ("[]", Unknown),
            ("", Unknown),
        ];
        for (text, presence) in cases {
            assert_eq!(content(text).has_member("server.publicip.eip"), presence, "{text}");
        }
        assert_eq!(Body::Absent.has_member("a"), Unknown);
    }

    #[test]
    fn a_summary_is_taken_at_its_word_only_where_it_speaks() {
        use Presence::{Absent, Present, Unknown};
        let cases = [
            (summary(&["server"], &["server.publicip.eip"]), Present),
            (summary(&["server"], &["server.publicip.eip.iptype"]), Present),
            (summary(&["server"], &["server.publicip.id"]), Absent),
            (summary(&["server"], &["server.publicip"]), Absent),
            (summary(&["dry_run"], &[]), Absent),
            (summary(&["server"], &["server.flavorRef"]), Unknown),
            (summary(&["server"], &["server.publicipx"]), Unknown),
            (summary(&["server"], &[]), Unknown),
            (summary(&[], &[]), Unknown),
            // Attributes without keys: the summary left its keys out.
            (summary(&[], &["server.name"]), Unknown),
            (summary(&[], &["server.publicip.id"]), Absent),
            (summary(&["dry_run"], &["server.name"]), Unknown),
        ];
        for (body, presence) in cases {
            assert_eq!(body.has_member("server.publicip.eip"), presence, "{body:?}");
        }
        assert_eq!(summary(&["dry_run"], &[]).has_member("dry_run"), Present);
        assert_eq!(summary(&["server"], &[]).has_member("dry_run"), Absent);
    }
}
