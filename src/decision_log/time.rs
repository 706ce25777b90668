//! The time of a record: RFC 3339, UTC, microseconds, so that records sort as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

/// The time now, in nanoseconds since 1970.
pub(super) fn nanos_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970, of a time as [`rfc3339`] writes it.
pub(super) fn parse_nanos(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = days * SECONDS_PER_DAY + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(number(20, 26)? * 1_000)
}

/// A time as text. A clock that stands before 1970 tells 1970.
pub(super) fn rfc3339(since_1970: Duration) -> [u8; 27] {
    let (days, second) = (since_1970.as_secs() / SECONDS_PER_DAY, since_1970.as_secs() % SECONDS_PER_DAY);
    let (year, month, day) = date(days);
    let micros = u64::from(since_1970.subsec_micros());
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, number) in [
        (0, year / 100),
        (2, year),
        (5, month),
        (8, day),
        (11, second / 3_600),
        (14, second / 60 % 60),
        (17, second % 60),
        (20, micros / 10_000),
        (22, micros / 100),
        (24, micros),
    ] {
        if let Some(digits) = text.get_mut(place..place + 2) {
            digits.copy_from_slice(&pair(number));
        }
    }
    text
}

/// The last two digits of a number.
fn pair(number: u64) -> [u8; 2] {
    let [last, ..] = (number % 100).to_le_bytes();
    [b'0' + last / 10, b'0' + last % 10]
}

/// The date of a day since 1970, by eras of 400 years that begin in March, so that leap days end years
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The days from 1970 to a date: `days_from_civil` of the same algorithms.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // By `date -u -d @SECONDS --iso-8601=ns`.
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 1_000, "2000-02-29T00:00:00.000001Z"),
            (951_868_800, 999, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599, 0, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        ];
        for (seconds, nanos, expected) in cases {
            assert_eq!(rfc3339(Duration::new(seconds, nanos)), expected.as_bytes());
            let micros = u64::from(nanos / 1_000);
            assert_eq!(parse_nanos(expected), Some(seconds * 1_000_000_000 + micros * 1_000));
        }
    }
}
