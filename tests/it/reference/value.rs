//! Numbers, dates, truth values, addresses and texts with wildcards, as conditions compare them.

use std::cmp::Ordering;
use std::net::IpAddr;

/// A decimal number of any length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    is_negative: bool,
    /// Without zeros at its start.
    whole: String,
    /// Without zeros at its end.
    fraction: String,
}

/// `-?digits(.digits)?`
pub(super) fn number(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (digits_only(whole)?, digits_only(fraction)?),
        None => (digits_only(digits)?, ""),
    };
    let whole = whole.trim_start_matches('0').to_owned();
    let fraction = fraction.trim_end_matches('0').to_owned();
    // There is one zero.
    let is_zero = whole.is_empty() && fraction.is_empty();
    Some(Number { is_negative: is_negative && !is_zero, whole, fraction })
}

fn digits_only(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |number: &Self| (number.whole.len(), number.whole.clone(), number.fraction.clone());
        match (self.is_negative, other.is_negative) {
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `YYYY-MM-DDThh:mm:ss`, a fraction, `Z`: year to second, and the fraction's digits without zeros at their end.
pub(super) fn date_parts(text: &str) -> Option<([u32; 6], String)> {
    let text = text.strip_suffix('Z')?;
    let (text, fraction) = match text.split_once('.') {
        Some((text, fraction)) => (text, digits_only(fraction)?),
        None => (text, ""),
    };
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "0000-00-00T00:00:00" {
        return None;
    }
    let part = |from: usize, to: usize| text[from..to].parse::<u32>().expect("digits");
    let parts = [part(0, 4), part(5, 7), part(8, 10), part(11, 13), part(14, 16), part(17, 19)];
    let [year, month, day, hour, minute, second] = parts;
    let is_valid = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    is_valid.then(|| (parts, fraction.trim_end_matches('0').to_owned()))
}

fn days_of(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The date of so many seconds after 1970.
pub(super) fn date(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut month) = (1970, 1);
    while days >= u64::from(days_of(year, month)) {
        days -= u64::from(days_of(year, month));
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

/// The seconds from 1970 to a date.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let ([year, month, day, hour, minute, second], _) = date_parts(text)?;
    let months = (1970..year).flat_map(|year| (1..=12).map(move |month| (year, month)));
    let months = months.chain((1..month).map(|month| (year, month)));
    let days: u32 = months.map(|(year, month)| days_of(year, month)).sum::<u32>() + day - 1;
    Some(u64::from(days) * 86_400 + u64::from(hour * 3_600 + minute * 60 + second))
}

/// `true` or `false`, in any letter case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// An address. IPv4 in IPv6 is IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

/// Whether an address is the one expected, or of the network `address/bits`.
pub(super) fn is_in_range(found: IpAddr, expected: &str) -> bool {
    let (start, length) = match expected.split_once('/') {
        Some((start, length)) => (start, Some(length.parse::<usize>().expect("a length"))),
        None => (expected, None),
    };
    let start: IpAddr = start.parse().expect("an address");
    let (found, start) = (bits(found), bits(start));
    let length = length.unwrap_or(start.len());
    found.len() == start.len() && found[..length] == start[..length]
}

/// 32 or 128 digits, zero or one.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:032b}", u32::from(address)),
        IpAddr::V6(address) => format!("{:0128b}", u128::from(address)),
    }
}

/// `*` stands for any text, also for none, and `?` for one character.
pub(super) fn wildcards(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=text.len()).any(|taken| wildcards(rest, &text[taken..])),
        (Some(('?', pattern)), Some((_, text))) => wildcards(pattern, text),
        (Some((expected, pattern)), Some((found, text))) => expected == found && wildcards(pattern, text),
        _ => false,
    }
}
