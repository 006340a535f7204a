//! Methods about members and their roles (NIP-43): the herald says what they decide.

use serde_json::{Value, json};

use super::call::{Caller, Refusal, Said};
use super::office::Office;
use super::params::Params;
use crate::mailbox::{self, Received};
use crate::nostr::{EventRef, Filter, Kind, PublicKey, TagCondition, TagMode, TagValue};
use crate::policy::{InviteTerms, Membership};
use crate::query;
use crate::server::herald::Task;
use crate::server::members::{Change, Role};

const DONE: Said = Ok(Value::Bool(true));

pub(super) fn create_role(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let role = role(params)?;
    office.require_members()?;
    if office.role(&role.id)?.is_some() {
        return Err(Refusal::Failed(format!("there is a role {:?} already", role.id)));
    }
    office.change(vec![Change::Role(role)])?;
    DONE
}

pub(super) fn edit_role(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let role = role(params)?;
    office.require_role(&role.id)?;
    office.change(vec![Change::Role(role)])?;
    DONE
}

pub(super) fn delete_role(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let id = params.text(0, ID_CHARACTERS_MAX)?.to_owned();
    office.require_role(&id)?;
    let members = office.require_members()?;
    let mut changes = Vec::new();
    for (key, roles) in members.iter().filter(|(_, roles)| roles.iter().any(|it| **it == *id)) {
        let others = roles.iter().filter(|it| ***it != *id).map(|it| it.to_string()).collect();
        changes.push(Change::Add(*key, Some(others)));
    }
    changes.push(Change::DeleteRole(id));
    office.change(changes)?;
    DONE
}

pub(super) fn assign_role(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let (key, id) = (params.key(0)?, params.text(1, ID_CHARACTERS_MAX)?);
    office.require_role(id)?;
    let mut roles = office.roles_of(&key)?;
    if !roles.iter().any(|it| it == id) {
        roles.push(id.to_owned());
        office.change(vec![Change::Add(key, Some(roles))])?;
    }
    DONE
}

pub(super) fn unassign_role(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let (key, id) = (params.key(0)?, params.text(1, ID_CHARACTERS_MAX)?);
    let mut roles = office.roles_of(&key)?;
    let before = roles.len();
    roles.retain(|it| it != id);
    if roles.len() < before {
        office.change(vec![Change::Add(key, Some(roles))])?;
    }
    DONE
}

pub(super) fn list_roles(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    office.require_members()?;
    office.read_roles(None).map(Value::from)
}

pub(super) fn list_members(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let members = office.require_members()?;
    let row = |(key, roles): (&PublicKey, &crate::policy::Roles)| {
        let roles: Vec<&str> = roles.iter().map(|role| &**role).collect();
        json!({ "pubkey": key.to_string(), "roles": roles })
    };
    Ok(members.iter().map(row).collect())
}

pub(super) fn add_member(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let key = params.key(0)?;
    if !office.require_members()?.is_added(&key) {
        office.change(vec![Change::Add(key, None)])?;
    }
    DONE
}

pub(super) fn remove_member(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let key = params.key(0)?;
    if office.require_members()?.is_added(&key) {
        office.change(vec![Change::Remove(key)])?;
    }
    DONE
}

pub(super) fn create_invite(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    office.require_members()?;
    let uses = params.number(0)?.unwrap_or(1);
    let uses = u16::try_from(uses).map_err(|_| params.wrong(0, "at most 65535 uses"))?;
    let secs = params.number(1)?.unwrap_or(INVITE_SECS_DEFAULT);
    let expires = office.relay.clock.now_secs().saturating_add(secs);
    let expires = match secs {
        0 => None,
        _ => Some(u32::try_from(expires).map_err(|_| params.wrong(1, "a time before 2106"))?),
    };
    let terms = InviteTerms { expires, uses: (uses > 0).then_some(uses) };
    let key = office.invite_key.as_ref().ok_or_else(no_members)?;
    let code = key.mint(terms, (office.relay.random)());
    Ok(json!({ "code": code, "expires": terms.expires, "uses": terms.uses }))
}

impl Office {
    /// Returns who belongs to the relay.
    pub(super) fn require_members(&self) -> Result<Membership, Refusal> {
        self.relay.standings.current().members.clone().ok_or_else(no_members)
    }

    /// Returns whether somebody was let in as a member.
    pub(super) fn is_member(&self, key: &PublicKey) -> bool {
        self.require_members().is_ok_and(|members| members.is_added(key))
    }

