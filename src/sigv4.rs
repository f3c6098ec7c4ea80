//! AWS Signature Version 4: what a request must carry so that an AWS service takes it.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! A pure function: the time, the keys and the region are arguments. S3, which has rules of its own for paths and
//! bodies, is not covered.

use ring::digest::{SHA256, digest};
use ring::hmac;
use std::fmt;
use std::fmt::Write;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A header that says what the body sums to; where it is there, its value is signed in place of the body's sum.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// Headers that the signature itself sets.
const OWN: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];

/// Who signs.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key: &'a str,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: &'a str,
    /// `AWS_SESSION_TOKEN`, for keys that have one.
    pub session_token: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(secret)")
    }
}

/// What is signed.
#[derive(Clone, Copy)]
pub struct Unsigned<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path as it will be sent, still percent-encoded.
    pub path: &'a str,
    /// The query as it will be sent, without its `?`; empty where there is none.
    pub query: &'a str,
    /// The headers to sign, `host` among them, names in any case. What the signature sets is passed over.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// Where and when a signature holds.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `us-east-1`.
    pub region: &'a str,
    /// The service's signing name: `bedrock`.
    pub service: &'a str,
    /// Unix seconds; AWS takes a signature for five minutes.
    pub time: u64,
}

/// The headers to set on the request, in the place of any that it has: `authorization`, `x-amz-date`, and
/// `x-amz-security-token` where the keys have one (where they have none, an old token must go).
pub fn sign(request: &Unsigned<'_>, keys: &Credentials<'_>, scope: &Scope<'_>) -> Vec<(&'static str, String)> {
    let time = timestamp(scope.time);
    let day = &time[..8];
    let (names, canonical) = canonical_request(request, keys, &time);
    let credential = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("{ALGORITHM}\n{time}\n{credential}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
    let first = format!("AWS4{}", keys.secret_key);
    let key = [day, scope.region, scope.service, "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()));
    let signature = hex(&hmac_sha256(&key, to_sign.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{credential}, SignedHeaders={names}, Signature={signature}",
        keys.access_key
    );
    let mut headers = vec![("authorization", authorization), ("x-amz-date", time)];
    headers.extend(keys.session_token.map(|token| ("x-amz-security-token", token.to_owned())));
    headers
}

/// The region in a host of this service's (`bedrock-runtime.us-east-1.amazonaws.com`, `bedrock-runtime-fips.…`,
/// `vpce-….bedrock-runtime.us-east-1.vpce.amazonaws.com`), a port let pass.
pub fn region_of_host<'a>(host: &'a str, service: &str) -> Option<&'a str> {
    let name = host.split(':').next()?;
    let labels = ["amazonaws.com", "amazonaws.com.cn", "api.aws"]
        .iter()
        .find_map(|domain| name.strip_suffix(domain)?.strip_suffix('.'))?;
    let mut labels = labels.split('.').skip_while(|label| !label.starts_with(service));
    labels.next()?;
    labels.next().filter(|region| region.contains('-'))
}

/// The names of the headers signed, and all that is signed, in its canonical form.
fn canonical_request(request: &Unsigned<'_>, keys: &Credentials<'_>, time: &str) -> (String, String) {
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), trim_all(value)))
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .collect();
    headers.push(("x-amz-date".into(), time.into()));
    headers.extend(keys.session_token.map(|token| ("x-amz-security-token".into(), trim_all(token))));
    headers.sort_by(|a, b| a.0.cmp(&b.0)); // stable: values of one name stay in order
    headers.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1.push(',');
            first.1.push_str(&later.1);
        }
        same
    });
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let given = headers.iter().find(|(name, _)| name == CONTENT_SHA256).map(|(_, sum)| sum.clone());
    let body = given.unwrap_or_else(|| hex(digest(&SHA256, request.body).as_ref()));
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let method = request.method.to_ascii_uppercase();
    let (path, query) = (canonical_path(request.path), canonical_query(request.query));
    (names.clone(), format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body}"))
}

/// White space around a value goes, and within it is one space.
fn trim_all(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Dot segments and empty ones go; what is left is encoded again, so a `%3A` is signed as `%253A`.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 16);
    for segment in &segments {
        canonical.push('/');
        encode(segment, &mut canonical);
    }
    if segments.is_empty() || path.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// Parameters as they are, sorted; one without a value has an empty one.
fn canonical_query(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encodes all but letters, digits and `-_.~`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes all that is written");
        }
    }
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written");
        text
    })
}

