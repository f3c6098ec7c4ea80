//! What tells a secret from a word: how letters and digits are mixed in it.

use super::REDACTED;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shortest run of letters and digits that no word is, where it has digits.
const MIN_MIXED_RUN: usize = 16;

/// Shortest run of letters that no word is.
const MIN_LETTERS_RUN: usize = 24;

/// Shortest key that is known by its name alone, and shortest password.
const MIN_KEY_BYTES: usize = 8;
const MIN_PASSWORD_BYTES: usize = 6;

/// What is said instead of a secret, in lower case, where a word begins.
const INSTEAD: [&[u8]; 7] = [b"your", b"placeholder", b"changeme", b"change-me", b"change_me", b"redacted", b"replace"];

/// What a value begins with that is looked up elsewhere.
const ELSEWHERE: [&[u8]; 9] =
    [b"process.env", b"os.environ", b"os.getenv", b"import.meta", b"env.", b"env:", b"vault:", b"op://", b"arn:"];

/// The runs of letters and digits.
fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| !b.is_ascii_alphanumeric()).filter(|run| !run.is_empty())
}

pub(super) fn digits(text: &[u8]) -> usize {
    text.iter().filter(|b| b.is_ascii_digit()).count()
}

pub(super) fn letters(text: &[u8]) -> usize {
    text.iter().filter(|b| b.is_ascii_alphabetic()).count()
}

/// Letters and digits mixed as no word, version, date or name of a file has them.
pub(super) fn is_random(text: &[u8]) -> bool {
    let long = |run: &[u8]| {
        let (digits, letters) = (digits(run), letters(run));
        (run.len() >= MIN_MIXED_RUN && digits >= 2 && letters >= 2)
            || (run.len() >= MIN_LETTERS_RUN && letters > 0 && !is_filler(run))
    };
    runs(text).any(long) || is_mixed(text)
}

/// All three classes, and a change of class every few bytes; a capital at the beginning of a word is no change.
fn is_mixed(text: &[u8]) -> bool {
    let class = |b: u8| match b {
        b'0'..=b'9' => 1,
        b'a'..=b'z' => 2,
        b'A'..=b'Z' => 4,
        _ => 0,
    };
    let all = text.iter().fold(0, |all, b| all | class(*b));
    let changes = runs(text).map(|run| {
        let capital = |i: usize| i == 0 && run[0].is_ascii_uppercase();
        run.windows(2).enumerate().filter(|(i, pair)| class(pair[0]) != class(pair[1]) && !capital(*i)).count()
    });
    all == 7 && changes.sum::<usize>() >= (text.len() / 4).max(6)
}

/// Bits of information in a byte, by how often each occurs (Shannon).
pub(super) fn entropy(text: &[u8]) -> f32 {
    let mut counts = [0_u32; 256];
    text.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let whole = text.len() as f32;
    counts.iter().filter(|n| **n > 0).map(|n| *n as f32 / whole).map(|share| -share * share.log2()).sum()
}

/// The same one or two characters again and again: `xxxx`, `****`.
pub(super) fn is_filler(text: &[u8]) -> bool {
    let mut seen = text.iter().filter(|b| !matches!(b, b'-' | b'_'));
    let Some(first) = seen.next() else { return true };
    matches!(first, b'x' | b'X' | b'*' | b'.' | b'0' | b'#') && seen.all(|b| b == first)
}

/// Words, versions and short numbers: `my-app-2024`, `gpt-4o`, `apiKey2`.
pub(super) fn is_wordy(text: &[u8]) -> bool {
    let word = |run: &[u8]| {
        let tail = run.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let head = run.iter().take_while(|b| b.is_ascii_digit()).count();
        let plain = |letters: &[u8]| letters.len() < MIN_MIXED_RUN && letters.iter().all(u8::is_ascii_alphabetic);
        (tail == run.len() && tail <= 4)
            || (tail <= 2 && plain(&run[..run.len() - tail]))
            || (head <= 2 && run.len() - head <= 2 && plain(&run[head..]))
    };
    runs(text).all(word)
}

