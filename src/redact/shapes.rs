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

/// What most rows have.
const SHAPE: Shape = Shape {
    name: "",
    source: "",
    prefixes: &[],
    body: alphanumeric,
    min: 20,
    max: OPEN,
    real: 40,
    has: Has::Digit,
    entropy: 2.0,
    innocent: &[],
};

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
        body.len() >= self.min && whole && has && !is_filler(body) && entropy(body) >= self.entropy
    }
}

/// All of them; where several begin alike, the first that fits tells.
pub(super) const SHAPES: &[Shape] = &[
    // Models
    Shape {
        name: "OpenAI",
        source: gitleaks!("openai"),
        prefixes: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"],
        body: token,
        min: 16,
        real: 156,
        has: Has::Random,
        innocent: &["sk-proj-your-key-goes-here-please", "sk-proj-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "Anthropic",
        source: gitleaks!("anthropic"),
        prefixes: &["sk-ant-"],
        body: token,
        min: 16,
        real: 101,
        has: Has::Random,
        innocent: &["sk-ant-api03-your-key-goes-here", "sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "OpenRouter",
        source: betterleaks!("openrouter"),
        prefixes: &["sk-or-v1-"],
        min: 16,
        real: 64,
        body: token,
        has: Has::Random,
        innocent: &["sk-or-v1-your-key-goes-here", "sk-or-v1-..."],
        ..SHAPE
    },
    Shape {
        name: "Langfuse",
        source: "https://langfuse.com/docs/api-and-data-platform/features/public-api",
        prefixes: &["sk-lf-"],
        body: hex_parts,
        min: 32,
        real: 36,
        ..SHAPE
    },
    Shape {
        // OpenAI's old ones (sk-…T3BlbkFJ…), DeepSeek, Moonshot, DashScope, LiteLLM: letters alone count from 24 on.
        name: "sk- of many services",
        source: trufflehog!("openai"),
        prefixes: &["sk-"],
        body: token,
        min: 16,
        real: 48,
        has: Has::Random,
        entropy: 0.0,
        innocent: &[
            "sk-fading-circle-container-small",
            "sk-learn-contrib-lightning",
            "sk-your-api-key-goes-here",
            "sk-hynix-earnings-2024-q1",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-container-id-15 sk-estimator-doc-link",
            "sk-0123456789abc",
        ],
        ..SHAPE
    },
    Shape {
        name: "OpenAI, of a browser",
        source: "https://platform.openai.com/docs/api-reference/authentication",
        prefixes: &["sess-"],
        min: 32,
        innocent: &["sess-2024-11-12-planning-meeting-notes-final"],
        ..SHAPE
    },
    Shape {
        name: "Google API key",
        source: gitleaks!("gcp"),
        prefixes: &["AIza"],
        body: token,
        min: 30,
        real: 35,
        has: Has::Random,
        innocent: &["AIzaSyYOUR-KEY-GOES-HERE-AND-NOT-ELSEWHERE"],
        ..SHAPE
    },
    Shape {
        name: "Google, newer API key",
        source: "https://ai.google.dev/gemini-api/docs/api-key",
        prefixes: &["AQ."],
        body: token,
        min: 30,
        real: 50,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Google OAuth",
        source: "https://developers.google.com/identity/protocols/oauth2#size",
        prefixes: &["ya29.", "GOCSPX-", "1//0"],
        body: dotted,
        min: 20,
        real: 150,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Hugging Face",
        source: gitleaks!("huggingface"),
        prefixes: &["hf_", "api_org_"],
        min: 30,
        real: 34,
        has: Has::Any,
        innocent: &["hf_hub_download_with_progress_and_retries", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "Groq",
        source: gitleaks!("groq"),
        prefixes: &["gsk_"],
        min: 30,
        real: 52,
        innocent: &["gsk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "xAI",
        source: trufflehog!("xai"),
        prefixes: &["xai-"],
        min: 30,
        real: 80,
        innocent: &["xai-xai-tmp-imgen-cec8be61-b894-99a2-b650-ff214ecc89b4-07d9e473.jpeg"],
        ..SHAPE
    },
    Shape { name: "Replicate", source: trufflehog!("replicate"), prefixes: &["r8_"], min: 30, real: 37, ..SHAPE },
    Shape {
        name: "Perplexity",
        source: gitleaks!("perplexity"),
        prefixes: &["pplx-"],
        min: 30,
        real: 48,
        innocent: &["pplx-7b-online", "pplx-70b-chat-and-many-more-models-2024"],
        ..SHAPE
    },
    Shape {
        name: "NVIDIA",
        source: "https://docs.api.nvidia.com/nim/docs/api-quickstart",
        prefixes: &["nvapi-"],
        body: token,
        min: 40,
        real: 64,
        has: Has::Random,
        ..SHAPE
    },
    Shape { name: "Cerebras", source: betterleaks!("cerebras"), prefixes: &["csk-"], min: 30, real: 48, ..SHAPE },
    Shape {
        name: "Fireworks",
        source: "https://docs.fireworks.ai/getting-started/quickstart",
        prefixes: &["fw_"],
        min: 20,
        real: 24,
        has: Has::Mixed,
        entropy: 3.0,
        innocent: &["fw_version1update", "fw_rules_for_the_office_network_2024"],
        ..SHAPE
    },
    Shape {
        name: "Together",
        source: "https://docs.together.ai/docs/quickstart",
        prefixes: &["tgp_v1_"],
        body: token,
        min: 30,
        real: 43,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Voyage",
        source: "https://docs.voyageai.com/docs/api-key-and-installation",
        prefixes: &["pa-"],
        body: token,
        min: 40,
        real: 43,
        has: Has::Mixed,
        entropy: 3.5,
        innocent: &["pa-2024-11-a-long-story-About-Many-Things-and-more"],
        ..SHAPE
    },
    Shape {
        name: "Jina",
        source: "https://jina.ai/embeddings/",
        prefixes: &["jina_"],
        min: 30,
        real: 60,
        body: token,
        has: Has::Random,
        innocent: &["jina_embeddings_v3_for_text_matching_tasks"],
        ..SHAPE
    },
    Shape {
        name: "Tavily",
        source: "https://docs.tavily.com/documentation/quickstart",
        prefixes: &["tvly-"],
        body: token,
        min: 20,
        real: 36,
        has: Has::Random,
        innocent: &["tvly-YOUR_API_KEY_GOES_HERE", "tvly-your-api-key-goes-here"],
        ..SHAPE
    },
    Shape {
        name: "ElevenLabs",
        source: trufflehog!("elevenlabs/v2"),
        prefixes: &["sk_"],
        body: hex,
        min: 48,
        max: 48,
        real: 48,
        innocent: &["sk_buff_head_init", "sk_0123456789abcdef"],
        ..SHAPE
    },
    Shape {
        name: "Pinecone",
        source: trufflehog!("pinecone"),
        prefixes: &["pcsk_"],
        body: token,
        min: 40,
        real: 69,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "LangSmith",
        source: gitleaks!("langsmith"),
        prefixes: &["lsv2_pt_", "lsv2_sk_"],
        body: hex_parts,
        min: 30,
        real: 43,
        ..SHAPE
    },
    Shape {
        name: "Weights & Biases",
        source: trufflehog!("weightsandbiases"),
        prefixes: &["wandb_v1_"],
        body: token,
        min: 40,
        real: 77,
        has: Has::Random,
        ..SHAPE
    },
    // Clouds
    Shape {
        name: "AWS access key id",
        source: "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
        prefixes: &["AKIA", "ASIA", "ABIA", "ACCA"],
        body: upper,
        min: 16,
        max: 16,
        real: 16,
        has: Has::Any,
        entropy: 2.5,
        innocent: &["ASIAPACIFIC", "AKIAXXXXXXXXXXXXXXXX", "AKIAIOSFODNN7EXAMPLEANDMORE"],
        ..SHAPE
    },
    Shape {
        name: "Bedrock API key",
        source: "https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html",
        prefixes: &["ABSK", "bedrock-api-key-"],
        body: base64,
        min: 40,
        real: 128,
        has: Has::Random,
        innocent: &["bedrock-api-key-rotation"],
        ..SHAPE
    },
    Shape {
        name: "Databricks",
        source: gitleaks!("databricks"),
        prefixes: &["dapi"],
        body: hex,
        min: 32,
        max: 32,
        real: 32,
        ..SHAPE
    },
    Shape {
        name: "DigitalOcean",
        source: gitleaks!("digitalocean"),
        prefixes: &["dop_v1_", "doo_v1_", "dor_v1_"],
        body: hex,
        min: 32,
        real: 64,
        ..SHAPE
    },
    Shape {
        name: "Cloudflare",
        source: betterleaks!("cloudflare"),
        prefixes: &["cfut_", "cfat_", "cfk_"],
        min: 30,
        real: 48,
        ..SHAPE
    },
    Shape {
        name: "Cloudflare Origin CA",
        source: gitleaks!("cloudflare"),
        prefixes: &["v1.0-"],
        body: hex_parts,
        min: 100,
        real: 171,
        innocent: &["v1.0-2024-11-12-beta"],
        ..SHAPE
    },
    Shape {
        name: "Heroku",
        source: gitleaks!("heroku"),
        prefixes: &["HRKU-"],
        body: token,
        min: 30,
        real: 60,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Vercel",
        source: GITHUB_LIST,
        prefixes: &["vcp_", "vci_", "vca_", "vcr_", "vck_"],
        min: 24,
        real: 56,
        has: Has::Mixed,
        ..SHAPE
    },
    Shape {
        name: "Supabase",
        source: "https://supabase.com/docs/guides/api/api-keys",
        prefixes: &["sbp_", "sb_secret_"],
        body: token,
        min: 20,
        real: 40,
        has: Has::Random,
        innocent: &["sb_secret_from_the_dashboard_goes_here"],
        ..SHAPE
    },
    Shape {
        name: "PlanetScale",
        source: gitleaks!("planetscale"),
        prefixes: &["pscale_tkn_", "pscale_oauth_", "pscale_pw_"],
        body: dotted,
        min: 30,
        real: 43,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Fly",
        source: gitleaks!("flyio"),
        prefixes: &["fo1_", "fm1r_", "fm1a_", "fm2_"],
        body: base64,
        min: 40,
        real: 100,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Alibaba access key id",
        source: gitleaks!("alibaba"),
        prefixes: &["LTAI"],
        min: 16,
        max: 24,
        real: 20,
        has: Has::Mixed,
        ..SHAPE
    },
    // Code
    Shape {
        name: "GitHub",
        source: gitleaks!("github"),
        prefixes: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        body: token,
        min: 30,
        real: 36,
        has: Has::Random,
        innocent: &["ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "gho_not_a_token_but_a_long_name_of_something"],
        ..SHAPE
    },
    Shape {
        name: "GitHub, fine-grained",
        source: gitleaks!("github"),
        prefixes: &["github_pat_"],
        body: token,
        min: 22,
        real: 82,
        has: Has::Random,
        innocent: &["github_pat_from_the_settings_page_of_your_account"],
        ..SHAPE
    },
    Shape {
        name: "GitLab",
        source: gitleaks!("gitlab"),
        prefixes: &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-", "glsoat-"],
        body: dotted,
        min: 20,
        real: 20,
        entropy: 3.0,
        innocent: &["glpat-your-token-goes-here"],
        ..SHAPE
    },
    Shape { name: "npm", source: gitleaks!("npm"), prefixes: &["npm_"], min: 30, real: 36, ..SHAPE },
    Shape {
        name: "PyPI",
        source: gitleaks!("pypi"),
        prefixes: &["pypi-AgE"],
        body: token,
        min: 50,
        real: 170,
        has: Has::Random,
        innocent: &["pypi-attestations-and-provenance-of-packages-2024", "pypi-AgEIcHlwaS5vcmc"],
        ..SHAPE
    },
    Shape {
        name: "RubyGems",
        source: gitleaks!("rubygems"),
        prefixes: &["rubygems_"],
        body: hex,
        min: 30,
        real: 48,
        ..SHAPE
    },
    Shape {
        name: "Docker",
        source: betterleaks!("dockerhub"),
        prefixes: &["dckr_pat_", "dckr_oat_"],
        body: token,
        min: 20,
        real: 27,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Atlassian",
        source: gitleaks!("atlassian"),
        prefixes: &["ATATT3", "ATCTT3", "ATBB"],
        body: base64,
        min: 28,
        real: 186,
        has: Has::Random,
        entropy: 3.0,
        ..SHAPE
    },
    Shape {
        name: "Linear",
        source: gitleaks!("linear"),
        prefixes: &["lin_api_", "lin_oauth_"],
        min: 30,
        real: 40,
        ..SHAPE
    },
    Shape {
        name: "Notion",
        source: gitleaks!("notion"),
        prefixes: &["ntn_", "secret_"],
        min: 40,
        real: 46,
        entropy: 3.0,
        innocent: &["secret_manager_client_v1", "secret_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "Airtable",
        source: gitleaks!("airtable"),
        prefixes: &["pat"],
        body: |b| alphanumeric(b) || b == b'.',
        min: 60,
        real: 79,
        has: Has::Random,
        entropy: 3.0,
        innocent: &["path.to.a.very.long.module.name.that.goes.on.and.on.in.version2.of.it"],
        ..SHAPE
    },
    Shape {
        name: "Figma",
        source: GITHUB_LIST,
        prefixes: &["figd_"],
        body: token,
        min: 30,
        real: 40,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Postman",
        source: gitleaks!("postman"),
        prefixes: &["PMAK-"],
        body: hex_parts,
        min: 40,
        real: 59,
        ..SHAPE
    },
    Shape { name: "Pulumi", source: gitleaks!("pulumi"), prefixes: &["pul-"], body: hex, min: 40, max: 40, ..SHAPE },
    Shape { name: "Prefect", source: gitleaks!("prefect"), prefixes: &["pnu_", "pnb_"], min: 36, real: 36, ..SHAPE },
    // Secrets, watching, keys
    Shape {
        name: "Vault",
        source: gitleaks!("hashicorp_vault"),
        prefixes: &["hvs.", "hvb.", "hvr."],
        body: token,
        min: 24,
        real: 95,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Doppler",
        source: gitleaks!("doppler"),
        prefixes: &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."],
        body: dotted,
        min: 30,
        real: 43,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "1Password service account",
        source: gitleaks!("1password"),
        prefixes: &["ops_eyJ"],
        body: base64,
        min: 60,
        real: 250,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "age",
        source: gitleaks!("age"),
        prefixes: &["AGE-SECRET-KEY-1"],
        body: upper,
        min: 30,
        real: 58,
        entropy: 3.0,
        ..SHAPE
    },
    Shape {
        name: "Sentry",
        source: gitleaks!("sentry"),
        prefixes: &["sntrys_", "sntryu_"],
        body: base64,
        min: 40,
        real: 150,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Grafana",
        source: gitleaks!("grafana"),
        prefixes: &["glsa_", "glc_"],
        body: base64,
        min: 32,
        real: 41,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "New Relic",
        source: gitleaks!("newrelic"),
        prefixes: &["NRAK-"],
        body: upper,
        min: 27,
        real: 27,
        ..SHAPE
    },
    Shape { name: "PostHog", source: trufflehog!("posthog"), prefixes: &["phx_"], min: 40, real: 47, ..SHAPE },
    Shape {
        name: "Terraform Cloud",
        source: gitleaks!("hashicorp"),
        prefixes: &["atlasv1."],
        body: token,
        min: 40,
        real: 67,
        has: Has::Random,
        ..SHAPE
    },
    // Messages
    Shape {
        name: "Slack",
        source: gitleaks!("slack"),
        prefixes: &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxc-", "xoxd-", "xoxe-", "xoxe.", "xapp-"],
        body: base64,
        min: 10,
        real: 55,
        innocent: &["xoxb-your-token-goes-here", "xapp-xxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "Slack, a webhook",
        source: gitleaks!("slack"),
        prefixes: &["hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"],
        body: base64,
        min: 20,
        real: 46,
        innocent: &["hooks.slack.com/services/"],
        ..SHAPE
    },
    Shape {
        name: "Discord, a webhook",
        source: trufflehog!("discordwebhook"),
        prefixes: &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
        body: base64,
        min: 40,
        real: 87,
        ..SHAPE
    },
    Shape {
        name: "SendGrid",
        source: gitleaks!("sendgrid"),
        prefixes: &["SG."],
        body: dotted,
        min: 40,
        real: 66,
        has: Has::Random,
        innocent: &["SG.Controllers.UserController.GetAllUsersById2.Async"],
        ..SHAPE
    },
    Shape {
        name: "Twilio",
        source: gitleaks!("twilio"),
        prefixes: &["SK", "AC"],
        body: hex,
        min: 32,
        max: 32,
        real: 32,
        entropy: 3.0,
        innocent: &["SKU", "ACE", "AC0123456789abcdef", "SK00000000000000000000000000000000"],
        ..SHAPE
    },
    Shape {
        name: "Mailgun",
        source: gitleaks!("mailgun"),
        prefixes: &["key-"],
        body: hex,
        min: 32,
        max: 32,
        real: 32,
        entropy: 3.0,
        innocent: &["key-value-store", "key-0123456789abcdef0123456789abcdef0123456789abcdef"],
        ..SHAPE
    },
    Shape {
        name: "Brevo",
        source: gitleaks!("sendinblue"),
        prefixes: &["xkeysib-"],
        body: token,
        min: 40,
        real: 81,
        ..SHAPE
    },
    // Money and shops
    Shape {
        name: "Stripe",
        source: gitleaks!("stripe"),
        prefixes: &[
            "sk_live_",
            "sk_test_",
            "sk_prod_",
            "rk_live_",
            "rk_test_",
            "rk_prod_",
            "sk_org_live_",
            "sk_org_test_",
        ],
        body: token,
        min: 16,
        real: 99,
        has: Has::Random,
        innocent: &["sk_test_your_key_goes_here_please", "sk_test_xxxxxxxxxxxxxxxxxxxxxxxx"],
        ..SHAPE
    },
    Shape {
        name: "Stripe, a webhook",
        source: "https://docs.stripe.com/webhooks/signature",
        prefixes: &["whsec_"],
        body: base64,
        min: 24,
        real: 32,
        has: Has::Random,
        ..SHAPE
    },
    Shape {
        name: "Square",
        source: gitleaks!("squareup"),
        prefixes: &["sq0atp-", "sq0csp-", "sq0idp-"],
        body: token,
        min: 20,
        real: 22,
        entropy: 3.0,
        innocent: &["sq0atp-your-token-goes-here"],
        ..SHAPE
    },
    Shape {
        name: "Square access token",
        source: gitleaks!("squareup"),
        prefixes: &["EAAA"],
        body: token,
        min: 58,
        max: 62,
        real: 60,
        has: Has::Mixed,
        entropy: 3.5,
        ..SHAPE
    },
    Shape {
        name: "Shopify",
        source: gitleaks!("shopify"),
        prefixes: &["shpat_", "shpca_", "shppa_", "shpss_"],
        body: hex,
        min: 32,
        real: 32,
        ..SHAPE
    },
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
            body.bytes().any(|b| b.is_ascii_digit())
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
