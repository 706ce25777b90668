//! The rules for paths (design.md, section 2, "Canonical paths only"), one after the other.

/// The segments of a request target, or nothing if two parsers could read it differently.
pub(super) fn segments(target: &str) -> Option<Vec<&str>> {
    // An absolute-form target: `http://host/path`.
    if !target.starts_with('/') {
        return None;
    }
    // Control characters, spaces and bytes outside ASCII; a fragment.
    if target.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) || target.contains('#') {
        return None;
    }
    // The query is cut off first.
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if has_method_parameter(query) {
        return None;
    }
    if path == "/" {
        return Some(Vec::new());
    }
    let segments: Vec<&str> = path[1..].split('/').collect();
    segments.iter().all(|segment| is_canonical(segment)).then_some(segments)
}

fn is_canonical(segment: &str) -> bool {
    // Empty: `//`, or a slash at the end.
    if ["", ".", ".."].contains(&segment) {
        return false;
    }
    // RFC 3986: `pchar`, but for `;`, which some parsers cut at. This leaves out `\` too.
    let is_plain = |byte: u8| is_unreserved(byte) || b"!$&'()*+,=:@%".contains(&byte);
    if !segment.bytes().all(is_plain) {
        return false;
    }
    // Each percent sign starts an encoded byte, which is none that means or may mean something when decoded.
    for (at, _) in segment.match_indices('%') {
        match encoded_byte(&segment[at..]) {
            None => return false,
            Some(byte) if is_unreserved(byte) || byte.is_ascii_control() => return false,
            Some(byte) if b"/\\;?#".contains(&byte) => return false,
            Some(_) => {}
        }
    }
    // Who decodes twice must read what others read who decode once.
    let once = decode(segment.as_bytes());
    decode(&once) == once && String::from_utf8(once).is_ok()
}

/// Nova's routing takes the method from a query parameter `_method`. Its name can be encoded, too.
fn has_method_parameter(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        decode(name.as_bytes()).eq_ignore_ascii_case(b"_method")
    })
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The byte of `%2f…`.
fn encoded_byte(text: &str) -> Option<u8> {
    let digits = text.get(1..3)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A segment as the API reads it.
pub(super) fn decoded(segment: &str) -> String {
    String::from_utf8(decode(segment.as_bytes())).expect("a canonical segment is text")
}

/// Decodes what is encoded and keeps what is not.
fn decode(text: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = text.split_first() else { return Vec::new() };
    let encoded = || encoded_byte(std::str::from_utf8(text.get(..3)?).ok()?);
    let (decoded, rest) = match encoded().filter(|_| *first == b'%') {
        Some(byte) => (byte, &text[3..]),
        None => (*first, rest),
    };
    [vec![decoded], decode(rest)].concat()
}