    fn roles_of(&self, key: &PublicKey) -> Result<Vec<String>, Refusal> {
        let members = self.require_members()?;
        let found = members.iter().find(|(member, _)| *member == key);
        let (_, roles) = found.ok_or_else(|| {
            Refusal::Failed("that is no member; allowpubkey makes it one".to_owned())
        })?;
        Ok(roles.iter().map(|role| role.to_string()).collect())
    }

    fn require_role(&self, id: &str) -> Result<(), Refusal> {
        self.require_members()?;
        match self.role(id)? {
            Some(_) => Ok(()),
            None => Err(Refusal::Failed(format!("there is no role {id:?}; createrole makes one"))),
        }
    }

    fn role(&self, id: &str) -> Result<Option<Value>, Refusal> {
        Ok(self.read_roles(Some(id))?.pop())
    }

    /// Reads the roles that the relay has described, or the one of an id.
    fn read_roles(&self, id: Option<&str>) -> Result<Vec<Value>, Refusal> {
        let own_key = self.relay.own_key.ok_or_else(no_members)?;
        let condition = |id: &str| TagCondition {
            letter: b'd',
            mode: TagMode::Any,
            values: [TagValue::from_canonical(&crate::nostr::json::escaped(id))].into(),
        };
        let filter = Filter {
            authors: Some([own_key].into()),
            kinds: Some([Kind::ROLE.0].into()),
            tags: id.map(condition).into_iter().collect(),
            limit: Some(ROLES_MAX),
            ..Filter::default()
        };
        let snapshot = self.relay.store.snapshot()?;
        let mut roles = Vec::new();
        for seq in query::find_all(&snapshot, &filter, &|_| true)? {
            roles.extend(snapshot.by_seq(seq)?.map(|event| shown(&event)));
        }
        Ok(roles)
    }

    /// Has the herald say something, and waits until it is stored.
    pub(super) fn change(&self, changes: Vec<Change>) -> Result<(), Refusal> {
        let herald = self.herald.as_ref().ok_or_else(no_members)?;
        for batch in changes.chunks(CHANGES_AT_ONCE) {
            let (answer, answers) = mailbox::mailbox(batch.len());
            for change in batch {
                let task = Task::Change { change: change.clone(), answer: answer.clone() };
                herald.ask(task).map_err(|_| Refusal::Busy)?;
            }
            drop(answer);
            for _ in batch {
                match answers.recv_timeout(PATIENCE) {
                    Received::Message(said) => {
                        said.map_err(|reject| Refusal::Failed(reject.to_string()))?;
                    }
                    Received::Nothing | Received::Closed => return Err(Refusal::Busy),
                }
            }
        }
        Ok(())
    }
}

fn role(params: &Params<'_>) -> Result<Role, Refusal> {
    let id = params.text(0, ID_CHARACTERS_MAX)?.to_owned();
    if id.is_empty() {
        return Err(params.wrong(0, "the id of a role"));
    }
    let color = params.number(3)?;
    if color.is_some_and(|color| color > HUE_MAX) {
        return Err(params.wrong(3, "a hue from 0 to 360"));
    }
    Ok(Role {
        id,
        label: params.optional_text(1, LABEL_CHARACTERS_MAX)?.to_owned(),
        description: params.optional_text(2, DESCRIPTION_CHARACTERS_MAX)?.to_owned(),
        color,
        order: params.number(4)?,
    })
}

/// Shows the event that describes a role.
fn shown(event: &EventRef<'_>) -> Value {
    let text = |name: &str| {
        let tag = event.tags().find(|tag| tag.is_named(name))?;
        Some(tag.value()?.to_text().into_owned())
    };
    let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
    json!({
        "id": text("d"), "label": text("label"), "description": text("description"),
        "color": number("color"), "order": number("order"),
    })
}

fn no_members() -> Refusal {
    let text = "this relay has no members; membership.enabled of its configuration gives it some";
    Refusal::Failed(text.to_owned())
}

const ID_CHARACTERS_MAX: usize = 64;
const LABEL_CHARACTERS_MAX: usize = 100;
const DESCRIPTION_CHARACTERS_MAX: usize = 1_000;
const HUE_MAX: u64 = 360;
const ROLES_MAX: u64 = 1_000;
const INVITE_SECS_DEFAULT: u64 = 7 * 24 * 60 * 60;
/// As many as the herald decides together.
const CHANGES_AT_ONCE: usize = 200;
/// How long the herald may take: it waits for the clock if much was said at once.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
