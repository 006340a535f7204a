//! Proving who asks (NIP-42).

use std::sync::Arc;

use super::outbox::Outbox;
use super::terms::Fault;
use crate::nostr::{EventId, Keypair, Kind, message};

/// What was proven to the peer of a connection.
#[derive(Default)]
pub(super) struct Identity {
    url: String,
    key: Option<Arc<Keypair>>,
    standing: Standing,
    /// Demands since the proof was sent.
    demands: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// The peer has not said what a proof must contain.
    #[default]
    Unknown,
    /// The proof was sent.
    Sent(EventId),
    /// It was taken.
    Known,
    /// It was not.
    Refused(String),
}

impl Identity {
    pub(super) fn new(url: String, key: Option<Arc<Keypair>>) -> Identity {
        Identity { url, key, standing: Standing::Unknown, demands: 0 }
    }

    /// Notes that there is a connection on which nothing was proven.
    pub(super) fn reset(&mut self) {
        (self.standing, self.demands) = (Standing::Unknown, 0);
    }

    /// Takes what a proof must contain, and gives it.
    pub(super) fn challenged(&mut self, challenge: String, outbox: &mut Outbox) {
        let Some(key) = &self.key else { return };
        let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let tags = [tag("relay", &self.url), tag("challenge", &challenge)];
        let proof = key.sign_event(outbox.now.secs, Kind::AUTHENTICATION, &tags, "");
        outbox.send(|out| message::write_proof(out, &proof.view()));
        self.standing = Standing::Sent(proof.id);
    }

    /// Takes the outcome of the proof; returns whether it was that.
    pub(super) fn answered(
        &mut self,
        id: &EventId,
        is_accepted: bool,
        text: &str,
        outbox: &mut Outbox,
    ) -> bool {
        if self.standing != Standing::Sent(*id) {
            return false;
        }
        if is_accepted {
            self.standing = Standing::Known;
            outbox.release();
        } else {
            outbox.counts.note(format!("the peer does not take the proof of identity: {text}"));
            self.standing = Standing::Refused(text.to_owned());
        }
        true
    }

    /// Returns whether nobody could prove more than was proven.
    pub(super) fn is_exhausted(&self) -> bool {
        self.key.is_none() || matches!(self.standing, Standing::Known | Standing::Refused(_))
    }

    /// Takes a demand for a proof: waits for what there is to come, or fails.
    pub(super) fn demanded(&mut self, reason: &str, outbox: &mut Outbox) {
        self.demands += 1;
        let fault = match (&self.key, &self.standing) {
            (None, _) => Fault::NeedsKey(reason.to_owned()),
            (_, Standing::Refused(text)) => Fault::KeyRefused(text.clone()),
            // Demands of before the proof may still come in.
            (_, Standing::Known) if self.demands > DEMANDS_MAX => {
                Fault::KeyRefused(reason.to_owned())
            }
            (_, Standing::Known) => return,
            _ if self.demands > DEMANDS_MAX => Fault::Silent("a proof of identity"),
            _ => return outbox.hold_for(PROOF_WAIT),
        };
        outbox.fail(fault);
    }
}

/// How long to wait for a challenge, or for the outcome of a proof.
const PROOF_WAIT: u64 = 5_000;
const DEMANDS_MAX: u32 = 200;
