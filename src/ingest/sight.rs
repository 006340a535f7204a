//! The groups as somebody sees them who does not keep them: read from the store, and again when its
//! log tells that something may have changed (NIP-29).

use std::sync::Arc;

use super::groups::GroupKeeping;
use super::recall::recall;
use crate::policy::groups::Rules;
use crate::policy::{Standing, Standings};
use crate::seq::Seq;
use crate::store::{Store, StoreError};

/// Follows the groups of a store from outside.
#[derive(Debug)]
pub struct GroupSight {
    rules: Rules,
    standings: Standings,
    /// Up to where the log was looked at.
    seen: Option<Seq>,
}

impl GroupSight {
    /// Begins without having looked.
    pub fn new(rules: Rules) -> GroupSight {
        GroupSight { rules, standings: Standings::default(), seen: None }
    }

    /// Returns what stands of the groups at the second `now`, and nothing else that may stand.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn look(&mut self, store: &Store, now: u64) -> Result<Arc<Standing>, StoreError> {
        let snapshot = store.snapshot()?;
        let is_changed = match self.seen {
            Some(seen) if seen >= snapshot.seq() => false,
            Some(seen) => {
                let mut is_changed = false;
                for item in snapshot.log(seen)? {
                    is_changed |= GroupKeeping::follows_from(&item?.1);
                }
                is_changed
            }
            None => true,
        };
        if is_changed {
            let groups = recall(self.rules.clone(), &snapshot, now)?.groups;
            self.standings.update(|standing| standing.groups = Some(groups.clone()));
        }
        self.seen = Some(snapshot.seq());
        Ok(self.standings.current())
    }
}
