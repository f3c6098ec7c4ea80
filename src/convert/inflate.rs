//! Compressed bodies.

use miniz_oxide::inflate::{decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit};

/// Longest body that a compressed one may become, in bytes.
const MAX_BODY: usize = 256 << 20;

/// The body without its compression. One that does not look compressed comes back as it is.
///
/// # Errors
/// A compression that is not known, or a body that is damaged; the rest of a sentence about the body.
pub(super) fn inflate(encoding: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let damaged = |e: miniz_oxide::inflate::DecompressError| format!("is no valid {encoding}: {e}");
    match encoding {
        "gzip" | "x-gzip" => match body {
            [0x1f, 0x8b, ..] => {
                let data = after_gzip_header(body).ok_or("is cut within its gzip header")?;
                decompress_to_vec_with_limit(data, MAX_BODY).map_err(damaged)
            }
            plain => Ok(plain.to_vec()),
        },
        "deflate" => match body {
            // Of zlib's two first bytes, the low half of the first says deflate and both are a multiple of 31.
            [first, second, ..] if first & 15 == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31) => {
                decompress_to_vec_zlib_with_limit(body, MAX_BODY).map_err(damaged)
            }
            plain if looks_like_text(plain) => Ok(plain.to_vec()),
            raw => decompress_to_vec_with_limit(raw, MAX_BODY).map_err(damaged),
        },
        _ if looks_like_text(body) => Ok(body.to_vec()),
        other => {
            Err(format!("is compressed by {other:?}, which is not read here: record it with accept-encoding: gzip"))
        }
    }
}

fn looks_like_text(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| !text.contains('\0'))
}

/// The deflated data of a gzip file. <https://www.rfc-editor.org/rfc/rfc1952#section-2.3>
fn after_gzip_header(body: &[u8]) -> Option<&[u8]> {
    const HEADER: usize = 10;
    let flags = *body.get(3)?;
    let mut rest = body.get(HEADER..)?;
    if flags & 0x04 != 0 {
        let extra = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        rest = rest.get(2 + extra..)?;
    }
    // Its name and a comment, each to a zero byte.
    for flag in [0x08, 0x10] {
        if flags & flag != 0 {
            rest = rest.get(memchr::memchr(0, rest)? + 1..)?;
        }
    }
    if flags & 0x02 != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};

    fn gzip(flags: u8, extra: &[u8], text: &[u8]) -> Vec<u8> {
        [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], extra, &compress_to_vec(text, 6), &[0; 8]].concat()
    }

    #[test]
    fn what_is_compressed_and_what_only_says_so() {
        let text = b"{\"a\": 1}";
        for (encoding, body) in [
            ("gzip", gzip(0, b"", text)),
            ("gzip", gzip(0x1e, b"\x02\0xxname\0comment\0hh", text)),
            ("gzip", text.to_vec()),
            ("deflate", compress_to_vec_zlib(text, 6)),
            ("deflate", compress_to_vec(text, 6)),
            ("deflate", text.to_vec()),
            ("br", text.to_vec()),
        ] {
            assert_eq!(inflate(encoding, &body).as_deref(), Ok(&text[..]), "{encoding} {body:?}");
        }
        assert!(inflate("br", b"\xff\0").unwrap_err().contains("\"br\""));
        assert!(inflate("gzip", b"\x1f\x8b\x08").is_err());
        assert!(inflate("gzip", &gzip(0, b"", text)[..14]).is_err());
    }
}
