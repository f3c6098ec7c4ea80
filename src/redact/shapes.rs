//! The shapes of credentials: what each begins with and what follows.
//!
//! A row tells what real keys are like, from the vendor's documentation or from the rules of well-kept scanners. Lengths
//! are lower bounds where nothing else begins alike: a key that was cut is a secret too. A test makes keys of every row
//! and what only comes near.

use super::looks::{digits, entropy, is_base64, is_filler, is_random};

/// A credential's shape.
#[derive(Debug)]
#[cfg_attr(not(test), allow(dead_code))] // what people and tests read
pub(super) struct Shape {
    /// Whose it is.
    pub(super) name: &'static str,
    /// Where it is told.
    pub(super) source: &'static str,
    /// What it begins with, one of these.
    pub(super) prefixes: &'static [&'static str],
    /// What bytes follow.
    pub(super) body: fn(u8) -> bool,
    /// How many at least.
    pub(super) min: usize,
    /// How many at most: more letters and digits than these, and it is something else.
    pub(super) max: usize,
    /// How many real ones have; what examples are made of.
    pub(super) real: usize,
    /// What there is among them.
    pub(super) has: Has,
    /// A byte that joins its parts, where it has parts.
    pub(super) joint: Option<u8>,
    /// Bits of information a byte, at least.
    pub(super) entropy: f32,
    /// What begins alike and is no credential.
    pub(super) innocent: &'static [&'static str],
}

/// What stands among a credential's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// Anything.
    Any,
    /// Digits.
    Digit,
    /// Letters and digits mixed as no words are.
    Random,
    /// The same, with capitals and small letters.
    Mixed,
}

/// As many as there are.
const OPEN: usize = usize::MAX;

/// A row: what it begins with, what follows, how many at least and how many in real ones.
const fn shape(
    name: &'static str,
    source: &'static str,
    prefixes: &'static [&'static str],
    body: fn(u8) -> bool,
    min: usize,
    real: usize,
) -> Shape {
    Shape {
        name,
        source,
        prefixes,
        body,
        min,
        max: OPEN,
        real,
        has: Has::Digit,
        joint: None,
        entropy: 2.0,
        innocent: &[],
    }
}

fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

fn dotted(b: u8) -> bool {
    token(b) || b == b'.'
}

fn alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn hex(b: u8) -> bool {
    b.is_ascii_hexdigit()
}

fn hex_parts(b: u8) -> bool {
    hex(b) || matches!(b, b'-' | b'_' | b'.')
}

fn base64(b: u8) -> bool {
    is_base64(b)
}

macro_rules! gitleaks {
    ($rule:literal) => {
        concat!("https://github.com/gitleaks/gitleaks/blob/master/cmd/generate/config/rules/", $rule, ".go")
    };
}

macro_rules! betterleaks {
    ($rule:literal) => {
        concat!("https://github.com/betterleaks/betterleaks/blob/main/cmd/generate/config/rules/", $rule, ".go")
    };
}

macro_rules! trufflehog {
    ($detector:literal) => {
        concat!("https://github.com/trufflesecurity/trufflehog/tree/main/pkg/detectors/", $detector)
    };
}

const GITHUB_LIST: &str =
    "https://docs.github.com/en/code-security/reference/secret-security/supported-secret-scanning-patterns";

impl Shape {
    const fn at_most(self, max: usize) -> Self {
        Shape { max, ..self }
    }

    const fn has(self, has: Has) -> Self {
        Shape { has, ..self }
    }

    const fn joint(self, joint: u8) -> Self {
        Shape { joint: Some(joint), ..self }
    }

    const fn entropy(self, entropy: f32) -> Self {
        Shape { entropy, ..self }
    }

    const fn innocent(self, innocent: &'static [&'static str]) -> Self {
        Shape { innocent, ..self }
    }

    /// Whether these bytes, all that may belong to it, are what follows its prefix.
    pub(super) fn fits(&self, body: &[u8], next: Option<u8>) -> bool {
        let whole = self.max == OPEN || (body.len() <= self.max && !next.is_some_and(|b| b.is_ascii_alphanumeric()));
        let has = match self.has {
            Has::Any => true,
            Has::Digit => digits(body) > 0,
            Has::Mixed => {
                let has = |of: fn(&u8) -> bool| body.iter().any(of);
                is_random(body) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && digits(body) > 0
            }
            Has::Random => is_random(body),
        };
        let joined = self.joint.is_none_or(|joint| body.contains(&joint));
        body.len() >= self.min && whole && has && joined && !is_filler(body) && entropy(body) >= self.entropy
    }
}

