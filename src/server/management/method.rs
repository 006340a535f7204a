//! The list of methods: their names, who may call them, and what does them.

use super::call::{Caller, Said};
use super::office::Office;
use super::params::Params;
use super::{assign, decide, figures, look, people, queue, search, upkeep};
use crate::policy::Right;

/// A method.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// What a caller needs to have.
    pub(super) right: Right,
    pub(super) effect: Effect,
    pub(super) run: fn(&mut Office, &Params<'_>, &Caller) -> Said,
}

/// Whether something is different afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is, and the journal tells.
    Changes,
    /// It is not.
    Looks,
}

const fn look(name: &'static str, run: fn(&mut Office, &Params<'_>, &Caller) -> Said) -> Method {
    Method { name, right: Right::Read, effect: Effect::Looks, run }
}

const fn change(
    name: &'static str,
    right: Right,
    run: fn(&mut Office, &Params<'_>, &Caller) -> Said,
) -> Method {
    Method { name, right, effect: Effect::Changes, run }
}

/// Every method: those of NIP-86 in its order, then our own.
pub(super) const METHODS: &[Method] = &[
    look("supportedmethods", look::supported_methods),
    change("banpubkey", Right::Moderate, decide::ban_key),
    change("unbanpubkey", Right::Moderate, decide::unban_key),
    look("listbannedpubkeys", look::banned_keys),
    change("allowpubkey", Right::Moderate, decide::allow_key),
    change("unallowpubkey", Right::Moderate, decide::unallow_key),
    look("listallowedpubkeys", look::allowed_keys),
    change("createrole", Right::People, people::create_role),
    change("editrole", Right::People, people::edit_role),
    change("deleterole", Right::People, people::delete_role),
    change("assignrole", Right::People, people::assign_role),
    change("unassignrole", Right::People, people::unassign_role),
    change("assignmethod", Right::People, assign::assign_method),
    change("unassignmethod", Right::People, assign::unassign_method),
    look("listmethodassignees", assign::list_assignees),
    look("listeventsneedingmoderation", queue::events_needing_moderation),
    change("allowevent", Right::Moderate, decide::allow_event),
    change("unallowevent", Right::Moderate, decide::unallow_event),
    change("banevent", Right::Moderate, decide::ban_event),
    change("unbanevent", Right::Moderate, decide::unban_event),
    look("listbannedevents", look::banned_events),
    look("listallowedevents", look::allowed_events),
    change("changerelayname", Right::Relay, decide::change_name),
    change("changerelaydescription", Right::Relay, decide::change_description),
    change("changerelayicon", Right::Relay, decide::change_icon),
    change("allowkind", Right::Relay, decide::allow_kind),
    change("disallowkind", Right::Relay, decide::disallow_kind),
    look("listallowedkinds", look::allowed_kinds),
    look("listdisallowedkinds", look::disallowed_kinds),
    change("blockip", Right::Moderate, decide::block_address),
    change("unblockip", Right::Moderate, decide::unblock_address),
    look("listblockedips", look::blocked_addresses),
    Method { name: "chappe.whoami", right: Right::Any, effect: Effect::Looks, run: look::who_am_i },
    look("chappe.listadmins", look::admins),
    look("chappe.log", look::log),
    look("chappe.stats", figures::stats),
    look("chappe.queue", queue::queue),
    look("chappe.search", search::search),
    look("chappe.countevents", search::count),
    change("chappe.removeevents", Right::Store, search::remove),
    look("chappe.listmembers", people::list_members),
    look("chappe.listroles", people::list_roles),
    change("chappe.addmember", Right::People, people::add_member),
    change("chappe.removemember", Right::People, people::remove_member),
    change("chappe.createinvite", Right::People, people::create_invite),
    look("chappe.config", upkeep::config),
    look("chappe.peers", upkeep::peers),
    look("chappe.retention", upkeep::retention),
    change("chappe.sweep", Right::Store, upkeep::sweep),
    look("chappe.backups", upkeep::backups),
    change("chappe.backup", Right::Store, upkeep::back_up),
    look("chappe.upkeep", upkeep::upkeep),
    change("chappe.compact", Right::Store, upkeep::compact),
    change("chappe.repair", Right::Store, upkeep::repair),
    change("chappe.stopupkeep", Right::Store, upkeep::stop),
];

/// Returns the method of a name.
pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Says that there is no method of a name.
pub(super) fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
    format!("there is no method {shown:?}; supportedmethods lists those there are")
}

/// As much of a name as is said back.
const SHOWN_CHARACTERS_MAX: usize = 100;
