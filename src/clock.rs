//! Times as fixtures, file names and wires write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 where the clock stands before.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `2026-01-15T10:30:00Z`, from Unix seconds. <https://www.rfc-editor.org/rfc/rfc3339>
pub fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `2026-01-15T10-30-00-000Z`, from Unix milliseconds: a time that a file can be named after.
pub fn file_stamp(ms: i64) -> String {
    let second = rfc3339(ms.div_euclid(1000));
    format!("{}-{:03}Z", second.trim_end_matches('Z').replace(':', "-"), ms.rem_euclid(1000))
}

/// Unix seconds of an RFC 3339 time; `None` where it is none. Its fraction is left out.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    };
    let bytes = text.as_bytes();
    let marks = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-') && bytes.get(13) == Some(&b':');
    if !marks || bytes.get(16) != Some(&b':') || !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let days = days_of(number(0..4)?, number(5..7)?, number(8..10)?);
    let local = days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let zone = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if zone.eq_ignore_ascii_case("z") {
        return Some(local);
    }
    let at = text.len() - zone.len();
    let offset = number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60;
    match zone.as_bytes() {
        [b'+', _, _, b':', _, _] => Some(local - offset),
        [b'-', _, _, b':', _, _] => Some(local + offset),
        _ => None,
    }
}

/// Year, month and day of a day since 1970-01-01.
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

/// The inverse of [`civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_768_473_000, "2026-01-15T10:30:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
            assert_eq!(parse_rfc3339(text), Some(seconds));
        }
        assert_eq!(parse_rfc3339("2026-01-15T12:30:00.123456+02:00"), Some(1_768_473_000));
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(file_stamp(1_768_473_000_007), "2026-01-15T10-30-00-007Z");
    }
}