/// All of them; where several begin alike, the first that fits tells.
pub(super) const SHAPES: &[Shape] = &[
    // Models
    shape("OpenAI", gitleaks!("openai"), &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"], token, 16, 156)
        .has(Has::Random)
        .innocent(&["sk-proj-your-key-goes-here-please", "sk-proj-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
    shape("Anthropic", gitleaks!("anthropic"), &["sk-ant-"], token, 16, 101)
        .has(Has::Random)
        .innocent(&["sk-ant-api03-your-key-goes-here", "sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxx"]),
    shape("OpenRouter", betterleaks!("openrouter"), &["sk-or-v1-"], token, 16, 64)
        .has(Has::Random)
        .innocent(&["sk-or-v1-your-key-goes-here", "sk-or-v1-..."]),
    shape(
        "Langfuse",
        "https://langfuse.com/docs/api-and-data-platform/features/public-api",
        &["sk-lf-"],
        hex_parts,
        32,
        36,
    ),
    // OpenAI's old ones (sk-…T3BlbkFJ…), DeepSeek, Moonshot, DashScope, LiteLLM: letters alone count from 24 on.
    shape("sk- of many services", trufflehog!("openai"), &["sk-"], token, 16, 48)
        .has(Has::Random)
        .entropy(0.0)
        .innocent(&[
            "sk-fading-circle-container-small",
            "sk-learn-contrib-lightning",
            "sk-your-api-key-goes-here",
            "sk-hynix-earnings-2024-q1",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-container-id-15 sk-estimator-doc-link",
            "sk-0123456789abc",
        ]),
    shape(
        "OpenAI, of a browser",
        "https://platform.openai.com/docs/api-reference/authentication",
        &["sess-"],
        alphanumeric,
        32,
        40,
    )
    .innocent(&["sess-2024-11-12-planning-meeting-notes-final"]),
    shape("Google API key", gitleaks!("gcp"), &["AIza"], token, 30, 35)
        .has(Has::Random)
        .innocent(&["AIzaSyYOUR-KEY-GOES-HERE-AND-NOT-ELSEWHERE"]),
    shape("Google, newer API key", "https://ai.google.dev/gemini-api/docs/api-key", &["AQ."], token, 30, 50)
        .has(Has::Random),
    shape(
        "Google OAuth",
        "https://developers.google.com/identity/protocols/oauth2#size",
        &["ya29.", "GOCSPX-", "1//0"],
        dotted,
        20,
        150,
    )
    .has(Has::Random),
    shape("Hugging Face", gitleaks!("huggingface"), &["hf_", "api_org_"], alphanumeric, 30, 34)
        .has(Has::Any)
        .innocent(&["hf_hub_download_with_progress_and_retries", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
    shape("Groq", gitleaks!("groq"), &["gsk_"], alphanumeric, 30, 52)
        .innocent(&["gsk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
    shape("xAI", trufflehog!("xai"), &["xai-"], |b| alphanumeric(b) || b == b'_', 30, 80)
        .has(Has::Random)
        .innocent(&["xai-xai-tmp-imgen-cec8be61-b894-99a2-b650-ff214ecc89b4-07d9e473.jpeg"]),
    shape("Replicate", trufflehog!("replicate"), &["r8_"], alphanumeric, 30, 37),
    shape("Perplexity", gitleaks!("perplexity"), &["pplx-"], alphanumeric, 30, 48)
        .innocent(&["pplx-7b-online", "pplx-70b-chat-and-many-more-models-2024"]),
    shape("NVIDIA", "https://docs.api.nvidia.com/nim/docs/api-quickstart", &["nvapi-"], token, 40, 64).has(Has::Random),
    shape("Cerebras", betterleaks!("cerebras"), &["csk-"], alphanumeric, 30, 48),
    shape("Fireworks", "https://docs.fireworks.ai/getting-started/quickstart", &["fw_"], alphanumeric, 20, 24)
        .has(Has::Mixed)
        .entropy(3.0)
        .innocent(&["fw_version1update", "fw_rules_for_the_office_network_2024"]),
    shape("Together", "https://docs.together.ai/docs/quickstart", &["tgp_v1_"], token, 30, 43).has(Has::Random),
    shape("Voyage", "https://docs.voyageai.com/docs/api-key-and-installation", &["pa-"], token, 40, 43)
        .has(Has::Mixed)
        .entropy(3.5)
        .innocent(&["pa-2024-11-a-long-story-About-Many-Things-and-more"]),
    shape("Jina", "https://jina.ai/embeddings/", &["jina_"], token, 30, 60)
        .has(Has::Random)
        .innocent(&["jina_embeddings_v3_for_text_matching_tasks"]),
    shape("Tavily", "https://docs.tavily.com/documentation/quickstart", &["tvly-"], token, 20, 36)
        .has(Has::Random)
        .innocent(&["tvly-YOUR_API_KEY_GOES_HERE", "tvly-your-api-key-goes-here"]),
    shape("ElevenLabs", trufflehog!("elevenlabs/v2"), &["sk_"], hex, 48, 48)
        .at_most(48)
        .innocent(&["sk_buff_head_init", "sk_0123456789abcdef"]),
    shape("Pinecone", trufflehog!("pinecone"), &["pcsk_"], token, 40, 69).has(Has::Random),
    shape("LangSmith", gitleaks!("langsmith"), &["lsv2_pt_", "lsv2_sk_"], hex_parts, 30, 43),
    shape("Weights & Biases", trufflehog!("weightsandbiases"), &["wandb_v1_"], token, 40, 77).has(Has::Random),
    // Clouds
    shape(
        "AWS access key id",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
        &["AKIA", "ASIA", "ABIA", "ACCA"],
        upper,
        16,
        16,
    )
    .at_most(16)
    .has(Has::Any)
    .entropy(2.5)
    .innocent(&["ASIAPACIFIC", "AKIAXXXXXXXXXXXXXXXX", "AKIAIOSFODNN7EXAMPLEANDMORE"]),
    shape(
        "Bedrock API key",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html",
        &["ABSK", "bedrock-api-key-"],
        base64,
        40,
        128,
    )
    .has(Has::Random)
    .innocent(&["bedrock-api-key-rotation"]),
    shape("Databricks", gitleaks!("databricks"), &["dapi"], hex, 32, 32).at_most(32),
    shape("DigitalOcean", gitleaks!("digitalocean"), &["dop_v1_", "doo_v1_", "dor_v1_"], hex, 32, 64),
    shape("Cloudflare", betterleaks!("cloudflare"), &["cfut_", "cfat_", "cfk_"], alphanumeric, 30, 48),
    shape("Cloudflare Origin CA", gitleaks!("cloudflare"), &["v1.0-"], hex_parts, 100, 171)
        .innocent(&["v1.0-2024-11-12-beta"]),
    shape("Heroku", gitleaks!("heroku"), &["HRKU-"], token, 30, 60).has(Has::Random),
    shape("Vercel", GITHUB_LIST, &["vcp_", "vci_", "vca_", "vcr_", "vck_"], alphanumeric, 24, 56).has(Has::Mixed),
    shape("Supabase", "https://supabase.com/docs/guides/api/api-keys", &["sbp_", "sb_secret_"], token, 20, 40)
        .has(Has::Random)
        .innocent(&["sb_secret_from_the_dashboard_goes_here"]),
    shape("PlanetScale", gitleaks!("planetscale"), &["pscale_tkn_", "pscale_oauth_", "pscale_pw_"], dotted, 30, 43)
        .has(Has::Random),
    shape("Fly", gitleaks!("flyio"), &["fo1_", "fm1r_", "fm1a_", "fm2_"], base64, 40, 100).has(Has::Random),
    shape("Alibaba access key id", gitleaks!("alibaba"), &["LTAI"], alphanumeric, 16, 20).at_most(24).has(Has::Mixed),
    // Code
    shape("GitHub", gitleaks!("github"), &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], dotted, 30, 36)
        .has(Has::Random)
        .innocent(&["ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "gho_not_a_token_but_a_long_name_of_something"]),
    shape("GitHub, fine-grained", gitleaks!("github"), &["github_pat_"], token, 22, 82)
        .has(Has::Random)
        .innocent(&["github_pat_from_the_settings_page_of_your_account"]),
    shape(
        "GitLab",
        gitleaks!("gitlab"),
        &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-", "glsoat-"],
        dotted,
        20,
        20,
    )
    .entropy(3.0)
    .innocent(&["glpat-your-token-goes-here"]),
    shape("npm", gitleaks!("npm"), &["npm_"], alphanumeric, 30, 36),
    shape("PyPI", gitleaks!("pypi"), &["pypi-AgE"], token, 50, 170)
        .has(Has::Random)
        .innocent(&["pypi-attestations-and-provenance-of-packages-2024", "pypi-AgEIcHlwaS5vcmc"]),
    shape("RubyGems", gitleaks!("rubygems"), &["rubygems_"], hex, 30, 48),
    shape("Docker", betterleaks!("dockerhub"), &["dckr_pat_", "dckr_oat_"], token, 20, 27).has(Has::Random),
    shape("Atlassian", gitleaks!("atlassian"), &["ATATT3", "ATCTT3", "ATBB"], base64, 28, 186)
        .has(Has::Random)
        .entropy(3.0),
    shape("Linear", gitleaks!("linear"), &["lin_api_", "lin_oauth_"], alphanumeric, 30, 40),
    shape("Notion", gitleaks!("notion"), &["ntn_", "secret_"], alphanumeric, 40, 46)
        .entropy(3.0)
        .innocent(&["secret_manager_client_v1", "secret_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
    shape("Airtable", gitleaks!("airtable"), &["pat"], |b| alphanumeric(b) || b == b'.', 60, 79)
        .has(Has::Random)
        .joint(b'.')
        .entropy(3.0)
        .innocent(&[
            "pathpathcontentpatholdTextnewTextcommandpatternpatternpromptnamequerylookupIdquery1",
            "path.to.a.very.long.module.name.that.goes.on.and.on.in.version2.of.it",
        ]),
    shape("Figma", GITHUB_LIST, &["figd_"], token, 30, 40).has(Has::Random),
    shape("Postman", gitleaks!("postman"), &["PMAK-"], hex_parts, 40, 59),
    shape("Pulumi", gitleaks!("pulumi"), &["pul-"], hex, 40, 40).at_most(40),
    shape("Prefect", gitleaks!("prefect"), &["pnu_", "pnb_"], alphanumeric, 36, 36),
    // Secrets, watching, keys
    shape("Vault", gitleaks!("hashicorp_vault"), &["hvs.", "hvb.", "hvr."], token, 24, 95).has(Has::Random),
    shape(
        "Doppler",
        gitleaks!("doppler"),
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."],
        dotted,
        30,
        43,
    )
    .has(Has::Random),
    shape("1Password service account", gitleaks!("1password"), &["ops_eyJ"], base64, 60, 250).has(Has::Random),
    shape("age", gitleaks!("age"), &["AGE-SECRET-KEY-1"], upper, 30, 58).entropy(3.0),
    shape("Sentry", gitleaks!("sentry"), &["sntrys_", "sntryu_"], base64, 40, 150).has(Has::Random),
    shape("Grafana", gitleaks!("grafana"), &["glsa_", "glc_"], base64, 32, 41).has(Has::Random),
    shape("New Relic", gitleaks!("newrelic"), &["NRAK-"], upper, 27, 27),
    shape("PostHog", trufflehog!("posthog"), &["phx_"], alphanumeric, 40, 47),
    shape("Terraform Cloud", gitleaks!("hashicorp"), &["atlasv1."], token, 40, 67).has(Has::Random),
    // Messages
    shape(
        "Slack",
        gitleaks!("slack"),
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxc-", "xoxd-", "xoxe-", "xoxe.", "xapp-"],
        base64,
        10,
        55,
    )
    .innocent(&["xoxb-your-token-goes-here", "xapp-xxxxxxxxxxxx"]),
    shape(
        "Slack, a webhook",
        gitleaks!("slack"),
        &["hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"],
        base64,
        20,
        46,
    )
    .innocent(&["hooks.slack.com/services/"]),
    shape(
        "Discord, a webhook",
        trufflehog!("discordwebhook"),
        &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
        base64,
        40,
        87,
    ),
    shape("SendGrid", gitleaks!("sendgrid"), &["SG."], dotted, 40, 66)
        .has(Has::Random)
        .joint(b'.')
        .innocent(&["SG.Controllers.UserController.GetAllUsersById2.Async"]),
    shape("Twilio", gitleaks!("twilio"), &["SK", "AC"], hex, 32, 32).at_most(32).entropy(3.0).innocent(&[
        "SKU",
        "ACE",
        "AC0123456789abcdef",
        "SK00000000000000000000000000000000",
    ]),
    shape("Mailgun", gitleaks!("mailgun"), &["key-"], hex, 32, 32)
        .at_most(32)
        .entropy(3.0)
        .innocent(&["key-value-store", "key-0123456789abcdef0123456789abcdef0123456789abcdef"]),
    shape("Brevo", gitleaks!("sendinblue"), &["xkeysib-"], token, 40, 81),
    // Money and shops
    shape(
        "Stripe",
        gitleaks!("stripe"),
        &["sk_live_", "sk_test_", "sk_prod_", "rk_live_", "rk_test_", "rk_prod_", "sk_org_live_", "sk_org_test_"],
        token,
        16,
        99,
    )
    .has(Has::Random)
    .innocent(&["sk_test_your_key_goes_here_please", "sk_test_xxxxxxxxxxxxxxxxxxxxxxxx"]),
    shape("Stripe, a webhook", "https://docs.stripe.com/webhooks/signature", &["whsec_"], base64, 24, 32)
        .has(Has::Random),
    shape("Square", gitleaks!("square"), &["sq0atp-", "sq0csp-", "sq0idp-"], token, 20, 22)
        .entropy(3.0)
        .innocent(&["sq0atp-your-token-goes-here"]),
    shape("Shopify", gitleaks!("shopify"), &["shpat_", "shpca_", "shppa_", "shpss_"], hex, 32, 32),
];

#[cfg(test)]
mod tests {
    use super::super::Redactor;
    use super::*;

    /// Bodies of one shape, as real ones are: of its alphabet, with all that it has.
    fn bodies(shape: &Shape, len: usize) -> impl Iterator<Item = String> {
        let alphabet: Vec<char> = (33_u8..127).filter(|b| (shape.body)(*b)).map(char::from).collect();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()]
        };
        let mixed = |body: &str| {
            shape.joint.is_none_or(|joint| body.as_bytes()[1..].contains(&joint))
                && body.bytes().any(|b| b.is_ascii_digit())
                && (!(shape.body)(b'z') || body.bytes().any(|b| b.is_ascii_lowercase()))
                && (!(shape.body)(b'Z') || body.bytes().any(|b| b.is_ascii_uppercase()))
                && body.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        std::iter::repeat_with(move || (0..len).map(|_| next()).collect::<String>()).filter(move |body| mixed(body))
    }

    fn redacted(text: &str) -> String {
        Redactor::default().redact(text).into_owned()
    }

    #[test]
    fn rows_are_well_formed() {
        for shape in SHAPES {
            assert!(!shape.name.is_empty() && shape.source.starts_with("https://"), "{shape:?}");
            assert!(shape.min <= shape.real && shape.real <= shape.max, "{shape:?}");
            assert!(shape.prefixes.iter().all(|p| p.len() >= 2 && p.is_ascii()), "{shape:?}");
        }
    }

    #[test]
    fn keys_of_every_shape_are_found() {
        for shape in SHAPES {
            for prefix in shape.prefixes {
                for body in bodies(shape, shape.real).take(40) {
                    let key = format!("{prefix}{body}");
                    for (before, after) in [
                        ("", ""),
                        ("my key is ", ", ok"),
                        ("x=", "&y"),
                        ("\"", "\""),
                        ("a\\n", "\\n"),
                        ("q=%20", "%20"),
                    ] {
                        let (text, want) = (format!("{before}{key}{after}"), format!("{before}[redacted]{after}"));
                        assert_eq!(redacted(&text), want, "{}: {text}", shape.name);
                    }
                }
            }
        }
    }

    #[test]
    fn what_comes_near_stays() {
        for shape in SHAPES {
            for innocent in shape.innocent {
                assert_eq!(redacted(innocent), *innocent, "{}", shape.name);
            }
            let words: String = "a-word-and-one-more_and.then".chars().filter(|c| (shape.body)(*c as u8)).collect();
            for prefix in shape.prefixes {
                let body = bodies(shape, shape.real).next().unwrap();
                let glued = format!("a{prefix}{body}");
                let filler = "x".repeat(shape.real);
                for near in [
                    format!("{prefix}{}", &body[..shape.min.min(10) - 1]),
                    format!("{prefix}{}", words.repeat(8 / words.len().max(1))),
                    format!("{prefix}{filler}"),
                    format!("{prefix} {body}").replace(&body, ""),
                    prefix.to_string(),
                ] {
                    assert_eq!(redacted(&near), near, "{}", shape.name);
                }
                if prefix.starts_with(|c: char| c.is_ascii_alphanumeric()) && !glued.contains("sk-") {
                    assert_eq!(redacted(&glued), glued, "{}", shape.name);
                }
            }
        }
    }
}
