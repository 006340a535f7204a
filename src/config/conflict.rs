//! Relations between keys: pairs of values that cannot hold together.

use super::settings::Settings;
use super::words::GroupMode;

/// Two keys whose values exclude each other.
pub(super) struct Conflict {
    /// Full name of the key that the error is reported at.
    pub(super) key: &'static str,
    /// Full name of the key that excludes the value.
    pub(super) other: &'static str,
    /// What is wrong, fitting after the key's name.
    pub(super) text: String,
}

/// Returns every pair of settings that cannot hold together.
pub(super) fn conflicts(settings: &Settings) -> Vec<Conflict> {
    let limits = &settings.limits;
    let mut found = Vec::new();
    if limits.default_limit > limits.max_limit {
        found.push(Conflict {
            key: "limits.default_limit",
            other: "limits.max_limit",
            text: format!(
                "expected at most limits.max_limit ({}), found {}",
                limits.max_limit, limits.default_limit
            ),
        });
    }
    if settings.groups.mode != GroupMode::Off && settings.relay.secret_key_file.is_none() {
        found.push(Conflict {
            key: "groups.mode",
            other: "relay.secret_key_file",
            text: "expected a key of the relay (relay.secret_key_file), found none; \
                   `relay key generate` makes one"
                .to_owned(),
        });
    }
    if settings.membership.enabled && settings.relay.secret_key_file.is_none() {
        found.push(Conflict {
            key: "membership.enabled",
            other: "relay.secret_key_file",
            text: "expected a key of the relay (relay.secret_key_file), found none; \
                   `relay key generate` makes one"
                .to_owned(),
        });
    }
    if limits.outbound_bytes_max < limits.max_message_bytes {
        found.push(Conflict {
            key: "limits.outbound_bytes_max",
            other: "limits.max_message_bytes",
            text: format!(
                "expected at least limits.max_message_bytes ({}), found {}",
                limits.max_message_bytes, limits.outbound_bytes_max
            ),
        });
    }
    let guard = &settings.guard;
    if guard.max_ban_secs < guard.ban_secs {
        found.push(Conflict {
            key: "guard.max_ban_secs",
            other: "guard.ban_secs",
            text: format!(
                "expected at least guard.ban_secs ({}), found {}",
                guard.ban_secs, guard.max_ban_secs
            ),
        });
    }
    found
}
