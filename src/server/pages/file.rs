//! A file as a browser gets it: compressed if it can read that, not at all if it has it already,
//! and with what the browser is to hold its page to.

use std::sync::OnceLock;

use crate::deflate;
use crate::hex;
use crate::net::{Bytes, RequestHead, Response};
use crate::nostr::verify::digest;

/// A file for browsers. What it takes to send it is done when it is asked for the first time.
#[derive(Debug)]
pub(in crate::server) struct File {
    media_type: &'static str,
    plain: Bytes,
    prepared: OnceLock<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    gzip: Bytes,
    /// Names these contents, however they are sent.
    tag: String,
}

impl File {
    /// Makes a file of these bytes.
    pub(in crate::server) fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> File {
        File { media_type, plain: bytes.into(), prepared: OnceLock::new() }
    }

    /// Returns what to answer to a GET or HEAD for this file.
    pub(in crate::server) fn answer(&self, request: &RequestHead) -> Response {
        let Prepared { gzip, tag } = self.prepared.get_or_init(|| Prepared::of(&self.plain));
        let mut headers = vec![
            ("etag", tag.clone()),
            // Another version of the relay has other files at the same paths.
            ("cache-control", "no-cache".to_owned()),
            ("vary", "Accept, Accept-Encoding".to_owned()),
        ];
        headers.extend(HELD_TO.map(|(name, value)| (name, value.to_owned())));
        if request.knows(tag) {
            return Response { status: 304, headers, body: Bytes::new() };
        }
        headers.push(("content-type", self.media_type.to_owned()));
        let mut body = self.plain.clone();
        if request.accepts_coding("gzip") && gzip.len() < body.len() {
            headers.push(("content-encoding", "gzip".to_owned()));
            body = gzip.clone();
        }
        Response { status: 200, headers, body }
    }
}

impl Prepared {
    fn of(plain: &[u8]) -> Prepared {
        let mut digits = [0; 2 * TAG_BYTES];
        hex::encode(&digest(plain)[..TAG_BYTES], &mut digits);
        let tag = format!("W/\"{}\"", String::from_utf8_lossy(&digits));
        Prepared { gzip: Bytes::from(deflate::gzip(plain)), tag }
    }
}

/// What a browser holds every page of this relay to.
const HELD_TO: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];
/// As many bytes of the hash as tell contents apart.
const TAG_BYTES: usize = 12;
