//! Checks of single values: each says what is allowed, never what was given, which the caller knows.

use crate::config::{OnDrift, OnStale};
use crate::log::Level;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The longest time that a flag takes, in milliseconds: a day.
pub(super) const MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// Oldest age of a recording that can be asked for: a century.
pub(super) const MAX_DAYS: u64 = 36_500;

/// Most connections that can be asked for.
pub(super) const MAX_CONNECTIONS: usize = 1_000_000;

/// A whole number within a range.
pub(super) fn whole<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|n| digits && range.contains(n))
        .ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// A probability.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n| (0.0..=1.0).contains(n)).ok_or_else(|| "expected a rate from 0 to 1".into())
}

/// A factor of speed.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0)
        .ok_or_else(|| "expected a number above 0: 1 is the recorded speed, 2 twice that".into())
}

/// A size in bytes. `K`, `M` and `G`, alone or as `KiB`, are powers of 1024; `KB`, `MB` and `GB` are powers of 1000.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let (digits, suffix) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    unit.and_then(|unit: usize| digits.parse::<usize>().ok()?.checked_mul(unit))
        .filter(|n| *n > 0)
        .ok_or_else(|| "expected a number of bytes above 0, such as 1048576, 64MiB or 64M".into())
}

/// A JSON pointer (RFC 6901) in which `*` may stand for any index or key.
pub(super) fn pointer(text: &str) -> Result<String, String> {
    let escaped_well = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && escaped_well {
        Ok(text.to_owned())
    } else {
        Err("expected a JSON pointer such as /metadata/run or /messages/*/id; ~ is written ~0, a / in a key ~1".into())
    }
}

/// A regular expression.
pub(super) fn regex(text: &str) -> Result<String, String> {
    match regex_lite::Regex::new(text) {
        Ok(regex) if regex.is_match("") => Err("the expression fits the empty text, so it would fit everywhere".into()),
        Ok(_) => Ok(text.to_owned()),
        Err(e) => Err(format!("not a regular expression: {e}")),
    }
}

/// An address or host name, without the brackets of IPv6.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    let port = bare.matches(':').count() == 1;
    if bare.is_empty() || port || !bare.chars().all(valid) {
        Err("expected an address or host name such as 127.0.0.1, ::1 or localhost, without a port".into())
    } else {
        Ok(bare.to_owned())
    }
}

/// A key that a client can send in a header.
pub(super) fn api_key(text: &str) -> Result<&str, String> {
    // A comma separates the keys of the variable, and what may stand in one place may in the other.
    let sendable = |b: u8| b.is_ascii_graphic() && b != b',';
    if !text.is_empty() && text.bytes().all(sendable) {
        Ok(text)
    } else {
        Err("expected a key of letters, digits and signs, without a space or comma".into())
    }
}

/// A page's origin, as browsers send it: lower case, without the scheme's own port.
pub(super) fn origin(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected an origin such as https://app.example.com:8443, without a path";
    if text.eq_ignore_ascii_case("null") {
        return Err(
            "every sandboxed page and file has the origin null: serve the page over HTTP from this machine".into()
        );
    }
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://").ok_or(EXPECTED)?;
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let of_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if authority.is_empty() || !authority.bytes().all(valid) || scheme.is_empty() || !scheme.bytes().all(of_scheme) {
        return Err(EXPECTED.into());
    }
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    Ok(format!("{scheme}://{}", authority.strip_suffix(own_port).unwrap_or(authority)))
}

/// A level of the log.
pub(super) fn level(text: &str) -> Result<Level, String> {
    Level::by_name(text).ok_or_else(|| one_of(&Level::ALL.map(Level::name)))
}

/// What drift does.
pub(super) fn on_drift(text: &str) -> Result<OnDrift, String> {
    choose(text, &[("warn", OnDrift::Warn), ("fail", OnDrift::Fail), ("ignore", OnDrift::Ignore)])
}

/// What a stale recording does.
pub(super) fn on_stale(text: &str) -> Result<OnStale, String> {
    choose(text, &[("warn", OnStale::Warn), ("fail", OnStale::Fail)])
}

/// One of a few words.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| one_of(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>()))
}

fn one_of(words: &[&str]) -> String {
    match words {
        [init @ .., last] if !init.is_empty() => format!("expected {} or {last}", init.join(", ")),
        _ => format!("expected {}", words.concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(whole("0", 0..=65_535), Ok(0));
        assert_eq!(whole("65535", 0..=65_535), Ok(65_535));
        for bad in ["", "-1", "+1", "65536", "1.5", "1e3", " 1", "x"] {
            assert_eq!(whole::<u32>(bad, 0..=65_535), Err("expected a whole number from 0 to 65535".into()), "{bad}");
        }
        assert_eq!(rate("0.25"), Ok(0.25));
        for bad in ["-0.1", "1.01", "NaN", "inf", "50%", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(speed("2"), Ok(2.0));
        for bad in ["0", "-1", "inf", "NaN", "2x"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        for (text, size) in [
            ("1", 1),
            ("512b", 512),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("2k", 2048),
            ("1G", 1 << 30),
            ("5kb", 5_000),
            ("5MB", 5_000_000),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for bad in ["", "0", "0M", "M", "-1", "1.5M", "64X", "99999999999G", "99999999999999999999999"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pointers_begin_with_a_slash() {
        for good in ["/a", "/messages/*/content", "/a~0b/c~1d", "/"] {
            assert_eq!(pointer(good).as_deref(), Ok(good));
        }
        for bad in ["", "a", "messages/0", "/a~", "/a~2"] {
            assert!(pointer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expressions_compile_and_fit_something() {
        assert!(regex("acme-[0-9]{4}").is_ok());
        assert!(regex("(").unwrap_err().starts_with("not a regular expression"));
        assert!(regex("x*").unwrap_err().contains("empty text"));
    }

    #[test]
    fn hosts_have_no_port() {
        for (text, bare) in [("0.0.0.0", "0.0.0.0"), ("[::1]", "::1"), ("::", "::"), ("my-host.lan", "my-host.lan")] {
            assert_eq!(host(text).as_deref(), Ok(bare));
        }
        for bad in ["", "127.0.0.1:4010", "http://x", "a b", "[]"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        for (text, origin_of) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com:443/", "https://app.example.com"),
            ("http://app:80", "http://app"),
            ("http://app:8080", "http://app:8080"),
            ("http://[2001:db8::80]", "http://[2001:db8::80]"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(origin_of));
        }
        for bad in
            ["", "*", "null", "app.example.com", "https://", "https://app/path", "https://a b", "://x", "https://u@x"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_can_be_sent() {
        assert_eq!(api_key("s3cret/+=."), Ok("s3cret/+=."));
        for bad in ["", " ", "a b", "a,b", "a\n", "ключ"] {
            assert!(api_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_are_listed() {
        assert_eq!(on_drift("fail"), Ok(OnDrift::Fail));
        assert_eq!(on_drift("no").unwrap_err(), "expected warn, fail or ignore");
        assert_eq!(on_stale("no").unwrap_err(), "expected warn or fail");
        assert_eq!(level("no").unwrap_err(), "expected silent, warn, info or debug");
    }
}
