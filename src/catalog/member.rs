//! The values of one member of a body: what conditions and resources ask of it.
//!
//! The way to a member leads through objects and, item by item, through arrays. Where two parsers could see different
//! values, or none can tell, the answer is that it is not known.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::body::{Body, BodySummary};
use super::json_reader::{JsonFault, ObjectReader};
use super::row::{Absence, Form, MemberSource};

/// Values, which mostly are one.
pub type Values<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// The values that are seen for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// These, at least one.
    Values(Values<'a>),
    /// There are none.
    Absent,
    /// It can't be told.
    Unknown,
}

/// The most bytes of a value. An id has 128 (IAM.1022), a name 255; conditions and resources cost by length.
const MAX_VALUE_BYTES: usize = 256;
/// The most values of a member. More are not told: each is asked about in every statement.
const MAX_VALUES: usize = 256;

impl<'a> Seen<'a> {
    /// These values, or none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = Cow<'a, str>>) -> Self {
        let values: Values<'a> = values.into_iter().collect();
        if values.is_empty() { Self::Absent } else { Self::Values(values) }
    }
}

impl MemberSource {
    /// What a body tells here.
    pub(super) fn values<'b>(&self, body: &'b Body) -> Seen<'b> {
        match body.member(&self.path) {
            _ if self.unless.iter().any(|path| body.may_have(path)) => Seen::Unknown,
            Seen::Absent if self.absence == Absence::ApiDecides => Seen::Unknown,
            // Empty is as good as left out.
            Seen::Values(values)
                if self.absence == Absence::ApiDecides && values.iter().any(|it| it.is_empty()) =>
            {
                Seen::Unknown
            }
            Seen::Values(values) if !values.iter().all(|value| self.form.allows(value)) => Seen::Unknown,
            seen => seen,
        }
    }
}

impl Form {
    fn allows(self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Plain => !value.contains(|c: char| matches!(c, '/' | '?' | '#' | ':') || c.is_uppercase()),
        }
    }
}

impl Body {
    /// The values of the member at this path from the top, joined by dots, with scalars as text.
    #[must_use]
    pub fn member(&self, path: &str) -> Seen<'_> {
        match self {
            Self::Content { bytes, truncated: false } => content_member(bytes, path),
            Self::Summary(summary) if !summary.truncated => summary.member(path),
            Self::Absent | Self::Encoded | Self::Content { .. } | Self::Summary(_) => Seen::Unknown,
        }
    }
}

impl BodySummary {
    /// A summary tells the member that it names. It tells that there is none if it names another beside it, or top-level
    /// keys of which none leads there.
    fn member(&self, path: &str) -> Seen<'_> {
        let top = path.split('.').next().unwrap_or(path);
        let is_top = |key: &&String| key.eq_ignore_ascii_case(top);
        let is_alike = |key: &&String| key.eq_ignore_ascii_case(path);
        // Twice, or in two letter cases: readers of the body may differ.
        if self.top_level_keys.iter().filter(is_top).count() > 1
            || self.attributes.keys().filter(is_alike).count() > 1
        {
            return Seen::Unknown;
        }
        if let Some(values) = self.attributes.get(path) {
            return Seen::of(values.iter().map(|value| Cow::Borrowed(value.as_str())));
        }
        let is_in =
            |key: &String, parent: &str| key.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'));
        let names_sibling = path
            .rsplit_once('.')
            .is_some_and(|(parent, _)| self.attributes.keys().any(|key| is_in(key, parent)));
        let has_top = self.top_level_keys.iter().any(|key| key == top)
            || self.attributes.keys().any(|key| key == top || is_in(key, top));
        let leads_nowhere = !self.top_level_keys.is_empty() && !has_top;
        // What is in the member is not the member, and some readers fold letter case.
        let is_doubtful =
            self.attributes.keys().any(|key| is_in(key, path) || key.eq_ignore_ascii_case(path));
        if !is_doubtful && (names_sibling || leads_nowhere) { Seen::Absent } else { Seen::Unknown }
    }
}

fn content_member<'a>(bytes: &'a [u8], path: &str) -> Seen<'a> {
    let names: Vec<&str> = path.split('.').collect();
    let mut found = Found { values: Vec::new(), is_clear: true };
    let read = ObjectReader::new(bytes).and_then(|mut reader| {
        found.collect(&mut reader, &names)?;
        reader.end()
    });
    if read.is_err() || !found.is_clear || found.values.len() > MAX_VALUES {
        return Seen::Unknown;
    }
    Seen::of(found.values)
}

struct Found<'a> {
    values: Vec<Cow<'a, str>>,
    /// Whether everything on the way had the shape that was expected, once.
    is_clear: bool,
}

