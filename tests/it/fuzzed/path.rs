//! What holds of every call. The input is `METHOD target` on a line, and the body below it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ecs_authz::catalog::{Body, Call, CanonicalPath, Catalog, Operation, PathFault, ResolveError};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::published().expect("the published tables"));

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (line, content) = text.split_once('\n').unwrap_or((text, ""));
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    match segments(target) {
        Ok(segments) => {
            an_accepted_path_has_one_reading(target, &segments);
            what_adds_a_reading_is_refused(target);
        }
        Err(fault) => assert!(offset(fault) <= target.len(), "{fault} in {target:?}"),
    }
    a_query_changes_nothing(target);
    let body = match content {
        "" => Body::Absent,
        content => Body::Content { bytes: content.into(), truncated: false },
    };
    the_operation_is_the_one_that_a_slow_search_finds(method, target, &body);
}

fn segments(target: &str) -> Result<Vec<&str>, PathFault> {
    CanonicalPath::parse(target).map(|path| path.segments().collect())
}

fn offset(fault: PathFault) -> usize {
    match fault {
        PathFault::NotOriginForm | PathFault::TrailingSlash | PathFault::MethodOverride => 0,
        PathFault::Byte(offset)
        | PathFault::Fragment(offset)
        | PathFault::EmptySegment(offset)
        | PathFault::DotSegment(offset)
        | PathFault::Character(offset)
        | PathFault::PercentEncoding(offset)
        | PathFault::HiddenCharacter(offset)
        | PathFault::NotUtf8(offset) => offset,
    }
}

