//! Plain HTTP: the relay's document (NIP-11), and a few words for people.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::core::Core;
use super::settings::LiveSettings;
use crate::limits;
use crate::net::{Bytes, RequestHead, Response, Site};
use crate::nostr::info::{GroupFeatures, Limitation};
use crate::nostr::{InformationDocument, Kind, PublicKey};
use crate::policy::{Circle, Membership, MembershipRules};
use crate::session::Authentication;

/// What is at `/`.
pub(super) struct RelaySite {
    core: Rc<Core>,
    pages: RefCell<Pages>,
}

/// What these settings make true, rendered once.
#[derive(Clone)]
struct Pages {
    settings: Arc<LiveSettings>,
    document: Bytes,
    page: Bytes,
}

impl RelaySite {
    /// Creates the site of a core.
    pub(super) fn new(core: Rc<Core>) -> RelaySite {
        let pages = RefCell::new(Pages::of(Arc::clone(&core.settings.borrow()), &core));
        RelaySite { core, pages }
    }

    fn pages(&self) -> Pages {
        let settings = self.core.settings.borrow();
        let mut pages = self.pages.borrow_mut();
        if !Arc::ptr_eq(&pages.settings, &settings) {
            *pages = Pages::of(Arc::clone(&settings), &self.core);
        }
        pages.clone()
    }
}

impl Pages {
    fn of(settings: Arc<LiveSettings>, core: &Core) -> Pages {
        let mut standing = core.standing.borrow_mut();
        let standing = standing.current();
        let features = Features {
            members: standing.members.as_ref().map(Membership::rules),
            has_groups: standing.groups.is_some(),
        };
        let own_key = core.relay.own_key;
        let document = Bytes::from(document(&settings, own_key, &features).to_json());
        let page = Bytes::from(page(&settings));
        Pages { settings, document, page }
    }
}

impl Site for RelaySite {
    fn respond(&self, request: &RequestHead) -> Response {
        if !matches!(request.path(), "/" | "") {
            return Response::text(404, "nothing is here; the relay is at /");
        }
        match request.method() {
            "OPTIONS" => answer(204, None, Bytes::new()),
            "GET" | "HEAD" if request.accepts(DOCUMENT_TYPE) => {
                answer(200, Some(DOCUMENT_TYPE), self.pages().document)
            }
            "GET" | "HEAD" => answer(200, Some("text/html; charset=utf-8"), self.pages().page),
            _ => {
                let mut refusal = Response::text(405, "only GET is answered here");
                refusal.headers.push(("allow", METHODS.to_owned()));
                refusal
            }
        }
    }
}

fn answer(status: u16, media_type: Option<&str>, body: Bytes) -> Response {
    let mut headers = vec![
        ("access-control-allow-origin", "*".to_owned()),
        // A `*` does not cover `Authorization`.
        ("access-control-allow-headers", "*, Authorization".to_owned()),
        ("access-control-allow-methods", METHODS.to_owned()),
        ("vary", "Accept".to_owned()),
    ];
    headers.extend(media_type.map(|it| ("content-type", it.to_owned())));
    Response { status, headers, body }
}

/// The document says what is enforced, and nothing else.
fn document(
    settings: &LiveSettings,
    own_key: Option<PublicKey>,
    features: &Features<'_>,
) -> InformationDocument {
    let about = settings.about.clone();
    let event = &settings.session.event;
    InformationDocument {
        name: about.name,
        description: about.description,
        banner: about.banner,
        icon: about.icon,
        pubkey: about.pubkey,
        own_key,
        contact: about.contact,
        supported_nips: supported_nips(settings, features),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        limitation: Limitation {
            max_message_length: Some(settings.message_bytes_max as u64),
            max_subscriptions: Some(settings.session.subscriptions_max as u64),
            max_limit: Some(settings.query.max_limit),
            max_subid_length: Some(limits::SUBSCRIPTION_ID_CHARACTERS_MAX as u64),
            max_event_tags: Some(event.tags_max as u64),
            max_content_length: Some(event.content_characters_max as u64),
            min_pow_difficulty: (event.work.bits_min > 0).then(|| u64::from(event.work.bits_min)),
            auth_required: settings.session.authentication == Authentication::Required,
            restricted_writes: settings.plugin.is_some()
                || event.rules.as_ref().is_some_and(|it| it.is_restricted())
                || features.members.is_some_and(|rules| rules.writes == Circle::Members),
            created_at_lower_limit: event.past_secs_max,
            created_at_upper_limit: event.future_secs_max,
            default_limit: Some(settings.query.default_limit),
            ..Limitation::default()
        },
        nip29: features.has_groups.then_some(GroupFeatures { subgroups: true }),
        ..InformationDocument::default()
    }
}

/// What the relay has beside its settings.
struct Features<'a> {
    members: Option<&'a MembershipRules>,
    has_groups: bool,
}

/// Returns the NIPs that work with these settings.
fn supported_nips(settings: &LiveSettings, features: &Features<'_>) -> Vec<u16> {
    let restricted = &settings.session.restricted;
    let is_private = |kind| restricted.has(Kind(kind));
    let mut nips = SUPPORTED_NIPS.to_vec();
    nips.extend(is_private(4).then_some(4));
    if is_private(Kind::GIFT_WRAP.0) {
        nips.extend([17, 59]);
    }
    nips.extend(features.has_groups.then_some(29));
    nips.extend(features.members.is_some().then_some(43));
    nips.extend((settings.session.negentropy.open_max > 0).then_some(77));
    nips.sort_unstable();
    nips
}

fn page(settings: &LiveSettings) -> String {
    let name = escaped(settings.about.name.as_deref().unwrap_or("A Nostr relay"));
    let description = settings.about.description.as_deref().map(escaped);
    let description = description.map(|text| format!("<p>{text}</p>\n")).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n\
         <h1>{name}</h1>\n{description}\
         <p>This is a Nostr relay, run by chappe {}. Open this address in a Nostr client, with \
         <code>ws</code> in place of <code>http</code>.</p>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const DOCUMENT_TYPE: &str = "application/nostr+json";
const METHODS: &str = "GET, HEAD, OPTIONS";
/// What this relay does for a client, whatever the settings; the document lists nothing that only
/// clients do.
const SUPPORTED_NIPS: [u16; 12] = [1, 2, 9, 11, 13, 40, 42, 45, 62, 65, 67, 70];
