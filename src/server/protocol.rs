//! What a client speaks, by its first bytes.

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1, or what will be found to be none.
    Http1,
    /// HTTP/2 with prior knowledge. <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>
    Http2,
    /// TLS. <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>
    Tls,
}

/// How HTTP/2 begins: `PRI` is no method of HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of the preface that tell it from any request of HTTP/1.
const PREFACE_TELLS: usize = "PRI ".len();

/// A TLS record that is part of a handshake.
const HANDSHAKE: u8 = 0x16;

impl Protocol {
    /// What begins like this.
    pub fn of(first: &[u8]) -> Self {
        let told = &first[..first.len().min(PREFACE.len())];
        match first {
            [HANDSHAKE, 3, ..] => Protocol::Tls,
            _ if told.len() >= PREFACE_TELLS && PREFACE.starts_with(told) => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }

    /// What the log says, once, of a client that speaks what is not understood here.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            Protocol::Http1 => None,
            Protocol::Http2 => Some("a client speaks HTTP/2, which is not understood here: have it speak HTTP/1.1"),
            Protocol::Tls => {
                Some("a client speaks TLS, which is not understood here: give it an http:// URL, not https://")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (first, protocol) in [
            (&b"POST /v1/chat/completions HTTP/1.1\r\n"[..], Protocol::Http1),
            (b"P", Protocol::Http1),
            (b"PRINT / HTTP/1.1\r\n", Protocol::Http1),
            (b"PRI * HTTP/1.1\r\n", Protocol::Http1),
            (b"PRI ", Protocol::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04", Protocol::Http2),
            (b"\x16\x03\x01\x02\x00", Protocol::Tls),
            (b"\x16", Protocol::Http1),
            (b"", Protocol::Http1),
        ] {
            assert_eq!(Protocol::of(first), protocol, "{first:?}");
        }
    }
}
