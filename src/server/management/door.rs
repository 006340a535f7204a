//! The way in over HTTP: who calls is found out here (NIP-98), on the core that reads the request.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Caller, Refusal, Who};
use crate::net::{Bytes, RequestHead, Response};
use crate::nostr::sha256;
use crate::policy::{
    HttpRequest, Permissions, Unauthorized, check_authorization, read_authorization,
};
use crate::server::core::Core;

/// A call, as it is written.
#[derive(Deserialize)]
pub(super) struct Written {
    pub(super) method: String,
    #[serde(default)]
    pub(super) params: Vec<Value>,
}

/// Returns whether a request is a call: what it says that its body is decides (NIP-86).
pub(in crate::server) fn is_call(request: &RequestHead) -> bool {
    let media_type = request.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(CALL_TYPE)
}

/// Answers a call whose body need not be read; nothing if it has to be, with the most bytes that
/// it may have.
pub(in crate::server) fn refuse_call(
    core: &Core,
    request: &RequestHead,
) -> Result<usize, Response> {
    if request.method() != "POST" {
        return Err(error(405, "a call is a POST"));
    }
    if core.settings.borrow().management.admins.is_empty() {
        return Err(error(403, "this relay has no administrators over the network"));
    }
    match request.header("authorization") {
        None => Err(unauthorized(Unauthorized::Missing)),
        Some(_) => Ok(BODY_BYTES_MAX),
    }
}

/// Answers a call.
pub(in crate::server) async fn ask(core: Rc<Core>, request: RequestHead, body: Bytes) -> Response {
    let caller = match identify(&core, &request, &body) {
        Ok(Some(caller)) => caller,
        Ok(None) => return error(403, "this key is no administrator's"),
        Err(why) => return unauthorized(why),
    };
    let Ok(written) = serde_json::from_slice::<Written>(&body) else {
        let text = "expected {\"method\": \"...\", \"params\": [...]}";
        return answer(400, json!({ "error": text }));
    };
    match core.relay.office.call(caller, written.method, written.params).await {
        Ok(result) => answer(200, json!({ "result": result })),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Forbidden(_) => 403,
                Refusal::Failed(_) => 200,
                Refusal::Busy => 503,
            };
            answer(status, json!({ "result": null, "error": refusal.text() }))
        }
    }
}

/// Finds out which administrator calls; nothing if it is somebody else.
fn identify(
    core: &Core,
    request: &RequestHead,
    body: &[u8],
) -> Result<Option<Caller>, Unauthorized> {
    let header = request.header("authorization").ok_or(Unauthorized::Missing)?;
    let event = read_authorization(header)?;
    let now = core.relay.clock.now_secs();
    let settings = core.settings.borrow();
    let is_own = |url: &str| settings.session.names.has(url);
    let (method, query) = (request.method(), request.query());
    let asked = HttpRequest { method, query, is_own: &is_own, payload: sha256(body) };
    check_authorization(&event.view(), &asked, now)?;
    let verified = core.verifier.borrow_mut().verify(event);
    let event = verified.map_err(|_| Unauthorized::Signature)?.into_event();
    let mut permissions: Permissions =
        settings.management.admins.of(&event.pubkey).cloned().unwrap_or_default();
    if let Some(moderation) = &core.standing.borrow_mut().current().moderation {
        permissions.add_methods(moderation.methods_of(&event.pubkey));
    }
    if permissions.is_empty() {
        return Ok(None);
    }
    // Last, so that nobody else can fill what is remembered.
    core.relay.office.use_up(&event.view(), now)?;
    let who = Who::Admin(event.pubkey, permissions);
    let from = request.peer().ip().to_string();
    Ok(Some(Caller { who, from, authorization: Some(event.id) }))
}

fn unauthorized(why: Unauthorized) -> Response {
    let mut response = error(401, &why.to_string());
    response.headers.push(("www-authenticate", "Nostr".to_owned()));
    response
}

/// Refuses, and ends the connection: who tries often has to come in often, and that is measured.
fn error(status: u16, text: &str) -> Response {
    let mut response = answer(status, json!({ "error": text }));
    response.headers.push(("connection", "close".to_owned()));
    response
}

fn answer(status: u16, body: Value) -> Response {
    let headers = vec![
        ("content-type", CALL_TYPE.to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("access-control-allow-origin", "*".to_owned()),
        // A `*` does not cover `Authorization`.
        ("access-control-allow-headers", "*, Authorization".to_owned()),
        ("access-control-allow-methods", METHODS_OF_HTTP.to_owned()),
    ];
    Response { status, headers, body: Bytes::from(body.to_string()) }
}

/// What requests may do here.
pub(in crate::server) const METHODS_OF_HTTP: &str = "GET, HEAD, OPTIONS, POST";
const CALL_TYPE: &str = "application/nostr+json+rpc";
/// The longest call: a list of parameters that people have written.
const BODY_BYTES_MAX: usize = 64 * 1024;
