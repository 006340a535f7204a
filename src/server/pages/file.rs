//! A file as a browser gets it: compressed if it can read that, not at all if it has it already,
//! and with what the browser is to hold its page to.

use crate::deflate;
use crate::hex;
use crate::net::{Bytes, RequestHead, Response};
use crate::nostr::verify::digest;

/// A file that was prepared to be sent.
#[derive(Clone, Debug)]
pub(in crate::server) struct File {
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
    /// Names these contents, however they are sent.
    tag: String,
}

impl File {
    /// Prepares a file.
    pub(in crate::server) fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> File {
        let plain = bytes.into();
        let gzip = Bytes::from(deflate::gzip(&plain));
        let mut digits = [0; 2 * TAG_BYTES];
        hex::encode(&digest(&plain)[..TAG_BYTES], &mut digits);
        let tag = format!("W/\"{}\"", String::from_utf8_lossy(&digits));
        File { media_type, plain, gzip, tag }
    }

    /// Returns what to answer to a GET or HEAD for this file.
    pub(in crate::server) fn answer(&self, request: &RequestHead) -> Response {
        let mut headers = vec![
            ("etag", self.tag.clone()),
            // Another version of the relay has other files at the same paths.
            ("cache-control", "no-cache".to_owned()),
            ("vary", "Accept, Accept-Encoding".to_owned()),
        ];
        headers.extend(HELD_TO.map(|(name, value)| (name, value.to_owned())));
        if request.knows(&self.tag) {
            return Response { status: 304, headers, body: Bytes::new() };
        }
        headers.push(("content-type", self.media_type.to_owned()));
        let mut body = self.plain.clone();
        if request.accepts_coding("gzip") && self.gzip.len() < self.plain.len() {
            headers.push(("content-encoding", "gzip".to_owned()));
            body = self.gzip.clone();
        }
        Response { status: 200, headers, body }
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
