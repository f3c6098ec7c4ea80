//! What is replaced and what stays, and the laws of both. Keys are put together here: nothing that looks like one stands
//! in this file.

use super::shapes::SHAPES;
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn redact(text: &str) -> String {
    Redactor::default().redact(text).into_owned()
}

/// A value as keys without a shape have.
fn opaque() -> String {
    ["q7Zt", "04mB", "x9Lw", "2Hc8", "Vn5r", "1Yd6"].concat()
}

const HEX: &str = "3f2a9c8b7d6e5f4a1b0c9d8e7f6a5b4c";

/// `{}` stands for the secret.
#[track_caller]
fn replaced(texts: &[&str], secret: &str) {
    for text in texts {
        let (planted, want) = (text.replace("{}", secret), text.replace("{}", REDACTED));
        assert_eq!(redact(&planted), want, "{planted}");
        assert_eq!(redact(&want), want, "twice");
    }
}

#[test]
fn secrets_are_told_by_their_names() {
    let texts = [
        "OPENAI_API_KEY={}",
        "export OPENAI_API_KEY='{}'\nexport PATH=/usr/bin",
        "set AZURE_OPENAI_KEY={} and go on",
        "COHERE_API_KEY = \"{}\"",
        "MISTRAL_API_KEY: {}",
        "a\\nHEROKU_API_KEY={}\\nB=1",
        "api key: {}",
        "the access token: {}, as said",
        "{\"api_key\": \"{}\"}",
        "{\"apiKey\":\"{}\",\"n\":1}",
        "{\"text\":\"{\\\"api_key\\\": \\\"{}\\\"}\"}",
        "{\"text\":\"{\\\"t\\\":\\\"{\\\\\\\"clientSecret\\\\\\\":\\\\\\\"{}\\\\\\\"}\\\"}\"}",
        "os.environ[\"TOGETHER_API_KEY\"] = \"{}\"",
        "client = Client(api_key='{}')",
        "const apiKey = `{}`;",
        "headers['x-auth-token'] = '{}'",
        "$config['secret_key'] => '{}',",
        "curl -H 'x-api-key: {}' https://example.com",
        "curl -H \"Authorization: Token {}\" https://example.com",
        "tool --api-key {} --verbose",
        "tool --token={} --verbose",
        "<apiKey>{}</apiKey>",
        "//registry.npmjs.org/:_authToken={}",
        "Endpoint=sb://x.example.com/;SharedAccessKeyName=Root;SharedAccessKey={}",
        "AccountName=a;AccountKey={};EndpointSuffix=core",
        "grant_type=client_credentials&client_secret={}&scope=all",
        "password={}",
        "DB_PASS={}",
        "Password: {}",
        "see https://example.com/a?token={}",
        "see https://example.com/a?x=1&subscription-key={}&y=2.",
        "![](https://x.blob.core.windows.net/a.png?st=2024-01-01&sig={}&sv=1)",
        "https://s3.amazonaws.com/a?X-Amz-Date=20240101T000000Z&X-Amz-Signature={}&X-Amz-SignedHeaders=host",
        "https://s3.amazonaws.com/a?X-Amz-Security-Token={}",
        "https://maps.example.com/js?key={}&v=3",
        "https://example.com/f?code={}",
        "https://example.com/f?a=1&amp;access_token={}&amp;b=2",
        "{\"url\":\"https://example.com/f?a=1\\u0026access_token={}\\u0026b=2\"}",
        "https%3A%2F%2Fexample.com%2Ff%3Faccess_token%3D{}%26a%3D1",
        "https://{}@example.com/repo.git",
        "https://{}:x-oauth-basic@example.com/repo.git",
        "https://{}:@example.com/",
        "Signature={}, Date=x",
        "postgres://me:{}@db:5432/x",
        "redis://:{}@cache:6379",
        "https:\\/\\/me:{}@db\\/x",
        "https%3A%2F%2Fme%3A{}%40db%2Fx",
        "Authorization: Bearer {}",
        "Cookie: session={}\nAccept: */*",
    ];
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.starts_with("Cookie")).collect();
    replaced(&texts, &opaque());
    let hex: Vec<&str> = texts.iter().copied().filter(|text| !text.contains("the access")).collect();
    replaced(&hex, HEX);
    assert_eq!(redact(&format!("Cookie: session={}\nAccept: */*", opaque())), "Cookie: [redacted]\nAccept: */*");
    replaced(&["password={}", "\"password\": \"{}\"", "https://user:{}@host"], "hunter2!");
    replaced(&["{\"password\": \"{}\"}", "{\"a\":\"{\\\"password\\\":\\\"{}\\\"}\"}"], r"hunter2!\\\\");
    replaced(&["{\"password\": \"{}\"}"], r#"hunter\"2!"#);
    replaced(&["\"password\": \"{}\"", "password='{}'"], "p{a<ss}w0rd(1)");
    replaced(&["Password: {}", "password={}"], "Summer2024!");
    replaced(&["https://user:{}@host/x"], "pass");
    replaced(&["https://a.b/?token={}&c", "https://a.b/?sig={}", "https://a.b/?access_token={}"], "s3cr3tt0k3n");
    replaced(&["OPENAI_API_KEY={}", "\"api_key\": \"{}\""], "abcdefghijklmnopqr");
    let base64 = format!("{}/{}+{}==", opaque(), "Ab", opaque());
    replaced(&["AWS_SECRET_ACCESS_KEY={}", "{\"SecretAccessKey\": \"{}\"}", "?sig={}&a", "AccountKey={};"], &base64);
    let encoded = base64.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    replaced(&["https://example.com/a?sig={}&a=1", "a=https%3A%2F%2Fx%2F%3Fsig%3D{}"], &encoded);
}

