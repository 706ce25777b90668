//! `Date…`: comparisons of points in time, written as `2026-11-24T08:30:00Z` (ISO 8601, UTC).

use super::order::Order;
use super::read_all;

/// A comparison with the values of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DateTest {
    order: Order,
    values: Vec<Instant>,
}

impl DateTest {
    pub(super) fn new(order: Order, values: &[&str]) -> Result<Self, (usize, &'static str)> {
        Ok(Self { order, values: read_all(values, parse, "a time in UTC such as 2026-11-24T08:30:00Z")? })
    }

    /// Whether a value of the call fits one of the policy's, or nothing if it is no time.
    pub(super) fn fits(&self, seen: &str) -> Option<bool> {
        let seen = parse(seen)?;
        Some(self.values.iter().any(|value| self.order.holds(seen.cmp(value))))
    }
}

/// The fields of a time as written, from the year on: with equal widths, their order is the order of times. The fraction
/// of a second is its digits without zeros at the end.
type Instant = (Box<str>, Box<str>);

fn parse(text: &str) -> Option<Instant> {
    let text = text.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let shape = b"0000-00-00T00:00:00";
    let fits =
        |(found, shape): (u8, &u8)| if *shape == b'0' { found.is_ascii_digit() } else { found == *shape };
    if seconds.len() != shape.len() || !seconds.bytes().zip(shape).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| seconds.get(from..to)?.parse::<u32>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_valid = (1..=days(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60;
    is_valid.then(|| (seconds.into(), fraction.trim_end_matches('0').into()))
}

/// The days of a month, or none if there is no such month.
fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// A number of seconds since 1970 as such a text.
pub(in super::super) fn written(seconds: u64) -> String {
    let (mut days_left, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1_970;
    let of_year = |year: u32| (1..=12).map(|month| u64::from(days(year, month))).sum::<u64>();
    // A year of five digits has no such text; the clock is not trusted that far.
    while year < 9_999 && days_left >= of_year(year) {
        days_left -= of_year(year);
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_left >= u64::from(days(year, month)) {
        days_left -= u64::from(days(year, month));
        month += 1;
    }
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days_left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_an_order() {
        let sorted = [
            "1969-12-31T23:59:59Z",
            "2024-02-29T00:00:00Z",
            "2024-02-29T00:00:00.001Z",
            "2024-02-29T00:00:00.01Z",
            "2024-03-01T00:00:00Z",
            "2026-11-24T08:30:00Z",
        ];
        assert!(sorted.iter().map(|text| parse(text).unwrap()).is_sorted_by(|a, b| a < b));
        assert_eq!(parse("2026-11-24T08:30:00.000Z"), parse("2026-11-24T08:30:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T08:30:00",
            "2026-11-24T08:30:00+01:00",
            "2026-11-24t08:30:00Z",
            "2026-11-24T08:30Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.xZ",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_is_written_as_a_time() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_509_000, "2026-11-24T08:30:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(written(seconds), text);
        }
    }
}
