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
    found.extend(of_tls(settings));
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

/// Returns what is missing for TLS, or in its way.
fn of_tls(settings: &Settings) -> Option<Conflict> {
    let tls = &settings.tls;
    let ports = || tls.listen.iter().map(|address| address.port());
    let (key, other, text) = match (&tls.certificate_file, &tls.key_file) {
        (None, None) => return None,
        (Some(_), None) => (
            "tls.certificate_file",
            "tls.key_file",
            "expected the file with its key, too (tls.key_file), found none".to_owned(),
        ),
        (None, Some(_)) => (
            "tls.key_file",
            "tls.certificate_file",
            "expected the file with its certificate, too (tls.certificate_file), found none"
                .to_owned(),
        ),
        (Some(_), Some(_)) if tls.listen.is_empty() => (
            "tls.listen",
            "tls.certificate_file",
            "expected an address such as [::]:443, found none".to_owned(),
        ),
        // Sockets of a service manager are told apart by their ports.
        (Some(_), Some(_)) => {
            match ports().find(|it| *it > 0 && *it == settings.server.listen.port()) {
                None => return None,
                Some(port) => (
                    "tls.listen",
                    "server.listen",
                    format!("expected another port than that of server.listen, found {port}"),
                ),
            }
        }
    };
    Some(Conflict { key, other, text })
}