impl<'a> Found<'a> {
    /// Gathers what `names` lead to from the value that starts here.
    fn collect(&mut self, reader: &mut ObjectReader<'a>, names: &[&str]) -> Result<(), JsonFault> {
        if reader.at_array() {
            return reader.array(&mut |reader| {
                let before = self.values.len();
                self.collect(reader, names)?;
                // An item without a value names its object in another way, or not at all.
                self.is_clear &= self.values.len() > before;
                Ok(())
            });
        }
        let Some((name, rest)) = names.split_first() else { return self.leaf(reader) };
        if !reader.at_object() {
            // `null` is no object and no value either.
            self.is_clear &= reader.scalar()?.is_none();
            return Ok(());
        }
        let mut count = 0;
        reader.object(&mut |reader, key| {
            let key = key.decoded();
            if key == *name {
                count += 1;
                return self.collect(reader, rest);
            }
            // Some readers fold letter case.
            self.is_clear &= !key.eq_ignore_ascii_case(name);
            reader.skip_value()
        })?;
        self.is_clear &= count < 2;
        Ok(())
    }

    fn leaf(&mut self, reader: &mut ObjectReader<'a>) -> Result<(), JsonFault> {
        if reader.at_object() {
            self.is_clear = false;
            return reader.skip_value();
        }
        let value = reader.scalar()?;
        self.is_clear &= value.as_ref().is_none_or(|value| value.len() <= MAX_VALUE_BYTES);
        self.values.extend(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, path: &str) -> String {
        let body = Body::Content { bytes: text.into(), truncated: false };
        match body.member(path) {
            Seen::Values(values) => values.join("|"),
            Seen::Absent => "absent".to_owned(),
            Seen::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn a_member_is_found_through_objects_and_arrays() {
        let cases = [
            (r#"{"a":{"b":"x"}}"#, "x"),
            (r#"{"a":{"b":1.50}}"#, "1.50"),
            (r#"{"a":{"b":true}}"#, "true"),
            (r#"{"a":{"\u0062":"\u0078"}}"#, "x"),
            (r#"{"a":[{"b":"x"},{"b":["y","z"]}]}"#, "x|y|z"),
            (r#"{"a":[{"b":"x"},{}]}"#, "unknown"),
            (r#"{"a":[{"b":"x"},{"b":null}]}"#, "unknown"),
            (r#"{"a":{"b":"x","B":"y"}}"#, "unknown"),
            (r#"{"A":{"b":"y"}}"#, "unknown"),
            (r#"{"a":{"b":null}}"#, "absent"),
            (r#"{"a":null}"#, "absent"),
            (r#"{"a":{"b":[]}}"#, "absent"),
            (r#"{"c":1}"#, "absent"),
            (r#"{"a":{"b":"x","b":"y"}}"#, "unknown"),
            (r#"{"a":{"b":"x"},"a":{}}"#, "unknown"),
            (r#"{"a":"b"}"#, "unknown"),
            (r#"{"a":{"b":{"c":1}}}"#, "unknown"),
            (r#"{"a":{"b":"x"}"#, "unknown"),
            (r#"{"a":{"b":"x"}} x"#, "unknown"),
            ("[]", "unknown"),
            ("", "unknown"),
        ];
        for (text, expected) in cases {
            assert_eq!(seen(text, "a.b"), expected, "{text}");
        }
        let many = format!("{{\"a\":{{\"b\":[{}]}}}}", vec!["1"; MAX_VALUES + 1].join(","));
        assert_eq!(seen(&many, "a.b"), "unknown");
    }

    #[test]
    fn a_summary_tells_what_it_names() {
        let summary = |keys: &[&str], attributes: &[(&str, &str)]| {
            Body::Summary(BodySummary {
                top_level_keys: keys.iter().map(ToString::to_string).collect(),
                attributes: attributes
                    .iter()
                    .map(|(key, value)| (key.to_string(), vec![value.to_string()]))
                    .collect(),
                truncated: false,
            })
        };
        assert_eq!(summary(&["a"], &[("a.b", "x")]).member("a.b"), Seen::of(["x".into()]));
        assert_eq!(summary(&["a"], &[("a.c", "x")]).member("a.b"), Seen::Absent);
        assert_eq!(summary(&["c"], &[]).member("a.b"), Seen::Absent);
        assert_eq!(summary(&["a"], &[]).member("a.b"), Seen::Unknown);
        assert_eq!(summary(&[], &[]).member("a.b"), Seen::Unknown);
        assert_eq!(summary(&["a"], &[("a.b.c", "x")]).member("a.b"), Seen::Unknown);
        assert_eq!(summary(&["a"], &[("a.B", "x")]).member("a.b"), Seen::Unknown);
        assert_eq!(summary(&["a"], &[("a.B", "y"), ("a.b", "x")]).member("a.b"), Seen::Unknown);
        assert_eq!(summary(&["a", "A"], &[("a.b", "x")]).member("a.b"), Seen::Unknown);
        assert_eq!(Body::Absent.member("a.b"), Seen::Unknown);
    }
}