/// What stands where a secret belongs: a reference to it, a template, a hint.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    let has = |what: &[u8]| memchr::memmem::find(text, what).is_some();
    is_reference(text) || [b"...".as_slice(), "…".as_bytes(), b"***", b"://", REDACTED.as_bytes()].into_iter().any(has)
}

/// What only says where a secret is to be found, or that one belongs here.
pub(super) fn is_reference(text: &[u8]) -> bool {
    let has = |what: &[u8]| memchr::memmem::find(text, what).is_some();
    let begins = |words: &[&[u8]], at: usize| words.iter().any(|word| starts_with(&text[at..], word));
    is_filler(text)
        || text[0] == b'$'
        || (text[0] == b'%' && text.ends_with(b"%"))
        || text == REDACTED.as_bytes()
        || [b"${".as_slice(), b"{{", b"$(", b"%("].into_iter().any(has)
        || holds_name(text, b'{', b'}')
        || holds_name(text, b'<', b'>')
        || begins(&ELSEWHERE, 0)
        || (0..text.len()).any(|at| (at == 0 || !text[at - 1].is_ascii_alphanumeric()) && begins(&INSTEAD, at))
}

/// A name between brackets: `{api_key}`, `<your key>`.
fn holds_name(text: &[u8], open: u8, close: u8) -> bool {
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' ');
    memchr::memchr_iter(open, text).any(|at| {
        let name = text[at + 1..].iter().take_while(|b| in_name(b)).count();
        name > 0 && text.get(at + 1 + name) == Some(&close)
    })
}

/// `word` in any case.
pub(super) fn starts_with(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word)
}

/// A key, where a name says that this is one. `bare`: not quoted, so it may be code.
pub(super) fn is_key(text: &[u8], bare: bool) -> bool {
    if text.len() < MIN_KEY_BYTES || has_space(text) || is_placeholder(text) || is_wordy(text) || is_code(text, bare) {
        return false;
    }
    match (digits(text), letters(text)) {
        (_, 0) => false,
        _ if bare && is_type(text, 4) => false,
        (0, _) => !bare && (runs(text).any(is_one_long_word) || text.ends_with(b"=")),
        _ => true,
    }
}

/// Capitals where no word has them: alone in it, and no two small letters after.
pub(super) fn has_odd_case(text: &[u8]) -> bool {
    runs(text).any(|run| {
        let upper = |i: usize| run.get(i).is_some_and(u8::is_ascii_uppercase);
        let lower = |i: usize| run.get(i).is_some_and(u8::is_ascii_lowercase);
        let alone = |i: usize| upper(i) && !upper(i + 1) && !upper(i.wrapping_sub(1));
        (0..run.len()).any(lower) && (0..run.len()).any(|i| alone(i) && !(lower(i + 1) && lower(i + 2)))
    })
}

/// As no language has them, in capitals or small letters alone.
fn is_one_long_word(run: &[u8]) -> bool {
    run.len() >= MIN_MIXED_RUN && (run.iter().all(u8::is_ascii_lowercase) || run.iter().all(u8::is_ascii_uppercase))
}

/// A password, where a name says that this is one.
pub(super) fn is_password(text: &[u8], bare: bool) -> bool {
    let path = [&b"/"[..], b"~/", b"./"].iter().any(|begin| text.starts_with(begin));
    if text.len() < MIN_PASSWORD_BYTES || path || has_space(text) || is_reference(text) || is_code(text, bare) {
        return false;
    }
    // In code, a sign at the beginning is an operator.
    let sign = |b: &u8| b"!@#^*+~".contains(b) || (!bare && b"$%&?=".contains(b));
    digits(text) > 0 || text[usize::from(bare)..].iter().any(sign)
}

/// What a name alone does not tell: it must be random, and no id.
pub(super) fn is_opaque(text: &[u8]) -> bool {
    is_random(text) && !has_space(text) && !is_placeholder(text) && !is_uuid(text) && !text.starts_with(b"0x")
}

