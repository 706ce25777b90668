//! How long a decision may take.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// The most that one decision may take, whatever its caller grants: who waits longer has gone away.
pub(super) const DECISION: Duration = Duration::from_secs(2);

/// The time for a call: what its `grpc-timeout` leaves, less a tenth so that our own answer arrives before the
/// deadline, and at most `limit`.
pub(super) fn budget(metadata: &MetadataMap, limit: Duration) -> Duration {
    let asked = metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    asked.map_or(limit, |timeout| (timeout / 10 * 9).min(limit))
}

/// A timeout as gRPC writes it: at most eight digits and a unit (gRPC over HTTP/2, Requests).
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_grpc_are_read() {
        let cases = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("500m", Some(Duration::from_millis(500))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("m", None),
            ("-1m", None),
            ("+1m", None),
            ("999999999m", None),
            ("1x", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_budget_ends_before_the_deadline_and_has_a_limit() {
        let budget_of = |value: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", value.parse().unwrap());
            budget(&metadata, DECISION)
        };
        assert_eq!(budget_of("100m"), Duration::from_millis(90));
        assert_eq!(budget_of("1H"), DECISION);
        assert_eq!(budget_of("soon"), DECISION);
        assert_eq!(budget(&MetadataMap::new(), DECISION), DECISION);
    }
}
