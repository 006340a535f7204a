//! Groups from their record alone: what the events 9000 to 9022 make of each other, one after the
//! other.

use super::action::Action;
use super::id::GroupId;
use super::state::{Changes, Groups, is_self_removal};
use crate::nostr::EventRef;

impl Groups {
    /// Takes over one event of the record, if it was allowed when it came.
    pub fn replay(&mut self, id: &GroupId, action: Action, event: &EventRef<'_>) {
        let mut ignored = Changes::default();
        if action == Action::Create {
            if self.judge_creation(id).is_ok() {
                self.apply(id, action, event, &mut ignored);
            }
            return;
        }
        let Some(group) = self.living(id) else { return };
        // Requests to join are on record as what the relay made of them.
        if matches!(action, Action::Join { .. } | Action::Leave) {
            return;
        }
        let left = match &action {
            Action::RemoveUsers(keys) if is_self_removal(event) => keys.clone(),
            _ => Vec::new(),
        };
        // The last admin may leave, but is not removed.
        let is_leave = !left.is_empty() && self.has_say(event.pubkey);
        if !is_leave && self.authorise(id, group, &action, event.pubkey).is_err() {
            return;
        }
        self.apply(id, action, event, &mut ignored);
        if !left.is_empty()
            && let Some(group) = self.living(id)
        {
            let mut group = super::Group::clone(group);
            for key in &left {
                group.removed.remove(key);
            }
            self.put(id, group);
        }
    }
}
