//! `created_at`, RFC 3339 on this wire, and the Unix seconds that a reply keeps.
//! <https://www.rfc-editor.org/rfc/rfc3339>

const DAY_SECONDS: i64 = 86_400;

/// 400 years of the Gregorian calendar: after them it repeats itself.
const ERA_DAYS: i64 = 146_097;

/// Days from 1 March 0000, where the eras are counted from, to 1 January 1970.
const EPOCH_DAYS: i64 = 719_468;

/// The time in UTC, to the second.
pub(super) fn to_text(unix_seconds: i64) -> String {
    let (year, month, day) = date(unix_seconds.div_euclid(DAY_SECONDS));
    let second = unix_seconds.rem_euclid(DAY_SECONDS);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// The Unix seconds of a time; its fraction of a second is not kept. `None` where it is not RFC 3339.
pub(super) fn from_text(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        text.get(from..to).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| text.as_bytes().get(*at).is_none_or(|b| b.to_ascii_uppercase() != *byte)) {
        return None;
    }
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let second = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    Some(days * DAY_SECONDS + second - offset(zone)?)
}

/// Seconds east of UTC: `Z`, `+hh:mm` or `-hh:mm`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u16>().ok()? as i64 * 3600 + minutes.parse::<u16>().ok()? as i64 * 60;
    match zone.as_bytes()[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// Year, month and day of a day counted from 1970. Years begin in March, so that a leap day is the last day of one.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    // The last day of 4, of 100 and of 400 years is the one too many that a plain division by 365 would see.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March; five months have 153 days
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// The day of a date, counted from 1970; `None` where the calendar has no such date.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let march_year = year - i64::from(month <= 2);
    let (era, of_era) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS;
    (date(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(to_text(seconds), text);
            assert_eq!(from_text(text), Some(seconds));
        }
    }

    #[test]
    fn every_day_of_an_era_is_the_day_after_the_one_before() {
        let mut before = date(-EPOCH_DAYS - 1);
        for day in -EPOCH_DAYS..=ERA_DAYS - EPOCH_DAYS {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), Some(day));
            let next = (year, month, of_month) == (before.0, before.1, before.2 + 1);
            assert!(next || of_month == 1, "{before:?} is not before {year}-{month}-{of_month}");
            before = (year, month, of_month);
        }
    }

    #[test]
    fn fractions_and_offsets() {
        assert_eq!(from_text("1970-01-01T01:00:00.123456789+01:00"), Some(0));
        assert_eq!(from_text("1969-12-31T16:00:01.5-08:00"), Some(1));
        for broken in ["", "2024", "2023-02-29T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z", "é024-01-01T"]
        {
            assert_eq!(from_text(broken), None, "{broken}");
        }
    }
}
