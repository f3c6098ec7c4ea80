use super::*;
use crate::config::{Chaos, OnDrift, OnStale};
use crate::log::Level;
use crate::provider::PROVIDERS;

const UPSTREAM: &str = "--provider-openai=http://localhost:1";

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn args(line: &str) -> ServeArgs {
    match parse(words(line), None) {
        Ok(Command::Serve(args)) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

fn config(line: &str) -> Config {
    args(line).config
}

fn error(line: &str) -> String {
    let error = parse(words(line), None).expect_err(line);
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn without_flags_everything_is_at_its_default() {
    let args = args("");
    assert_eq!(args.config, Config::default());
    assert!(!args.exit_on_stdin_close && args.command.is_empty() && args.warnings.is_empty());
}

/// One row a flag: how it is given, and what then differs from the default.
#[test]
fn every_flag_sets_its_field_and_nothing_else() {
    type Row = (&'static str, fn(&mut Config));
    let rows: &[Row] = &[
        ("--port 0", |c| c.port = 0),
        ("-p 8080", |c| c.port = 8080),
        ("-p8080", |c| c.port = 8080),
        ("--port=8080", |c| c.port = 8080),
        ("--host 0.0.0.0", |c| c.host = "0.0.0.0".into()),
        ("--api-key k1 --api-key k2", |c| ["k1", "k2"].iter().for_each(|key| c.api_keys.add(key))),
        ("--allow-origin https://App.example:443", |c| c.allow_origins = vec!["https://app.example".into()]),
        ("--allow-host mock.lan --allow-host [::1]", |c| c.allow_hosts = vec!["mock.lan".into(), "::1".into()]),
        ("--strict", |c| c.strict = true),
        ("--max-body-bytes 2M", |c| c.max_body_bytes = 2 << 20),
        ("--max-connections 10", |c| c.limits.connections = 10),
        ("--exit-on-stdin-close", |_| ()),
        ("--fixtures a -f b", |c| (c.fixtures, c.fixtures_given) = (vec!["a".into(), "b".into()], true)),
        ("-f ./fixtures", |c| c.fixtures_given = true),
        ("--watch", |c| c.watch = true),
        ("-w", |c| c.watch = true),
        ("--validate-on-load", |c| c.validate_on_load = true),
        ("--refresh", |c| c.refresh = true),
        ("--record-repeats", |c| c.record_repeats = true),
        ("--record-errors", |c| c.record_errors = true),
        ("--record-wire", |c| c.record_wire = true),
        ("--record-timings", |c| c.record_timings = true),
        ("--record-full-model-version", |c| c.record_full_model_version = true),
        ("--max-record-bytes 1000", |c| c.max_record_bytes = 1000),
        ("--max-proxy-buffer-bytes 1000", |c| c.max_record_bytes = 1000),
        ("--upstream-timeout-ms 1", |c| c.upstream_timeout_ms = 1),
        ("--body-timeout-ms 500", |c| c.body_timeout_ms = 500),
        ("--on-drift warn", |c| c.on_drift = Some(OnDrift::Warn)),
        ("--on-drift fail", |c| c.on_drift = Some(OnDrift::Fail)),
        ("--on-drift ignore", |c| c.on_drift = Some(OnDrift::Ignore)),
        ("--reuse-volatile", |c| c.reuse_volatile = true),
        ("--ignore /a --ignore /b/*/c", |c| c.ignore = vec!["/a".into(), "/b/*/c".into()]),
        ("--max-age 30", |c| c.max_age_days = Some(30)),
        ("--on-stale fail", |c| c.on_stale = OnStale::Fail),
        ("--redact acme-[0-9]+ --redact x", |c| c.redact = vec!["acme-[0-9]+".into(), "x".into()]),
        ("--no-redact", |c| c.no_redact = true),
        ("--latency 5", |c| c.latency_ms = 5),
        ("-l 5", |c| c.latency_ms = 5),
        ("--chunk-size 1", |c| c.chunk_chars = 1),
        ("-c 7", |c| c.chunk_chars = 7),
        ("--replay-speed 2.5", |c| c.replay_speed = Some(2.5)),
        ("--chaos-drop 0.1", |c| c.chaos.drop = 0.1),
        ("--chaos-malformed 1", |c| c.chaos.malformed = 1.0),
        ("--chaos-disconnect 0", |_| ()),
        ("--chaos-disconnect .5 --chaos-seed 7", |c| {
            c.chaos = Chaos { disconnect: 0.5, seed: Some(7), ..Chaos::default() };
        }),
        ("--log-level silent", |c| c.log_level = Level::Silent),
        ("--log-level debug", |c| c.log_level = Level::Debug),
        ("--metrics", |c| c.metrics = true),
        ("--journal-max 5", |c| c.journal_max = 5),
        ("--journal-max 0", |c| c.journal_max = usize::MAX),
        ("--report out.json", |c| c.report = Some("out.json".into())),
    ];
    for (line, change) in rows {
        let mut expected = Config::default();
        change(&mut expected);
        assert_eq!(config(line), expected, "{line}");
    }
    assert!(args("--exit-on-stdin-close").exit_on_stdin_close);
    let tried = |name: &str| rows.iter().any(|(line, _)| line.contains(name));
    for name in flags::long_names::<Draft>().filter(|name| !name.starts_with("--provider-")) {
        let elsewhere = ["--record", "--proxy-only", "--help", "--version"].contains(&name.as_str());
        assert!(elsewhere || tried(&name), "no row for {name}");
    }
}

#[test]
fn upstreams_come_from_the_table_of_providers() {
    for provider in PROVIDERS {
        let line = format!("--record --provider-{}=https://example.com/v1", provider.name);
        let config = config(&line);
        assert!(config.record && !config.proxy_only);
        assert_eq!(config.upstreams.get(provider).map(ToString::to_string).as_deref(), Some("https://example.com/v1"));
        assert_eq!(config.upstreams.iter().count(), 1);
    }
    assert!(config(&format!("--proxy-only {UPSTREAM}")).proxy_only);
}

/// One row a flag that takes a value: a bad one, and what the message says beside the flag.
#[test]
fn a_bad_value_is_named_with_what_is_allowed() {
    let rows = [
        ("--port 65536", "--port does not take '65536': expected a whole number from 0 to 65535"),
        ("-p x", "-p does not take 'x'"),
        ("--host a:1", "--host does not take 'a:1': expected an address or host name"),
        ("--api-key k,1", "--api-key: expected a key of letters, digits and signs"),
        (
            "--allow-origin app.example",
            "--allow-origin does not take 'app.example': expected an origin such as https://",
        ),
        ("--allow-origin null", "--allow-origin does not take 'null': every sandboxed page"),
        ("--allow-host a:1", "--allow-host does not take 'a:1': expected an address or host name"),
        ("--max-connections 0", "--max-connections does not take '0': expected a whole number from 1 to 1000000"),
        ("--max-body-bytes 0", "--max-body-bytes does not take '0': expected a number of bytes above 0"),
        ("--fixtures https://x/a.json", "--fixtures does not take 'https://x/a.json': expected a file or folder"),
        ("--max-record-bytes 1T", "--max-record-bytes does not take '1T'"),
        ("--upstream-timeout-ms 0", "'0': expected a whole number from 1 to 86400000"),
        ("--body-timeout-ms -1", "--body-timeout-ms does not take '-1'"),
        ("--on-drift no", "--on-drift does not take 'no': expected warn, fail or ignore"),
        ("--ignore a", "--ignore does not take 'a': expected a JSON pointer"),
        ("--max-age 0", "--max-age does not take '0': expected a whole number from 1"),
        ("--on-stale ignore", "--on-stale does not take 'ignore': expected warn or fail"),
        ("--redact (", "--redact: not a regular expression"),
        ("--latency 1.5", "--latency does not take '1.5'"),
        ("--chunk-size 0", "--chunk-size does not take '0': expected a whole number from 1"),
        ("--replay-speed 0", "--replay-speed does not take '0': expected a number above 0"),
        ("--chaos-drop 1.1", "--chaos-drop does not take '1.1': expected a rate from 0 to 1"),
        ("--chaos-malformed -1", "--chaos-malformed does not take '-1'"),
        ("--chaos-disconnect x", "--chaos-disconnect does not take 'x'"),
        ("--chaos-seed x", "--chaos-seed does not take 'x'"),
        ("--log-level trace", "--log-level does not take 'trace': expected silent, warn, info or debug"),
        ("--journal-max -1", "--journal-max does not take '-1'"),
        ("--report", "--report needs a value"),
        ("--provider-openai ftp://x", "--provider-openai: expected a URL that begins with http:// or https://"),
        ("--watch=yes", "--watch takes no value"),
    ];
    for (line, says) in rows {
        let error = error(line);
        assert!(error.contains(says), "{line}: {error}");
    }
    for flag in flags::FLAGS.iter().filter(|flag| !matches!(flag.takes, Takes::Nothing(_) | Takes::Instead(_))) {
        assert!(rows.iter().any(|(line, _)| line.contains(flag.name)), "no row for --{}", flag.name);
        assert_eq!(error(&format!("--{}", flag.name)), format!("--{} needs a value", flag.name));
    }
}

#[test]
fn messages_quote_no_secret() {
    for line in [
        "--provider-openai https://user:hunter2@example.com",
        "--provider-opanai=https://user:hunter2@example.com",
        "--redact hunter2(",
        "--api-key hunter2,hunter2",
        "--watch=hunter2",
        "health http://user:hunter2@localhost",
    ] {
        let error = error(line);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn unknown_flags_name_the_nearest() {
    assert_eq!(error("--recrod"), "unknown argument '--recrod'; did you mean '--record'?");
    assert_eq!(error("--fixture a"), "unknown argument '--fixture'; did you mean '--fixtures'?");
    assert_eq!(error("--provider-opanai=x"), "unknown argument '--provider-opanai'; did you mean '--provider-openai'?");
    assert_eq!(
        error("--provider-vertex=x"),
        "unknown argument '--provider-vertex'; did you mean '--provider-vertexai'?"
    );
    let providers = error("--provider-mistral=x");
    assert!(providers.contains("the providers are anthropic, ") && providers.contains("openai; "), "{providers}");
    assert!(providers.ends_with("--provider-openai URL is for every service that speaks its API"), "{providers}");
    assert_eq!(error("--agui-upstream x"), "unknown argument '--agui-upstream'; see aimock --help");
    assert_eq!(error("-z"), "unknown argument '-z'; see aimock --help");
    assert_eq!(error("chek"), "unknown argument 'chek'; did you mean 'check'?");
    assert_eq!(error("--strict check"), "'check' comes first: aimock check …");
    assert_eq!(error("check --formt json"), "unknown argument '--formt'; did you mean '--format'?");
    assert_eq!(error("check --provider-mistral x"), "unknown argument '--provider-mistral'; see aimock check --help");
    assert_eq!(error("convert har a -o b --record"), "unknown argument '--record'; see aimock convert --help");
    assert_eq!(error("help chek"), "unknown argument 'chek'; did you mean 'check'?");
    assert_eq!(error("help check convert"), "unknown argument 'convert'; see aimock --help");
}

#[test]
fn what_is_given_twice_is_refused_unless_it_adds_up() {
    for (line, named) in [
        ("--port 1 --port 2", "--port"),
        ("--port 1 -p 1", "-p"),
        ("-p1 --host a --port=2", "--port"),
        ("--strict --metrics --strict", "--strict"),
        ("--max-record-bytes 1 --max-proxy-buffer-bytes 2", "--max-proxy-buffer-bytes"),
        ("--record --provider-openai http://a --provider-openai http://b", "--provider-openai"),
        ("check --format json --format text", "--format"),
        ("convert har a -o b --out c", "--out"),
    ] {
        assert_eq!(error(line), format!("{named} is given twice: give it once"), "{line}");
    }
    let two = config("--record --provider-openai http://a --provider-azure http://b");
    assert_eq!(two.upstreams.iter().count(), 2);
}

#[test]
fn a_flag_is_not_taken_for_a_value() {
    for line in ["--fixtures --strict", "--fixtures -w", "--report -- true", "-f --port=1"] {
        assert!(error(line).contains("needs a value, but"), "{line}");
    }
    assert_eq!(config("--fixtures=--strict").fixtures, [PathBuf::from("--strict")]);
    assert_eq!(config("-f -").fixtures, [PathBuf::from("-")]);
}

#[test]
fn recording_needs_an_upstream() {
    for (mode, line) in
        [("--record", "--record"), ("--proxy-only", "--proxy-only"), ("--proxy-only", "--record --proxy-only")]
    {
        let error = error(line);
        assert!(error.starts_with(mode) && error.contains("--provider-openai"), "{error}");
    }
    assert!(config(&format!("--strict --record {UPSTREAM}")).record);
    assert!(config(&format!("--strict --proxy-only {UPSTREAM}")).proxy_only);
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let rows = [
        ("--no-redact", "--no-redact: credentials"),
        ("--on-stale warn", "--on-stale has no effect without --max-age"),
        (UPSTREAM, "--provider-openai has no effect without --record or --proxy-only"),
        ("--record-wire --refresh", "--refresh, --record-wire has no effect while nothing is recorded"),
        ("--record --proxy-only --provider-openai http://x", "--proxy-only saves nothing, so --record has no effect"),
    ];
    for (line, says) in rows {
        let warnings = args(line).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(says), "{line}: {warnings:?}");
    }
    let both = config("--record --proxy-only --provider-openai http://x");
    assert!(both.proxy_only && !both.record);
    for fine in [
        format!("--record --refresh --record-wire --record-timings {UPSTREAM}"),
        "--max-age 3 --on-stale fail".into(),
        "--redact x".into(),
    ] {
        assert!(args(&fine).warnings.is_empty(), "{fine}");
    }
}

#[test]
fn contradictions_are_refused() {
    assert!(error("--redact x --no-redact").contains("exclude each other"));
    assert!(error("--exit-on-stdin-close -- true").contains("stdin belongs to the command"));
    assert!(error("--strict --").contains("followed by a command"));
}

#[test]
fn a_command_takes_the_rest_and_a_free_port() {
    let given = args("--strict -- pytest -x --port 1 -- y");
    assert_eq!(given.command, words("pytest -x --port 1 -- y").into_iter().map(OsString::from).collect::<Vec<_>>());
    assert_eq!((given.config.port, given.config.strict), (0, true));
    assert_eq!(args("-p 4010 -- pytest").config.port, 4010);
}

#[test]
fn the_environment_sets_the_host_unless_the_flag_does() {
    let host = |line: &str, env: &str| match parse(words(line), Some(OsStr::new(env))) {
        Ok(Command::Serve(args)) => Ok(args.config.host),
        Ok(other) => panic!("{other:?}"),
        Err(e) => Err(e.to_string()),
    };
    assert_eq!(host("", "0.0.0.0").as_deref(), Ok("0.0.0.0"));
    assert_eq!(host("--host ::1", "0.0.0.0").as_deref(), Ok("::1"));
    assert_eq!(host("", "").as_deref(), Ok("127.0.0.1"));
    assert!(host("", "http://x").unwrap_err().starts_with("AIMOCK_HOST does not take 'http://x'"));
}

#[test]
fn help_and_version_win_over_what_follows() {
    for (lines, page) in [
        (&["--help", "-h", "--strict -h --nonsense", "help", "help --help"][..], Topic::Server),
        (&["check --help", "check a -h", "help check"], Topic::Check),
        (&["convert --help", "convert har -h", "help convert"], Topic::Convert),
        (&["health --help", "health -h", "help health"], Topic::Health),
    ] {
        for line in lines {
            assert_eq!(parse(words(line), None).unwrap(), Command::Help(page), "{line}");
        }
    }
    assert_eq!(error("-h127.0.0.1"), "-h takes no value: it is --help");
    for line in ["--version", "-V"] {
        assert_eq!(parse(words(line), None).unwrap(), Command::Version);
    }
}

#[test]
fn check_has_defaults() {
    let check = |line: &str| match parse(words(line), None) {
        Ok(Command::Check(args)) => args,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(check("check"), CheckArgs { paths: vec!["./fixtures".into()], ..CheckArgs::default() });
    assert_eq!(
        check("check a --format json --strict --unused report.json --prune --untagged --max-age 7 b"),
        CheckArgs {
            paths: vec!["a".into(), "b".into()],
            format: Format::Json,
            strict: true,
            unused: Some("report.json".into()),
            prune: true,
            untagged: true,
            max_age_days: Some(7),
        }
    );
    assert_eq!(check("check -- --odd").paths, [PathBuf::from("--odd")]);
    assert!(error("check --prune").contains("--unused REPORT"));
    assert!(error("check --untagged").contains("--prune"));
    assert!(error("check --format xml").contains("expected text or json"));
}

#[test]
fn convert_needs_all_three() {
    let parsed = parse(words("convert har a.har b -o out"), None).unwrap();
    let expected = ConvertArgs { from: Source::Har, paths: vec!["a.har".into(), "b".into()], out: "out".into() };
    assert_eq!(parsed, Command::Convert(expected));
    assert!(matches!(parse(words("convert vcr a --out=b"), None), Ok(Command::Convert(a)) if a.from == Source::Vcr));
    for line in ["convert", "convert vcr", "convert vcr a", "convert vcr -o b"] {
        assert!(error(line).starts_with("convert needs"), "{line}");
    }
    assert_eq!(error("convert pact a -o b"), "convert does not take 'pact': expected vcr, har or aimock");
}

#[test]
fn health_asks_the_own_address() {
    let url = |line: &str, env: Option<&str>| match parse(words(line), env.map(OsStr::new)) {
        Ok(Command::Health { url }) => url.to_string(),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(url("health", None), "http://127.0.0.1:4010");
    assert_eq!(url("health", Some("0.0.0.0")), "http://127.0.0.1:4010");
    assert_eq!(url("health", Some("10.0.0.7")), "http://10.0.0.7:4010");
    assert_eq!(url("health http://localhost:1", None), "http://localhost:1");
    assert!(error("health https://localhost").contains("plain HTTP"));
    assert!(error("health http://a http://b").contains("unknown argument"));
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_text() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let Ok(Command::Serve(args)) = parse([OsString::from("-f"), odd.clone()], None) else { panic!("a path") };
    assert_eq!(args.config.fixtures, [PathBuf::from(&odd)]);
    let error = parse([OsString::from("--log-level"), odd], None).unwrap_err();
    assert_eq!(error.to_string(), "--log-level: the value is not valid UTF-8");
}
