//! What the name of a value tells of it.

use std::sync::LazyLock;

/// Longest name that is read; of a longer one, its end, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 64;

/// Shortest ending that is known without a word's beginning before it, in bytes.
const MIN_GLUED_BYTES: usize = 6;

/// What a value must look like to be a secret under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `authorization`: a key, after its scheme.
    Authorization,
    /// `cookie`: pairs, one of which holds a key.
    Cookie,
    /// `password`.
    Password,
    /// `api_key`, `client_secret`, `access_token`.
    Key,
    /// `token`, `auth`: what they hold may be no secret, so it must be random.
    Token,
    /// `sig`, `code`: the same, and in a URL alone.
    InUrl,
}

/// What names end in, a `_` between words. Singular: `api_keys` is read as `api_key`.
const ENDINGS: &[(Kind, &str)] = &[
    (Kind::Authorization, "authorization"),
    (Kind::Cookie, "cookie"),
    (Kind::Password, "password passwd passphrase pwd db_pass database_pass user_pass admin_pass root_pass smtp_pass"),
    (
        Kind::Key,
        "secret apikey api_key access_key accesskey account_key admin_key auth_key encryption_key functions_key license_key \
         master_key private_key secret_key secretkey service_key service_role_key shared_key signing_key subscription_key \
         access_token accesstoken api_token auth_token authtoken authorization_token bearer_token bot_token csrf_token \
         deploy_token id_token oauth_token personal_token private_token refresh_token secret_token security_token \
         service_token session_token user_token vault_token",
    ),
    (Kind::Token, "token auth bearer credential jwt"),
    (Kind::InUrl, "sig signature hmac code session session_id sessionid sid key pass"),
];

/// Each of them, the longer of two that end alike first.
static EACH_ENDING: LazyLock<Vec<(&str, Kind)>> = LazyLock::new(|| {
    let each = |(kind, all): &(Kind, &'static str)| all.split(' ').map(|ending| (ending, *kind)).collect::<Vec<_>>();
    let mut endings: Vec<_> = ENDINGS.iter().flat_map(each).collect();
    endings.sort_by_key(|(ending, _)| std::cmp::Reverse(ending.len()));
    endings
});

/// What stands before `token` where it is a place in a list, a piece of a text or how many there are.
const NO_SECRET_TOKENS: &str = "page next prev previous continuation sync resume cursor skip start end stop eos bos pad unk \
    sep cls mask special max min total change first last per prompt completion input output image text audio reasoning \
    thinking idempotency";

/// Whose keys and tokens have no shape, or had none: `azure_key`, `COHERE_TOKEN`.
const OWNERS: &str = "azure openai anthropic claude gemini google cohere mistral together groq deepseek deepgram assemblyai \
    elevenlabs pinecone voyage jina tavily serper serpapi bing brave exa vercel cloudflare heroku netlify github gitlab slack \
    stripe twilio sendgrid mailgun datadog sentry airtable notion linear jira okta aws gcp hf replicate fireworks perplexity \
    cerebras openrouter langsmith langchain wandb npm pypi discord telegram supabase";

/// What stands before `KEY` in names of settings that are no secret.
const NO_SECRET_KEYS: &str = "public primary foreign partition sort cache idempotency object map row index hash lookup unique \
    group dedupe dedup routing column field event host message bucket s3 redis join storage file path item entity record \
    document config version publishable gpg pgp";

/// What is told by a name; `None` where it names no secret.
pub(super) fn kind(name: &[u8]) -> Option<Kind> {
    if !may_end_so(name) {
        return None;
    }
    let mut buffer = [0; 2 * MAX_NAME_BYTES];
    let words = words(name, &mut buffer);
    let one = words.strip_suffix('s').filter(|one| !one.ends_with('s'));
    let (words, plural) = (one.unwrap_or(words), one.is_some());
    let (ending, kind, before) =
        EACH_ENDING.iter().find_map(|(ending, kind)| Some((*ending, *kind, ends_in(words, ending)?)))?;
    let none = match ending {
        "token" => NO_SECRET_TOKENS,
        "key" => NO_SECRET_KEYS,
        "pass" => "",
        _ => return Some(kind),
    };
    let is_one_of = |all: &str, word: &str| all.split_whitespace().any(|one| one == word);
    let last = before.rsplit('_').next().unwrap_or("");
    let owned = before.split('_').any(|word| is_one_of(OWNERS, word));
    let setting = !last.is_empty() && !name.iter().any(u8::is_ascii_lowercase);
    match ending {
        _ if plural || is_one_of(none, last) => None,
        "pass" if setting => Some(Kind::Password),
        "token" | "key" if owned || setting => Some(Kind::Key),
        _ if last.is_empty() || last == "x" => Some(kind),
        _ => None, // of a list, of an upload: its client needs it as it is
    }
}

/// A look at the end of a name that rules out nearly all.
pub(super) fn may_end_so(name: &[u8]) -> bool {
    let [.., a, b, c] = name else { return false };
    let before = name.len().checked_sub(4).map_or(b'_', |at| name[at].to_ascii_lowercase());
    match &[a, b, c].map(|byte| byte.to_ascii_lowercase()) {
        b"key" | b"eys" | b"ken" | b"ens" | b"ret" | b"ets" | b"swd" | b"pwd" | b"uth" | b"rer" | b"jwt" | b"sig"
        | b"mac" | b"nid" | b"sid" => true,
        b"ord" | b"rds" => before == b'w' || before == b'o',
        b"ass" => before == b'p',
        b"ase" => before == b'r',
        b"ion" => matches!(before, b't' | b's'),
        b"kie" => before == b'o',
        b"ies" => before == b'k',
        b"ial" => before == b't',
        b"als" => before == b'i',
        b"ure" => before == b't',
        b"ode" => before == b'c',
        b"_id" | b"-id" => before == b'n',
        _ => false,
    }
}

/// What stands before the ending. Only a long one may be glued to it: `pgpassword`, but not `turkey`.
fn ends_in<'w>(words: &'w str, ending: &str) -> Option<&'w str> {
    let before = words.strip_suffix(ending)?;
    if before.is_empty() || ending.len() >= MIN_GLUED_BYTES { Some(before) } else { before.strip_suffix('_') }
}

