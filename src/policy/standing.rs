//! What stands at one moment: the one place where an event is judged beyond its form, and where it
//! is known what readers may not see beyond what kinds tell.
//!
//! A new concern is a field here, a line in each function below, and a file of its own. A part must
//! be cheap to clone (shared or persistent inside), because a standing is replaced whole at every
//! change; and a part that is off costs one branch.

use super::groups::{Groups, JOIN};
use super::members::Membership;
use super::moderation::Moderation;
use crate::nostr::{EventRef, Filter, PublicKey, Reject};

/// Everything that was decided, at one moment. It is never changed in place where others see it:
/// [`Standings`](super::Standings) replaces it.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Who belongs to the relay (NIP-43), if that matters.
    pub members: Option<Membership>,
    /// The groups (NIP-29), if there are any. Their events are judged where they are stored.
    pub groups: Option<Groups>,
    /// What administrators have decided (NIP-86), if anything.
    pub moderation: Option<Moderation>,
    /// Which one it is of all that stood since the start; [`Standings`](super::Standings) counts.
    pub(super) version: u64,
}

impl Standing {
    /// Returns the number of this standing among all since the start, ascending.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Judges an event that is well formed and within the limits, sent by somebody who has proven
    /// to be all of `sender`.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    #[inline]
    pub fn judge(&self, event: &EventRef<'_>, sender: &[PublicKey]) -> Result<(), Reject> {
        if let Some(moderation) = &self.moderation {
            moderation.judge(event)?;
        }
        match &self.members {
            Some(members) if !self.allows(event.pubkey) => members.judge(event, sender),
            _ => Ok(()),
        }
    }

    /// Returns whether administrators let somebody write where not everybody may.
    #[inline]
    pub fn allows(&self, key: &PublicKey) -> bool {
        self.moderation.as_ref().is_some_and(|moderation| moderation.allows_key(key))
    }

    /// Decides whether somebody who has proven to be all of `reader` may ask for events at all.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    pub fn check_reader(&self, reader: &[PublicKey]) -> Result<(), Reject> {
        match &self.members {
            Some(members) => members.check_reader(reader),
            None => Ok(()),
        }
    }

    /// Returns whether any event may be withheld from anybody.
    #[inline]
    pub fn withholds(&self) -> bool {
        self.members.as_ref().is_some_and(Membership::withholds)
            || self.groups.as_ref().is_some_and(Groups::keeps_any)
    }

    /// Returns whether this event may be withheld from anybody.
    #[inline]
    pub fn withholds_this(&self, event: &EventRef<'_>) -> bool {
        self.members.as_ref().is_some_and(Membership::withholds)
            || self.groups.as_ref().is_some_and(|groups| groups.concerns(event))
    }

    /// Returns whether any event may be withheld from somebody who has proven to be all of
    /// `reader`. If not, [`Standing::may_read`] need not be asked.
    pub fn withholds_from(&self, reader: &[PublicKey]) -> bool {
        self.withholds()
            && (self.check_reader(reader).is_err()
                || self.groups.as_ref().is_some_and(|groups| groups.keeps_from(reader)))
    }

    /// Returns whether somebody who has proven to be all of `reader` may see this event.
    pub fn may_read(&self, event: &EventRef<'_>, reader: &[PublicKey]) -> bool {
        self.check_reader(reader).is_ok()
            && self.groups.as_ref().is_none_or(|groups| groups.may_read(event, reader))
    }

    /// Returns whether a filter asks by name for nothing but what is withheld from somebody who has
    /// proven to be all of `reader`.
    pub fn is_out_of_reach(&self, filter: &Filter, reader: &[PublicKey]) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.is_out_of_reach(filter, reader))
    }

    /// Returns whether an event that is stored already is to be judged again all the same.
    #[inline]
    pub fn answers_anew(&self, event: &EventRef<'_>) -> bool {
        // NIP-29: who is a member and asks again is refused, by whatever event.
        event.kind.0 == JOIN && self.groups.is_some()
    }

    /// Returns whether a stored event changes anything here; asked for every event, so most are
    /// told apart by their kind.
    #[inline]
    pub fn follows_from(&self, event: &EventRef<'_>) -> bool {
        self.members.as_ref().is_some_and(|members| members.follows_from(event))
    }

    /// Takes up a stored event. In commit order, or as they are when read back from the store:
    /// first the lists, then what changed since.
    pub fn note(&mut self, event: &EventRef<'_>) {
        if let Some(members) = &mut self.members {
            members.note(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, Kind};

    #[test]
    fn where_nothing_is_on_everything_is_taken_and_shown() {
        let standing = Standing::default();
        let keys = Keypair::from_secret([1; 32]).expect("the secret is in range");
        for kind in [1, 8000, 13_534, 28_934] {
            let event = keys.sign_event(1, Kind(kind), &[], "");
            assert_eq!(standing.judge(&event.view(), &[]), Ok(()));
            assert!(!standing.follows_from(&event.view()));
            assert!(standing.may_read(&event.view(), &[]));
        }
        assert!(!standing.withholds() && !standing.withholds_from(&[]));
        assert_eq!(standing.check_reader(&[]), Ok(()));
    }
}
