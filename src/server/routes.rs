//! Plain HTTP: the relay's document (NIP-11), and pages for people.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::core::Core;
use super::management::{self, METHODS_OF_HTTP};
use super::pages::{self, ADMIN, Audience, File, Subject, front};
use super::settings::{About, LiveSettings};
use crate::limits;
use crate::net::{Bytes, LaterResponse, RequestHead, Response, Site};
use crate::nostr::delegation::Treatment;
use crate::nostr::info::{GroupFeatures, Limitation};
use crate::nostr::{InformationDocument, Kind, PublicKey};
use crate::policy::{self, Circle, Membership, MembershipRules, Moderation};
use crate::session::Authentication;

/// What is at each path.
pub(super) struct RelaySite {
    core: Rc<Core>,
    account: RefCell<Account>,
}

/// What the relay says of itself under these settings, rendered once.
#[derive(Clone)]
struct Account {
    settings: Arc<LiveSettings>,
    /// Which standing it is of.
    version: u64,
    document: Bytes,
    /// The page at `/`, if there is one.
    front: Option<Rc<File>>,
    audience: Audience,
}

impl RelaySite {
    /// Creates the site of a core.
    pub(super) fn new(core: Rc<Core>) -> RelaySite {
        let account = RefCell::new(Account::of(Arc::clone(&core.settings.borrow()), &core));
        RelaySite { core, account }
    }

    fn account(&self) -> Account {
        let settings = self.core.settings.borrow();
        let version = self.core.standing.borrow_mut().current().version();
        let mut account = self.account.borrow_mut();
        if !Arc::ptr_eq(&account.settings, &settings) || account.version != version {
            *account = Account::of(Arc::clone(&settings), &self.core);
        }
        account.clone()
    }

    /// Answers at the address of the relay itself.
    fn at_root(&self, request: &RequestHead) -> Response {
        if request.method() != "OPTIONS"
            && management::is_call(request)
            && let Err(refusal) = management::refuse_call(&self.core, request)
        {
            return refusal;
        }
        match request.method() {
            "OPTIONS" => answer(204, None, Bytes::new()),
            "GET" | "HEAD" if request.accepts(DOCUMENT_TYPE) => {
                answer(200, Some(DOCUMENT_TYPE), self.account().document)
            }
            "GET" | "HEAD" => match self.account().front {
                Some(page) => page.answer(request),
                None => Response::text(200, "a Nostr relay; open this address in a Nostr client"),
            },
            _ => only(METHODS_OF_HTTP, "only GET is answered here, and calls of NIP-86"),
        }
    }

    fn counters(&self) -> Response {
        let account = self.account();
        let pages = account.settings.pages;
        if !(pages.front && pages.counters) {
            return nothing_here();
        }
        let relay = &self.core.relay;
        match relay.counters.json(&relay.store, account.audience, relay.clock.now_secs()) {
            Ok(body) => Response {
                status: 200,
                headers: vec![
                    ("content-type", "application/json".to_owned()),
                    ("cache-control", "no-store".to_owned()),
                    ("x-content-type-options", "nosniff".to_owned()),
                ],
                body,
            },
            Err(error) => {
                tracing::warn!(%error, "the events cannot be counted");
                Response::text(503, "the store cannot be read")
            }
        }
    }
}

impl Account {
    fn of(settings: Arc<LiveSettings>, core: &Core) -> Account {
        let mut standing = core.standing.borrow_mut();
        let standing = standing.current();
        let features = Features {
            members: standing.members.as_ref().map(Membership::rules),
            has_groups: standing.groups.is_some(),
            about: about(&settings, standing.moderation.as_ref()),
        };
        let version = standing.version();
        let document = document(&settings, core.relay.own_key, &features);
        let (members, has_groups) = (features.members, features.has_groups);
        let moderation = standing.moderation.as_ref();
        let subject = Subject { document: &document, members, moderation, has_groups };
        let page = settings.pages.front.then(|| Rc::new(front(&settings, &subject)));
        let is_open = settings.session.authentication == Authentication::Optional
            && members.is_none_or(|rules| rules.terms.reads == Circle::Everyone);
        let audience = if is_open { Audience::Everyone } else { Audience::Some };
        let document = Bytes::from(document.to_json());
        Account { settings, version, document, front: page, audience }
    }
}

/// Returns what the relay says of itself: what administrators have said last goes before the
/// configuration.
fn about(settings: &LiveSettings, moderation: Option<&Moderation>) -> About {
    let mut about = settings.about.clone();
    let said = |subject| moderation.and_then(|it| it.note(&subject)).map(str::to_owned);
    about.name = said(policy::Subject::Name).or(about.name);
    about.description = said(policy::Subject::Description).or(about.description);
    about.icon = said(policy::Subject::Icon).or(about.icon);
    about
}

impl Site for RelaySite {
    fn receives(&self, request: &RequestHead) -> Option<usize> {
        if !is_root(request) || !management::is_call(request) {
            return None;
        }
        management::refuse_call(&self.core, request).ok()
    }

    fn receive(&self, request: RequestHead, body: Bytes) -> LaterResponse {
        Box::pin(management::ask(Rc::clone(&self.core), request, body))
    }

    /// The table of everything that is answered.
    fn respond(&self, request: &RequestHead) -> Response {
        let is_get = matches!(request.method(), "GET" | "HEAD");
        match request.path() {
            "/" | "" => self.at_root(request),
            "/pages/counters.json" if is_get => self.counters(),
            ADMIN if !self.core.settings.borrow().pages.admin => nothing_here(),
            path => match pages::find(path) {
                Some(file) if is_get => file.answer(request),
                Some(_) => only_get(),
                None => nothing_here(),
            },
        }
    }
}

fn nothing_here() -> Response {
    Response::text(404, "nothing is here; the relay is at /")
}

fn only_get() -> Response {
    only("GET, HEAD", "only GET is answered here")
}

fn only(methods: &str, line: &str) -> Response {
    let mut refusal = Response::text(405, line);
    refusal.headers.push(("allow", methods.to_owned()));
    refusal
}

fn is_root(request: &RequestHead) -> bool {
    matches!(request.path(), "/" | "")
}

fn answer(status: u16, media_type: Option<&str>, body: Bytes) -> Response {
    let mut headers = vec![
        ("access-control-allow-origin", "*".to_owned()),
        // A `*` does not cover `Authorization`.
        ("access-control-allow-headers", "*, Authorization".to_owned()),
        ("access-control-allow-methods", METHODS_OF_HTTP.to_owned()),
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
    let about = features.about.clone();
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
                || event.rules.as_ref().is_some_and(|it| it.is_restricted() || it.has_subject())
                || features.members.is_some_and(|rules| rules.terms.writes == Circle::Members),
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
    about: About,
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
    let is_honoured = settings.session.delegation == Treatment::Honoured;
    nips.extend(is_honoured.then_some(26));
    nips.extend(features.has_groups.then_some(29));
    nips.extend(features.members.is_some().then_some(43));
    nips.extend((settings.session.negentropy.open_max > 0).then_some(77));
    nips.extend((!settings.management.admins.is_empty()).then_some(86));
    nips.sort_unstable();
    nips
}

const DOCUMENT_TYPE: &str = "application/nostr+json";
/// What this relay does for a client, whatever the settings; the document lists nothing that only
/// clients do.
const SUPPORTED_NIPS: [u16; 12] = [1, 2, 9, 11, 13, 40, 42, 45, 62, 65, 67, 70];
