//! Path templates: `/v1/{project_id}/cloudservers/{server_id}`.
//!
//! A template is a list of segments, each a literal or a placeholder that stands for one whole segment.

/// One segment of a template.
///
/// The order is the one in which rows are sorted: literals before placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment<'a> {
    /// Matches exactly this text.
    Literal(&'a str),
    /// Matches any one segment; the name is for people and for binding.
    Placeholder(&'a str),
}

/// Why a template is malformed: what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// The template does not start with a slash.
    #[error("expected a path that starts with `/`")]
    NoLeadingSlash,
    /// The template has a query.
    #[error("expected a path without a query: the query is never matched")]
    Query,
    /// A segment is empty: `//` or a slash at the end.
    #[error("expected no empty segment and no slash at the end")]
    EmptySegment,
    /// A brace stands elsewhere than around a whole segment, as in `/v1{project_id}`.
    #[error("expected `{0}` to be a literal or a whole `{{name}}`: is a slash missing?")]
    Braces(String),
    /// A literal holds something else than unreserved characters, or is a dot segment.
    #[error("expected only letters, digits and `-._~` in the literal `{0}`, and not a dot segment")]
    Literal(String),
    /// A placeholder's name is not made of lower-case letters, digits and `_`.
    #[error("expected a placeholder named with lower-case letters, digits and `_`, found `{{{0}}}`")]
    PlaceholderName(String),
    /// One name stands twice, so binding by name would collide.
    #[error("expected each placeholder once, found `{{{0}}}` twice")]
    PlaceholderTwice(String),
    /// More segments than a route may have.
    #[error("expected at most {MAX_SEGMENTS} segments")]
    TooManySegments,
}

/// The most segments in a template. The longest published one has seven.
pub(super) const MAX_SEGMENTS: usize = 16;

/// Splits a template into its segments.
///
/// # Errors
///
/// The first thing that is malformed.
pub(super) fn parse(template: &str) -> Result<Vec<Segment<'_>>, TemplateFault> {
    let path = template.strip_prefix('/').ok_or(TemplateFault::NoLeadingSlash)?;
    if path.contains('?') {
        return Err(TemplateFault::Query);
    }
    let mut segments = Vec::new();
    for text in path.split('/') {
        let segment = parse_segment(text)?;
        if let Segment::Placeholder(name) = segment
            && segments.contains(&segment)
        {
            return Err(TemplateFault::PlaceholderTwice(name.to_owned()));
        }
        segments.push(segment);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err(TemplateFault::TooManySegments);
    }
    Ok(segments)
}

fn parse_segment(text: &str) -> Result<Segment<'_>, TemplateFault> {
    if text.is_empty() {
        return Err(TemplateFault::EmptySegment);
    }
    if !text.contains(['{', '}']) {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        return if text.bytes().all(unreserved) && text != "." && text != ".." {
            Ok(Segment::Literal(text))
        } else {
            Err(TemplateFault::Literal(text.to_owned()))
        };
    }
    let name = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|name| !name.contains(['{', '}']))
        .ok_or_else(|| TemplateFault::Braces(text.to_owned()))?;
    let name_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(name_byte) {
        return Err(TemplateFault::PlaceholderName(name.to_owned()));
    }
    Ok(Segment::Placeholder(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_into_literals_and_placeholders() {
        assert_eq!(
            parse("/v2.1/{project_id}/servers"),
            Ok(vec![
                Segment::Literal("v2.1"),
                Segment::Placeholder("project_id"),
                Segment::Literal("servers")
            ])
        );
    }

    #[test]
    fn each_malformed_template_says_what_was_expected() {
        let cases = [
            ("v1/{project_id}", TemplateFault::NoLeadingSlash),
            ("/v1/{project_id}?user_id={user_id}", TemplateFault::Query),
            ("/v1//x", TemplateFault::EmptySegment),
            ("/v1/", TemplateFault::EmptySegment),
            ("/v1{project_id}/x", TemplateFault::Braces("v1{project_id}".to_owned())),
            ("/{a}{b}", TemplateFault::Braces("{a}{b}".to_owned())),
            ("/v1/{project_id", TemplateFault::Braces("{project_id".to_owned())),
            ("/v1/..", TemplateFault::Literal("..".to_owned())),
            ("/v1/a;b", TemplateFault::Literal("a;b".to_owned())),
            ("/v1/{}", TemplateFault::PlaceholderName(String::new())),
            ("/v1/{Id}", TemplateFault::PlaceholderName("Id".to_owned())),
            ("/v1/{id}/x/{id}", TemplateFault::PlaceholderTwice("id".to_owned())),
        ];
        for (template, fault) in cases {
            assert_eq!(parse(template), Err(fault), "{template}");
        }
        assert_eq!(parse(&"/x".repeat(MAX_SEGMENTS + 1)), Err(TemplateFault::TooManySegments));
    }
}