/// A name's words in lower case, `_` between them: `apiKey`, `API-Key` and `api key` are `api_key`.
fn words<'b>(name: &[u8], buffer: &'b mut [u8; 2 * MAX_NAME_BYTES]) -> &'b str {
    let name = &name[name.len().saturating_sub(MAX_NAME_BYTES)..];
    let mut len = 0;
    for (i, byte) in name.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| name[i]);
        let follows_small = before.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let begins_word = before.is_some_and(|b| b.is_ascii_uppercase())
            && name.get(i + 1).is_some_and(|b| b.is_ascii_lowercase() && *b != b's');
        if byte.is_ascii_uppercase() && (follows_small || begins_word) {
            buffer[len] = b'_';
            len += 1;
        }
        buffer[len] = if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
        len += 1;
    }
    std::str::from_utf8(&buffer[..len]).unwrap_or("").trim_start_matches('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for (names, want) in [
            ("api_key apiKey API-Key APIKey x-api-key OPENAI_API_KEY openaiApiKey api-keys apikey", Kind::Key),
            ("secret client_secret clientSecret SecretAccessKey aws_secret_access_key AccountKey", Kind::Key),
            (
                "access_token accessToken _authToken GITHUB_TOKEN hf_token X-Amz-Security-Token AZURE_KEY azure_key",
                Kind::Key,
            ),
            ("Ocp-Apim-Subscription-Key subscription-key COHERE_KEY MY_SERVICE_KEY", Kind::Key),
            ("password PGPASSWORD db_pass DB_PASS MYSQL_PASS userPassword passwd pwd", Kind::Password),
            ("token x_token auth credentials", Kind::Token),
            ("sig X-Amz-Signature code key sessionid pass PASS", Kind::InUrl),
            ("Authorization proxy-authorization helicone_authorization", Kind::Authorization),
            ("Cookie set-cookie", Kind::Cookie),
        ] {
            for name in names.split(' ') {
                assert_eq!(kind(name.as_bytes()), Some(want), "{name}");
            }
        }
    }

    #[test]
    fn names_of_other_things() {
        for name in "max_tokens tokens maxTokens nextPageToken next_token page_token monkey turkey compass tokenizer key_id \
                     cache_key tests_pass PUBLIC_KEY GPG_KEY class description CACHE_KEY primary_key itemKey passwordHash secretName token_count content role author \
                     authors bypass keys turnToken upload-token accessKeyId eos_token prompt_cache_key idempotency-key keyword broken barcode_x"
            .split_whitespace()
        {
            assert_eq!(kind(name.as_bytes()), None, "{name}");
        }
    }
}