/// `20150830T123600Z`. <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn timestamp(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Credentials<'_> = Credentials {
        access_key: "AKIDEXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: None,
    };

    /// The signature, and what it is over, for the time and place of AWS's own test suite.
    fn signature(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = [&[("Host", "example.amazonaws.com")], headers].concat();
        let request = Unsigned { method, path, query, headers: &headers, body };
        parts(&sign(&request, &KEYS, &Scope { region: "us-east-1", service: "service", time: 1_440_938_160 }))
    }

    fn parts(headers: &[(&str, String)]) -> (String, String) {
        let value =
            |name: &str| headers[0].1.split(name).nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
        (value("SignedHeaders="), value("Signature="))
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>; the vectors are
    /// known by these names: get-vanilla, get-vanilla-query-order-key, -value, get-header-value-trim,
    /// get-header-value-order, get-relative-relative, get-slashes, get-utf8, post-x-www-form-urlencoded.
    #[test]
    fn vectors_of_aws() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let trimmed = [("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")];
        let repeated = [("My-Header1", "value4"), ("My-Header1", "value1")];
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        for (method, target, headers, body, expected) in [
            ("GET", "/", &[][..], "", vanilla),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "GET",
                "/?Param1=value2&Param1=Value1",
                &[],
                "",
                "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
            ),
            ("GET", "/", &trimmed, "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
            ("GET", "/", &repeated, "", "05577627fbea18c3ba9929345e1f2548ebb9382c9b370c84849c847a9472c07a"),
            ("GET", "/example/../..", &[], "", vanilla),
            ("GET", "//example//", &[], "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
            ("GET", "/\u{1234}", &[], "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            ("POST", "/", &form, "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ] {
            assert_eq!(signature(method, target, headers, body.as_bytes()).1, expected, "{target} {headers:?}");
        }
    }

    #[test]
    fn what_the_signature_sets_is_not_signed_as_it_was() {
        let old = [("X-Amz-Date", "20000101T000000Z"), ("authorization", "Bearer x"), ("x-amz-security-token", "old")];
        assert_eq!(signature("GET", "/", &old, b""), signature("GET", "/", &[], b""));
    }

    #[test]
    fn a_model_in_the_path_and_a_session_token() {
        let headers = [("host", "bedrock-runtime.us-east-1.amazonaws.com"), ("content-type", "application/json")];
        let path = "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/invoke";
        let request = Unsigned { method: "POST", path, query: "", headers: &headers, body: b"{}" };
        let keys = Credentials { session_token: Some("TOKEN=="), ..KEYS };
        let signed = sign(&request, &keys, &Scope { region: "us-east-1", service: "bedrock", time: 1_700_000_000 });
        assert_eq!(parts(&signed).0, "content-type;host;x-amz-date;x-amz-security-token");
        assert_eq!(parts(&signed).1, "a2e884cb229da0d74095cfa4108f0faf23e265bd9b651e4548c10a38cee48016");
        assert_eq!(
            signed[1..],
            [("x-amz-date", "20231114T221320Z".into()), ("x-amz-security-token", "TOKEN==".into())]
        );
    }

    #[test]
    fn a_given_sum_of_the_body_is_what_is_signed() {
        let headers =
            [("host", "bedrock-runtime.eu-west-1.amazonaws.com"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
        let request = Unsigned { method: "POST", path: "/model/x/converse", query: "", headers: &headers, body: b"{}" };
        let signed = sign(&request, &KEYS, &Scope { region: "eu-west-1", service: "bedrock", time: 951_782_400 });
        assert_eq!(parts(&signed).1, "f1bd5d47c171b3c58fb29a04508f42b9fac4b81f01e71a5226a6423e189fc506");
    }

    #[test]
    fn days_of_every_kind() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn regions_of_hosts() {
        for (host, region) in [
            ("bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1")),
            ("bedrock-runtime.us-gov-west-1.amazonaws.com:443", Some("us-gov-west-1")),
            ("bedrock-runtime-fips.ca-central-1.amazonaws.com", Some("ca-central-1")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("vpce-0a1-b2.bedrock-runtime.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("bedrock-runtime.us-west-2.api.aws", Some("us-west-2")),
            ("s3.us-east-1.amazonaws.com", None),
            ("bedrock-runtime.amazonaws.com", None),
            ("bedrock.example.com", None),
            ("127.0.0.1:4010", None),
        ] {
            assert_eq!(region_of_host(host, "bedrock"), region, "{host}");
        }
    }
}