/// The path, and the query with its question mark.
fn split(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

fn an_accepted_path_has_one_reading(target: &str, segments: &[&str]) {
    let (path, _) = split(target);
    assert_eq!(format!("/{}", segments.join("/")), path);
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{target:?}");
    assert!(path == "/" || !path.ends_with('/'), "{path}");
    assert!(!path.contains(['\\', ';']), "{path}");
    assert!(segments.iter().all(|segment| !["", ".", ".."].contains(segment)), "{path}");
    let decoded = decoded(path);
    assert!(!decoded.contains(['\\', ';', '?', '#']) && !decoded.contains(char::is_control), "{path}");
    // Who decodes before splitting sees the same segments, and who decodes twice sees the same path.
    assert_eq!(decoded.split('/').count(), path.split('/').count(), "{path}");
    assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
    assert_eq!(self::decoded(&decoded), decoded, "{path}");
    // One spelling only: what need not be encoded is not.
    let encodes_needlessly = path.match_indices('%').any(|(at, _)| {
        let byte = u8::from_str_radix(&path[at + 1..at + 3], 16).expect("two digits");
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
    });
    assert!(!encodes_needlessly, "{path}");
}

/// Decodes percent-encoding as a lenient reader does: what is malformed stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.filter(|_| *first == b'%') {
            Some(digits) => {
                let digits = str::from_utf8(digits).expect("ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("an accepted path decodes to text")
}

fn what_adds_a_reading_is_refused(target: &str) {
    let (path, query) = split(target);
    if path != "/" {
        assert_eq!(segments(&format!("{path}/{query}")), Err(PathFault::TrailingSlash));
    }
    for (at, _) in path.match_indices('/') {
        let doubled = format!("{}/{}{query}", &path[..at], &path[at..]);
        assert_eq!(segments(&doubled), Err(PathFault::EmptySegment(at + 1)), "{doubled}");
        for inserted in ["/.", "/..", "/%2e", "/%2E.", "/;", "/a;b", "/\\", "/%2f", "/%5c", "/%00", "/%c0%ae"]
        {
            let changed = format!("{}{inserted}{}{query}", &path[..at], &path[at..]);
            assert!(segments(&changed).is_err(), "{changed}");
        }
    }
    for absolute in ["http://host", "https://host", "host", "*"] {
        assert_eq!(segments(&format!("{absolute}{target}")), Err(PathFault::NotOriginForm));
    }
    assert_eq!(segments(&format!("{target}#")), Err(PathFault::Fragment(target.len())));
    assert_eq!(segments(&format!("{target}\u{e9}")), Err(PathFault::Byte(target.len())));
    let separator = if query.is_empty() { '?' } else { '&' };
    let replaced = format!("{target}{separator}_method=DELETE");
    assert_eq!(segments(&replaced), Err(PathFault::MethodOverride));
}

/// A query that says nothing of the method is cut off first, whatever the path.
fn a_query_changes_nothing(target: &str) {
    let (path, query) = split(target);
    assert_eq!(segments(path), segments(&format!("{path}?x=1")), "{path}");
    if segments(target).is_ok() {
        assert_eq!(segments(target), segments(path), "{query}");
    }
}

fn the_operation_is_the_one_that_a_slow_search_finds(method: &str, target: &str, body: &Body) {
    let found = CATALOG.resolve(method, target, body);
    let segments = match segments(target) {
        Ok(segments) => segments,
        Err(fault) => return assert_eq!(found.err(), Some(ResolveError::Path(fault)), "{target}"),
    };
    let on_route = search(method, &segments);
    match found {
        Ok(call) => {
            assert!(on_route.iter().any(|operation| std::ptr::eq(*operation, call.operation)), "{target}");
            the_call_is_bound_to_the_path(&call, &segments);
            let key = call.operation.body_key.as_deref();
            assert!(key.is_none_or(|key| body.sole_key().as_deref() == Ok(key)), "{target}");
        }
        Err(ResolveError::Path(fault)) => panic!("an accepted path is refused: {fault}"),
        Err(ResolveError::UnknownOperation { methods }) => {
            assert!(on_route.is_empty(), "{method} {target}");
            let others: BTreeSet<&str> = CATALOG.operations().iter().map(|other| &*other.method).collect();
            let expected = others.into_iter().filter(|other| !search(other, &segments).is_empty());
            assert_eq!(methods, expected.collect::<Vec<_>>(), "{target}");
        }
        Err(ResolveError::Body(fault)) => assert_eq!(body.sole_key(), Err(fault), "{target}"),
        Err(ResolveError::UnknownKey { found, known }) => {
            assert_eq!(body.sole_key().as_deref(), Ok(&*found));
            let mut keys: Vec<_> =
                on_route.iter().filter_map(|operation| operation.body_key.clone()).collect();
            keys.sort();
            assert!(known == keys && !known.contains(&found), "{found}: {known:?} / {keys:?}");
        }
    }
}

/// The operations of the route that fits best: literals beat placeholders from the left.
fn search(method: &str, segments: &[&str]) -> Vec<&'static Operation> {
    if segments.last().is_some_and(|last| last.ends_with(".json") || last.ends_with(".xml")) {
        return Vec::new();
    }
    let shape = |operation: &Operation| -> Vec<bool> {
        operation.route.split('/').skip(1).map(|part| !part.starts_with('{')).collect()
    };
    let fits = |operation: &&Operation| {
        let parts: Vec<&str> = operation.route.split('/').skip(1).collect();
        let same = |(part, segment): (&&str, &&str)| part.starts_with('{') || part == segment;
        *operation.method == *method && parts.len() == segments.len() && parts.iter().zip(segments).all(same)
    };
    let fitting: Vec<_> = CATALOG.operations().iter().filter(fits).collect();
    let best = fitting.iter().map(|operation| shape(operation)).max();
    fitting.into_iter().filter(|operation| Some(shape(operation)) == best).collect()
}

fn the_call_is_bound_to_the_path(call: &Call<'_, '_>, segments: &[&str]) {
    let parts = call.operation.route.split('/').skip(1);
    let expected: Vec<(&str, &str)> = parts
        .zip(segments)
        .filter_map(|(part, segment)| Some((part.strip_prefix('{')?.strip_suffix('}')?, *segment)))
        .collect();
    assert_eq!(call.parameters().collect::<Vec<_>>(), expected);
    let project = expected.iter().find(|(name, _)| *name == "project_id");
    assert_eq!(call.project(), project.map(|(_, value)| *value));
}
