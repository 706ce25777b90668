//! Where a call stands in a trace: W3C Trace Context, level 1.

use std::fmt;

use http::HeaderMap;

/// The header with the trace, the caller's span and its flags.
const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add.
const TRACESTATE: &str = "tracestate";
/// The most bytes of a tracestate that are passed on: what the specification demands.
const MAX_STATE_BYTES: usize = 512;
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const TRACEPARENT_BYTES: usize = 55;
const SAMPLED: u8 = 1;

/// A span of a trace.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    is_sampled: bool,
    state: Option<Box<str>>,
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.trace_hex(), self.span_hex())
    }
}

impl TraceContext {
    /// The context that headers tell. One that is malformed, or told twice, is none: a new trace begins then
    /// (W3C Trace Context, 4.3).
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next().filter(|_| parents.next().is_none())?;
        let states = headers.get_all(TRACESTATE).iter().map(http::HeaderValue::as_bytes);
        Self::parse(parent.as_bytes(), states)
    }

    /// The context of a `traceparent` and of all headers `tracestate`.
    pub fn parse<'a>(parent: &[u8], states: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let text = str::from_utf8(parent).ok()?;
        let (version, rest) = text.split_at_checked(2)?;
        let [version] = bytes::<1>(version)?;
        let is_length_known = text.len() == TRACEPARENT_BYTES;
        // A later version may have more behind a dash.
        let is_later =
            version > 0 && version != 0xff && text.as_bytes().get(TRACEPARENT_BYTES) == Some(&b'-');
        if version == 0xff || !(is_length_known || is_later) {
            return None;
        }
        let mut parts = rest.strip_prefix('-')?.splitn(4, '-');
        let trace_id = bytes::<16>(parts.next()?)?;
        let span_id = bytes::<8>(parts.next()?)?;
        let [flags] = bytes::<1>(parts.next()?)?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, span_id, is_sampled: flags & SAMPLED != 0, state: state(states) })
    }

    /// A new trace, if it is one of those that are recorded.
    pub(super) fn root(threshold: u64) -> Option<Self> {
        // Most are not, mostly: a number first.
        let number: u64 = rand::random();
        (number >> 1 < threshold).then(|| Self { trace_id: with_low_half(number), ..Self::new_root() })
    }

    /// A new trace.
    pub(super) fn new_root() -> Self {
        let is_sampled = true;
        Self { trace_id: with_low_half(rand::random()), span_id: new_span_id(), is_sampled, state: None }
    }

    /// A span of the same trace that is recorded.
    pub(super) fn child(&self) -> Self {
        Self { span_id: new_span_id(), ..self.clone() }
    }

    /// Whether the span is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// The trace as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }

    /// The span as 16 hexadecimal digits.
    #[must_use]
    pub fn span_hex(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.span_id))
    }

    pub(super) fn state(&self) -> &str {
        self.state.as_deref().unwrap_or_default()
    }
}

/// The number that sampling looks at stands at the end of the id, as with OpenTelemetry's samplers.
fn with_low_half(number: u64) -> [u8; 16] {
    let high: u64 = rand::random();
    // Zero is no id.
    (u128::from(high) << 64 | u128::from(number)).max(1).to_be_bytes()
}

fn new_span_id() -> [u8; 8] {
    rand::random::<u64>().max(1).to_be_bytes()
}

/// Bytes from hexadecimal digits in lower case.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 2 * N || !digits.bytes().all(is_digit) {
        return None;
    }
    let number = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    number.last_chunk::<N>().copied()
}

/// What tracing systems add: one list, or nothing where it is too long or is no text that a header may hold.
fn state<'a>(states: impl IntoIterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let joined = states.into_iter().collect::<Vec<_>>().join(&b',');
    let is_text = joined.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let is_passed_on = !joined.is_empty() && joined.len() <= MAX_STATE_BYTES && is_text;
    is_passed_on.then(|| String::from_utf8_lossy(&joined).into_owned().into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<TraceContext> {
        TraceContext::parse(text.as_bytes(), [])
    }

    #[test]
    fn the_specifications_example_is_read() {
        let context = parse(PARENT).unwrap();
        assert_eq!(context.trace_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_hex(), "00f067aa0ba902b7");
        assert!(context.is_sampled());
        assert!(!parse(&PARENT.replace("-01", "-00")).unwrap().is_sampled());
        // Of the other flags, nothing is known.
        assert!(parse(&PARENT.replace("-01", "-ff")).unwrap().is_sampled());
    }

    #[test]
    fn later_versions_may_have_more() {
        assert!(parse(&PARENT.replace("00-4", "01-4")).is_some());
        assert!(parse(&format!("cc{}-what-ever", &PARENT[2..])).is_some());
        assert!(parse(&format!("cc{}.what", &PARENT[2..])).is_none());
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for text in [
            "",
            "00",
            "ü0",
            "00-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_trace_told_twice_is_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, PARENT.parse().unwrap());
        assert!(TraceContext::of_headers(&headers).is_some());
        headers.append(TRACEPARENT, PARENT.parse().unwrap());
        assert!(TraceContext::of_headers(&headers).is_none());
    }

    #[test]
    fn states_are_joined_and_bounded() {
        let of = |states: &[&str]| {
            let states = states.iter().map(|state| state.as_bytes());
            TraceContext::parse(PARENT.as_bytes(), states).unwrap().state().to_owned()
        };
        assert_eq!(of(&["a=1", "b=2"]), "a=1,b=2");
        assert_eq!(of(&["a=\u{9b}31m"]), "");
        assert_eq!(of(&[&"x".repeat(MAX_STATE_BYTES + 1)]), "");
    }

    #[test]
    fn roots_are_sampled_by_their_number() {
        assert_eq!(TraceContext::root(0), None);
        let root = TraceContext::root(1 << 63).unwrap();
        assert_ne!((root.trace_id(), root.span_id()), ([0; 16], [0; 8]));
        let child = root.child();
        assert_eq!(child.trace_id(), root.trace_id());
        assert_ne!(child.span_id(), root.span_id());
        let half = (0..1_000).filter(|_| TraceContext::root(1 << 62).is_some()).count();
        assert!((350..650).contains(&half), "{half}: ten deviations from the half");
    }
}
