//! `Date…`: comparisons of points in time, written as `2026-11-24T08:30:00Z` (ISO 8601, UTC).

use super::order::Order;
use super::read_all;

/// A comparison with the values of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DateTest {
    order: Order,
    values: Vec<Instant<Box<str>>>,
}

impl DateTest {
    pub(super) fn new(order: Order, values: &[&str]) -> Result<Self, (usize, &'static str)> {
        Ok(Self { order, values: read_all(values, owned, "a time in UTC such as 2026-11-24T08:30:00Z")? })
    }

    /// Whether a value of the call fits one of the policy's, or nothing if it is no time.
    pub(super) fn fits(&self, seen: &str) -> Option<bool> {
        let seen = parse(seen)?;
        let fits =
            |(seconds, fraction): &Instant<Box<str>>| self.order.holds(seen.cmp(&(*seconds, &**fraction)));
        Some(self.values.iter().any(fits))
    }

    /// Whether the time of the call, in seconds since 1970, fits one of the policy's, or nothing if it has no text: a year of
    /// five digits.
    pub(super) fn fits_time(&self, seconds: u64) -> Option<bool> {
        let seen = i64::try_from(seconds).ok().filter(|seconds| *seconds <= LAST)?;
        let fits = |(seconds, fraction): &Instant<Box<str>>| {
            self.order.holds((seen, "").cmp(&(*seconds, &**fraction)))
        };
        Some(self.values.iter().any(fits))
    }
}

/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

/// The seconds since 1970, and the digits of the fraction of a second, without zeros at the end.
type Instant<T> = (i64, T);

fn owned(text: &str) -> Option<Instant<Box<str>>> {
    parse(text).map(|(seconds, fraction)| (seconds, fraction.into()))
}

fn parse(text: &str) -> Option<Instant<&str>> {
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
    let number = |from: usize, to: usize| Some(decimal(seconds.as_bytes().get(from..to)?));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_valid = (1..=days(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let of_day = i64::from((hour * 60 + minute) * 60 + second);
    is_valid.then(|| (day_number(year, month, day) * 86_400 + of_day, fraction.trim_end_matches('0')))
}

/// The number that digits are.
fn decimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// The days from 1970-01-01 to a day. Years are counted from March: so a leap day is the last of its year.
fn day_number(year: u32, month: u32, day: u32) -> i64 {
    // Four centuries, which have equally many days whenever they begin, keep it from going below zero.
    let years = year + 400 - u32::from(month <= 2);
    let months = (month + 9) % 12;
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    const FROM_MARCH_OF_400_BEFORE_CHRIST: i64 = 865_566;
    i64::from(days) - FROM_MARCH_OF_400_BEFORE_CHRIST
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
    fn every_day_has_its_number() {
        let mut expected = day_number(1970, 1, 1);
        assert_eq!(expected, 0);
        for year in 1970..2401 {
            for month in 1..=12 {
                for day in 1..=days(year, month) {
                    assert_eq!(day_number(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(day_number(9999, 12, 31) * 86_400 + 86_399, LAST);
        assert_eq!(parse("0000-01-01T00:00:00Z").map(|(seconds, _)| seconds), Some(-62_167_219_200));
    }

    #[test]
    fn a_clock_compares_as_its_text() {
        let last = u64::try_from(LAST).unwrap();
        let seconds =
            [0, 1, 951_782_399, 951_782_400, 1_795_509_000, last, last + 1, last + 86_400 * 31, u64::MAX / 2];
        let values = [
            "1970-01-01T00:00:00Z",
            "2000-02-29T00:00:00.5Z",
            "2026-11-24T08:30:00Z",
            "9999-12-31T23:59:59Z",
        ];
        for order in [Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual] {
            for value in values {
                let test = DateTest::new(order, &[value]).unwrap();
                for seconds in seconds {
                    assert_eq!(
                        test.fits_time(seconds),
                        test.fits(&written(seconds)),
                        "{order:?} {value} {seconds}"
                    );
                }
            }
        }
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