/// What an HTTP `Basic` scheme sends: base64 of `user:password`. <https://www.rfc-editor.org/rfc/rfc7617#section-2>
pub(super) fn is_basic(text: &[u8]) -> bool {
    let user_and_password = |text: &str| text.find(':').is_some_and(|at| at > 0) && !text.contains(char::is_control);
    let decoded = STANDARD.decode(text).ok().filter(|_| text.len() >= MIN_KEY_BYTES);
    decoded.is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok_and(user_and_password))
}

/// Nothing that a credential could be: short words, plain words, numbers.
pub(super) fn is_plain(text: &str) -> bool {
    let number = |word: &[u8]| word.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '=' | '"')).map(str::as_bytes);
    words.into_iter().all(|word| word.len() < MIN_KEY_BYTES || number(word) || is_wordy(word))
}

pub(super) fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'/' | b'=')
}

fn has_space(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_whitespace)
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// A type's name: `Curve25519Seed`. So many small letters follow its capital.
fn is_type(text: &[u8], small: usize) -> bool {
    let [first, rest @ ..] = text else { return false };
    first.is_ascii_uppercase() && rest.iter().take_while(|b| b.is_ascii_lowercase()).count() >= small
}

/// An expression: a call, an index, a path of names, a name of several words.
fn is_code(text: &[u8], bare: bool) -> bool {
    let name =
        |part: &[u8]| part.first().is_some_and(|b| !b.is_ascii_digit()) && (!is_random(part) || is_type(part, 1));
    let path = || text.contains(&b'.') && text.split(|b| *b == b'.').all(name);
    let word = |part: &&[u8]| part.len() >= 3 && part.iter().all(u8::is_ascii_lowercase);
    let words = || text.split(|b| *b == b'_').filter(word).count() >= 2;
    bare && (text.iter().any(|b| matches!(b, b'(' | b'[')) || path() || words())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_no_keys() {
        for text in [
            "learn-contrib-lightning",
            "hynix-earnings-2024-q1",
            "your-api-key-goes-here",
            "gpt-4o-2024-08-06",
            "v1.2.3",
            "claude-3-5-sonnet",
            "MyProject2-Beta4",
            "us-east-1",
            "2024-01-15T10:30:00Z",
        ] {
            assert!(!is_random(text.as_bytes()), "{text}");
        }
        for text in ["0123456789abcdef", "a1B2c3D4e5", "9f8e7d6c5b4a39281706", "qwertyuiopasdfghjklzxcvb"] {
            assert!(is_random(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_a_name_says_is_a_key_must_look_like_one() {
        for text in ["abc12345", "s3cr3tv4lue", "3f2a9c8b7d6e5f4a3f2a9c8b7d6e5f4a", "wJalrXUtnFEMI/K7MDENG"] {
            assert!(is_key(text.as_bytes(), true), "{text}");
        }
        for text in [
            "none",
            "required",
            "string",
            "api_key_2",
            "my-app-2024",
            "${API_KEY1}",
            "<key-0123456789>",
            "YOUR_KEY_123456",
            "xxxxxxxxxxxxxxxx",
            "settings.api_key1",
            "read_key1()",
            "keys2[0]",
            "https://example.com/a1b2c3d4",
        ] {
            assert!(!is_key(text.as_bytes(), true), "{text}");
        }
        assert!(is_password(b"hunter2", true) && is_password(b"swordfish!", true) && is_password(b"123456", true));
        assert!(
            !is_password(b"password", false) && !is_password(b"user1.password", true) && !is_password(b"abc1", true)
        );
        assert!(is_basic(b"dXNlcjpwYXNz") && !is_basic(b"authentication") && !is_basic(b"YXV0aGVudGljYXRpb24="));
    }

    #[test]
    fn capitals_of_words_are_told_from_those_of_data() {
        for text in ["my", "API", "OpenAI", "OAuth-Token", "apiKey", "a1b2c3", "01ARZ3NDEK", "GitHub_macOS"] {
            assert!(!has_odd_case(text.as_bytes()), "{text}");
        }
        for text in ["qaN", "x7Gh2kQp", "aB-cD"] {
            assert!(has_odd_case(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn entropy_is_in_bits() {
        assert_eq!((entropy(b"aaaa"), entropy(b"abab"), entropy(b"abcd")), (0.0, 1.0, 2.0));
    }
}
