//! Thought signatures are bytes, which the wire writes as base64: an official SDK fails on text that is none.
//! <https://ai.google.dev/gemini-api/docs/thought-signatures>

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);

/// What stands before a signature that was not base64, so that it can be told when it comes back.
const FOREIGN: &[u8] = b"aimock:";

/// A signature as the wire takes it: itself where it is base64, as those of providers are, else wrapped.
pub(super) fn out(signature: &str) -> Cow<'_, str> {
    if BASE64.decode(signature).is_ok() || BASE64_URL.decode(signature).is_ok() {
        Cow::Borrowed(signature)
    } else {
        Cow::Owned(BASE64.encode([FOREIGN, signature.as_bytes()].concat()))
    }
}

/// A signature from the wire, unwrapped where [`out`] had wrapped it.
pub(super) fn back(signature: &str) -> String {
    let wrapped = || String::from_utf8(BASE64.decode(signature).ok()?.strip_prefix(FOREIGN)?.to_vec()).ok();
    let may_be = signature.starts_with("YWltb2Nr"); // the first six bytes of `FOREIGN`
    may_be.then(wrapped).flatten().unwrap_or_else(|| signature.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_stays_and_other_text_is_wrapped() {
        for own in ["YWJj", "ErcB+/8=", "gAAAA_-x", "abc"] {
            assert_eq!((&*out(own), back(own).as_str()), (own, own));
        }
        for foreign in ["sig-1", "s1", "not base64!", "é"] {
            let sent = out(foreign);
            assert!(BASE64.decode(&*sent).is_ok(), "{sent}");
            assert_eq!(back(&sent), foreign);
        }
    }
}