#[test]
fn what_is_no_secret_stays() {
    let blob = [&*opaque(); 20].join("-sk-").replace("-sk-", "");
    let data = format!("{blob}-sk-{blob}_AIza{blob}/AKIA{}+{blob}", "Q7ZTO4MBX9LW2HC8");
    let mut texts = vec![
        // Words that begin as keys do.
        "class=\"sk-fading-circle-container-small\"",
        "use sk-learn-contrib-lightning or sk-your-api-key-goes-here",
        "https://example.com/sk-hynix-earnings-2024-q1",
        "pypi-attestations, pypi-simple and the pypi-AgEI of tokens",
        "risk-free task-list, desk-0123456789abcdef0123",
        "npm_config_registry npm_package_dependencies_react_version_18",
        "hf_hub_download(repo_id='x') xai-org/grok-1 pplx-70b-online",
        "key-value-store, path-finder, lin_algebra, fw_rules, gsk_stock",
        // Words about secrets.
        "bearer authentication, Bearer token, bearer of news",
        "Basic authentication, basic internationalization",
        "Authorization: Bearer tokens are sent with each request",
        "a secret access key: none",
        "the password: at least 8 characters",
        "password = input(), token: str, secret: Optional[str] = None",
        "max_tokens=100, max_tokens: 4096, \"max_tokens\":100000000",
        "{\"token\": \"the\", \"logprob\": -0.1, \"bytes\": [1]}",
        "{\"token\":\" internationalization\"}",
        "{\"key\": \"value\", \"key\": \"a1b2c3d4e5f6a7b8c9d0\"}",
        "api_key=None, api_key=null, apiKey: undefined, api_key=\"\"",
        "YOUR_API_KEY <api-key> ${OPENAI_API_KEY} os.environ[\"OPENAI_API_KEY\"]",
        "api_key=YOUR_API_KEY api_key=\"YOUR_API_KEY_2\" API_KEY=<your-key-0123456789>",
        "api_key=${OPENAI_API_KEY} api_key: {{ secrets.KEY_0123456789 }} KEY=$OTHER_KEY_0123456789",
        "api_key=os.environ[\"OPENAI_API_KEY\"] apiKey: process.env.OPENAI_API_KEY2",
        "api_key = get_api_key2(name1) token = tokens2[0] password=request.form.password1",
        "OPENAI_API_KEY=sk-... OPENAI_API_KEY=xxxxxxxxxxxxxxxxxxxxxxxx API_KEY=********************",
        "\"Authorization\": \"Bearer ${TOKEN_0123456789}\", 'Authorization': f'Bearer {token1}'",
        "if (password == stored1password) token != old1token1",
        "let token: Token2024 = x; fn f(secret: Secret<u8>) -> Key256",
        "tokenizer: cl100k_base, stop_token: <|endoftext|>, eos_token=50256",
        "{\"next_page_token\": \"q7Zt04mBx9Lw2Hc8Vn5r1Yd6\", \"pageToken\":\"q7Zt04mBx9Lw2Hc8\"}",
        "{\"turnToken\": \"v1_q7Zt04mBx9Lw2Hc8Vn5r1Yd6\"}",
        "idempotency-key: q7Zt04mBx9Lw2Hc8Vn5r1Yd6, cache_key=q7Zt04mBx9Lw2Hc8Vn5r1Yd6",
        "{\"type\":\"object\",\"properties\":{\"api_key\":{\"type\":\"string\",\"description\":\"the key to use\"}}}",
        // Ids and hashes.
        "call_q7Zt04mBx9Lw2Hc8Vn5r1Yd6 toolu_01q7Zt04mBx9Lw2Hc8Vn5r msg_01q7Zt04mBx9 resp_0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b, sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "123e4567-e89b-12d3-a456-426614174000 and 01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "at 2024-01-15T10:30:00.000Z, 12:34:56:78, 10:AAAA",
        "https://example.com/a:b@c https://example.com/?q=a&key=shoes&code=200&sort=key https://host:8080/@scope/pkg",
        "https://<user>:<password>@host https://$USER:$PASS@host https://{user}:{pass}@host git@github.com:a/b.git",
        "https://example.com/a?token=abc&sig=short&page=2",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY----- is how it begins, and goes on",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "a --password option, --token TOKEN, --api-key <key>",
        "<code>PerformanceResourceTiming</code> <key>ProductUserVisibleVersion</key> <code>net.getDefaultAutoSelect2()</code>",
        "pip/version.py,sha256=qaN-fw_htIgKUVXoAuAEVgKxQu3tZ9qE2eiKkWIS7LA",
        "ThinkingBlock(signature='q7Zt04mBx9Lw2Hc8Vn5r1Yd6') token = 'Operator'",
        "def encode(private_key: ed25519.Ed25519PrivateKey): scheme://[user:passwd@]host",
        "<token>the</token> <password>required</password>",
        "--- PASS: TestFoo123 (0.00s), PASS: v1.2.3abc, tests_pass: 123456, first pass: 3c4d5e6f",
        "PWD=/home/me/project1, OLDPWD=/tmp/a1b2c3d4, GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        "\"token\": \"0xdAC17F958D2ee523a2206206994597C13D831ec7\", token: 0x1f2e3d4c5b6a7988",
        "raw_private_key: Curve25519Seed, generate_private_key: x25519_generate_private_key, pw_passwd: *const c_char",
        "sk-short AIzaX é sk 100% %zz \\u00",
        "[redacted] api_key=[redacted] \"token\":\"[redacted]\" https://a:[redacted]@b Bearer [redacted]",
        &data,
    ];
    let picture = format!("data:image/png;base64,{}", blob.repeat(3));
    texts.push(&picture);
    for text in texts {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn shapes_beside_the_table() {
    for (text, want) in [
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic [redacted]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4 is one", "[redacted] is one"),
        ("eyJhbGciOiJI.a2V5.bm9uY2Vub24.Y2lwaGVy.dGFnZ3RhZ2d0", "[redacted]"),
        (r#"{"k": "-----BEGIN PRIVATE KEY-----\nMIIE", "n": 1}"#, r#"{"k": "[redacted]", "n": 1}"#),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a [redacted] b"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE and words", "[redacted] and words"),
        ("bot123456789:AAq7Zt04mBx9Lw2Hc8Vn5r1Yd6q7Zt04mBx/getMe", "bot[redacted]/getMe"),
    ] {
        assert_eq!(redact(text), want);
        assert_eq!(redact(want), want, "twice");
    }
}

#[test]
fn json_is_redacted_by_its_names() {
    let key = opaque();
    let cases = [
        (
            json!({"secretAccessKey": key, "api_keys": [key, "none"]}),
            json!({"secretAccessKey": "[redacted]", "api_keys": ["[redacted]", "none"]}),
        ),
        (
            json!({"auth": {"value": key, "type": "api-key"}}),
            json!({"auth": {"value": "[redacted]", "type": "api-key"}}),
        ),
        (
            json!({"env": [{"name": "DB_PASSWORD", "value": "hunter2!"}]}),
            json!({"env": [{"name": "DB_PASSWORD", "value": "[redacted]"}]}),
        ),
        (
            json!({"tools": [{"type": "mcp", "server_url": "https://x", "authorization": "swordfish", "headers":
                {"X-Team": "swordfish99x", "Authorization": "Bearer abc", "Accept": "a/b"}}]}),
            json!({"tools": [{"type": "mcp", "server_url": "https://x", "authorization": "[redacted]", "headers":
                {"X-Team": "[redacted]", "Authorization": "Bearer [redacted]", "Accept": "a/b"}}]}),
        ),
        (
            json!({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x", "authorization_token": "sword<fish"}]}),
            json!({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x", "authorization_token": "[redacted]"}]}),
        ),
        (
            json!({"method": "GET", "headers": {"x-api-key": "abc", "x-team": "red-team-42", "Authorization": "Bearer ${TOKEN}"}}),
            json!({"method": "GET", "headers": {"x-api-key": "[redacted]", "x-team": "red-team-42", "Authorization": "Bearer ${TOKEN}"}}),
        ),
    ];
    for (mut given, want) in cases {
        assert!(Redactor::default().redact_json(&mut given));
        assert_eq!(given, want);
        assert!(!Redactor::default().redact_json(&mut given), "twice");
    }
    let blob = opaque().repeat(12);
    let mut same = json!({
        "encrypted_content": format!("{blob}-sk-{blob}"), "signature": format!("sk-{key}"), "thoughtSignature": key,
        "data": blob, "token": "the", "thought_signature": format!("sk-{key}"), "encrypted_index": format!("sk-{key}"),
        "password": {"type": "string", "pattern": "^(?=.*[0-9]).{8,}$", "example": "hunter2!"},
        "sealed": {"type": "redacted_thinking", "data": format!("sk-{key}")}, "key": key, "headers": ["Name", "Age"], "tokens": [key],
        "parameters": {"properties": {"api_key": {"type": "string", "description": "an API key"}}, "required": ["api_key"]},
    });
    assert!(!Redactor::default().redact_json(&mut same), "{same}");
}

#[test]
fn json_is_redacted_by_its_strings_and_keys() {
    let key = format!("sk-{}", opaque());
    let mut json = json!({"a": [format!("x\n{key}")], key.clone(): 1});
    assert!(Redactor::default().redact_json(&mut json));
    assert_eq!(json, json!({"a": ["x\n[redacted]"], "[redacted]": 1}));
    assert!(!Redactor::default().redact_json(&mut json));
}

#[test]
fn bytes_are_redacted_where_they_are_text() {
    let key = format!("sk-{}", opaque());
    let bytes = [b"\xff\x00", key.as_bytes(), b"\xfeok"].concat();
    assert_eq!(Redactor::default().redact_bytes(&bytes).unwrap(), b"\xff\x00[redacted]\xfeok");
    assert_eq!(Redactor::default().redact_bytes(b"\xff\x00ok"), None);
}

#[test]
fn targets_lose_their_secrets() {
    let r = Redactor::default();
    let key = format!("sk-{}", opaque());
    let coded = key.replace('-', "%2D").replace('q', "%71");
    let target = format!("/v1beta/x?b=1&key=abc&a={coded}&token=x&subscription-key=y&code=200");
    let safe = "/v1beta/x?b=1&key=[redacted]&a=[redacted]&token=[redacted]&subscription-key=[redacted]&code=200";
    assert_eq!(r.safe_target(&target), safe);
    assert_eq!(r.safe_target(safe), safe, "twice");
    assert_eq!(r.match_target("/v1beta/x", "b=1&key=abc&a=2&token=x"), "/v1beta/x?a=2&b=1");
    assert_eq!(r.match_target(&format!("/v1beta/{coded}"), "key=abc"), "/v1beta/[redacted]");
    assert_ne!(r.match_target("/kv", "key=shoes"), r.match_target("/kv", "key=boots"));
    assert_eq!(r.safe_target("/v1/a%20b"), "/v1/a%20b");
}

#[test]
fn patterns_of_the_user_and_off() {
    let pattern = |text| Regex::new(text).unwrap();
    let key = format!("sk-{}", opaque());
    let more = Redactor::new(false, vec![pattern("tok[0-9]+")]);
    assert_eq!(more.redact(&format!("tok12 {key}")), format!("[redacted] {key}"));
    assert!(Redactor::new(false, vec![]).is_off());
    // What fits the marker too, what fits nothing, what fits anything.
    for text in ["red", "[a-z]+", "^a", "a*", ".+", "(?s).*", "\\d[^ ]{3}", "d\\]"] {
        let more = Redactor::new(true, vec![pattern(text)]);
        for given in ["a red 1abc d] aab", &format!("1{key} a b red]"), "[redacted]", ""] {
            let once = more.redact(given).into_owned();
            assert_eq!(more.redact(&once), once, "{text} in {given}");
            assert!(!more.finds(&once));
        }
    }
}

#[test]
fn what_is_never_done_with_is_replaced_as_a_whole() {
    // Each pass uncovers the next.
    let more = Redactor::new(false, vec![Regex::new("^a|\\]a").unwrap()]);
    assert_eq!(more.redact("aab"), "[redacted]b");
    assert_eq!(more.redact(&"a".repeat(20)), "[redacted]");
    assert_eq!(more.redact("[redacted]"), "[redacted]");
}

#[test]
fn what_was_made_to_keep_us_busy_is_replaced_as_a_whole() {
    for piece in
        ["-sk-", "-eyJ", " token=", "token='", "://a:", " Bearer -", "-----BEGIN PRIVATE KEY-----", "Cookie: a"]
    {
        let text = piece.repeat((1 << 17) / piece.len());
        let safe = redact(&text);
        assert!(safe == text || safe == REDACTED, "{piece}");
    }
    // What ends nowhere, and not at a byte's end.
    let long = "é".repeat(5000);
    for text in [
        format!("api_key={long}"),
        format!("https://a:{long}@b"),
        format!("Cookie: a={long}"),
        format!("token=\"{long}"),
    ] {
        assert_eq!(redact(&text), text);
    }
}

// --------------------------------------------------------------------------------------------------------------- laws

/// A key of any shape, as real ones are.
fn key() -> impl Strategy<Value = String> {
    let shape = (0..SHAPES.len()).prop_flat_map(|i| {
        let shape = &SHAPES[i];
        let alphabet: Vec<char> =
            (33_u8..127).filter(|b| (shape.body)(*b) && b.is_ascii_alphanumeric()).map(char::from).collect();
        let body = prop::collection::vec(prop::sample::select(alphabet), shape.real);
        let joined = |mut body: Vec<char>| {
            if let Some(joint) = shape.joint {
                body[14] = char::from(joint);
            }
            body.into_iter().collect::<String>()
        };
        (prop::sample::select(shape.prefixes), body.prop_map(joined))
    });
    let mixed = |text: &str| {
        let has = |of: fn(&u8) -> bool| text.as_bytes()[text.len() - 16..].iter().any(of);
        has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    shape.prop_map(|(prefix, body)| format!("{prefix}{body}")).prop_filter("a lucky draw", move |key| {
        mixed(key)
            && SHAPES.iter().any(|s| {
                s.prefixes.iter().any(|p| key.strip_prefix(p).is_some_and(|body| s.fits(body.as_bytes(), None)))
            })
    })
}

/// What stands between: what tells of secrets, what ends them, and words.
fn between() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        " ",
        "\n",
        ", ",
        "\"",
        "'",
        "`",
        "\\n",
        "\\\"",
        "=",
        ":",
        ": \"",
        "&",
        "?",
        "%20",
        "%2F",
        "\\u0026",
        "://",
        "@",
        ".",
        "-",
        "_",
        "/",
        "+",
        "<",
        ">",
        "(",
        ")",
        "[redacted]",
        "[",
        "]",
        "token=",
        "api_key: ",
        "\"password\":\"",
        "OPENAI_API_KEY=",
        "?sig=",
        "&key=",
        "Bearer ",
        "Basic ",
        "Authorization: ",
        "Cookie: a=",
        "https://",
        "user:",
        "sk-",
        "eyJ",
        "ghp_",
        "AKIA",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "--token ",
        "<secret>",
        "é",
        "🌍",
        "key",
        "a",
        "12",
        "hunter2x",
        "the words of a sentence",
        "q7Zt04mBx9Lw2Hc8Vn5r1Yd6",
        "3f2a9c8b7d6e5f4a1b0c9d8e7f6a5b4c",
        "dXNlcjpwYXNz",
        "123456789:A",
    ];
    prop_oneof![4 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => "[ -~]{0,12}", 1 => "\\PC{0,4}"]
}

fn coded(text: &str) -> String {
    text.bytes().map(|b| if b % 3 == 0 { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn twice_is_once(parts in prop::collection::vec(prop_oneof![2 => between(), 1 => key()], 0..12)) {
        let text = parts.concat();
        let once = redact(&text);
        prop_assert_eq!(redact(&once), once.clone());
        prop_assert!(!Redactor::default().finds(&once));
        // Nothing is lost but what was replaced.
        let mut rest = &*text;
        for kept in once.split(REDACTED).filter(|kept| !kept.is_empty()) {
            let at = rest.find(kept);
            prop_assert!(at.is_some(), "{:?} of {:?}", kept, text);
            rest = &rest[at.unwrap_or(0) + kept.len()..];
        }
    }

    #[test]
    fn a_key_survives_nowhere(key in key(), before in "([a-z ,]{0,20}[ \n,\"'(=:/]|)", after in "([ \n,\"')&;][a-z ]{0,20}|)") {
        let tail = &key[key.len() - 16..];
        let text = format!("{before}{key}{after}");
        let twice = format!("{key} {key}\n{key}");
        let value = json!({"a": {"b": [text.clone()]}});
        let inner = json!(value.to_string()).to_string();
        for given in [text.clone(), twice, value.to_string(), inner.clone(), json!(inner).to_string(), format!("https://a.b/{key}?c=d#e")] {
            let safe = redact(&given);
            prop_assert!(!safe.contains(tail), "{} of {}", safe, given);
        }
        let target = format!("https://a.b/?c={}&d=e", coded(&key));
        prop_assert_eq!(redact(&target), "https://a.b/?c=[redacted]&d=e");
        let mut json = value;
        Redactor::default().redact_json(&mut json);
        prop_assert!(!json.to_string().contains(tail));
    }

    /// What a model wrote as text and what a client sends as JSON are redacted alike.
    #[test]
    fn json_text_is_redacted_as_its_value(
        names in prop::collection::vec(prop::sample::select(&[
            "api_key", "password", "token", "text", "Authorization", "clientSecret", "key", "n", "session_id", "auth",
        ][..]), 1..5),
        values in prop::collection::vec(prop_oneof![
            key(), "[a-z0-9]{1,30}", "[a-z ]{0,30}", "Bearer [a-zA-Z0-9]{24}", "\\PC{0,8}", Just("hunter2!".to_owned()), Just("${A}".to_owned()),
        ], 5),
        number in 0_u64..10_000_000_000,
    ) {
        let mut value = json!({"n": number, "password": number, "list": []});
        for (name, text) in names.iter().zip(&values) {
            value[*name] = text.clone().into();
        }
        let nested = json!({"a": [value.clone()], "b": value});
        for value in [value, nested] {
            for text in [value.to_string(), format!("{value:#}")] {
                let of_text: Value = serde_json::from_str(&redact(&text)).expect("it is still JSON");
                let mut of_value = value.clone();
                Redactor::default().redact_json(&mut of_value);
                let mut both = of_text.clone();
                Redactor::default().redact_json(&mut both);
                prop_assert_eq!(&both, &of_value, "{}", text);
            }
        }
    }
}
