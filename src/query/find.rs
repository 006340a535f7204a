//! Finding everything that a filter matches, at once: for commands, and to count.

use super::race::Race;
use super::walk::Task;
use crate::nostr::{EventRef, Filter};
use crate::seq::Seq;
use crate::store::{Snapshot, StoreError};

/// Returns all events that match, in result order, up to the filter's own limit.
///
/// It holds the snapshot for as long as it takes, and one seq per hit.
///
/// # Errors
///
/// If the store cannot be read.
pub fn find_all(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    is_visible: &dyn Fn(&EventRef<'_>) -> bool,
) -> Result<Vec<Seq>, StoreError> {
    find_some(snapshot, filter, is_visible, &[], &mut 0)
}

/// Does the same where no event of some kinds is visible; adds the steps it takes to `spent`.
pub(super) fn find_some(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    is_visible: &dyn Fn(&EventRef<'_>) -> bool,
    hidden_kinds: &[u16],
    spent: &mut u64,
) -> Result<Vec<Seq>, StoreError> {
    let want =
        filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if want == 0 || filter.matches_nothing() {
        return Ok(Vec::new());
    }
    let task = Task { filter, seq_max: Seq::MAX, want, is_visible, hidden_kinds };
    let mut race = Race::new(filter, &snapshot.view());
    loop {
        let mut steps = u64::MAX;
        let found = race.run(&snapshot.view(), &task, &mut steps)?;
        *spent = spent.saturating_add(u64::MAX - steps);
        if let Some(found) = found {
            return Ok(found.hits.into_iter().map(|hit| hit.seq).collect());
        }
    }
}
