//! Every key of the configuration: the one table that parsing, checking, `relay config example`
//! and `relay config show` follow, room by room.
//!
//! A key has its doc, unit, range, whether it reloads, type and default in its room and nowhere
//! else. Relations between keys are in `conflict`. How a layer is read is not said here.

mod guarding;
mod judging;
mod managing;
mod presence;
mod reaching;
mod serving;
mod storing;
mod telling;

pub use guarding::{AddressRates, AllRates, ConnectionRates, GuardSettings, KeyRates};
pub use judging::{PluginKeys, PolicySettings};
pub use managing::ManagementSettings;
pub use presence::{DelegationSettings, GroupSettings, MembershipSettings, RelaySettings};
pub use reaching::NetworkSettings;
pub use serving::{AuthSettings, LimitSettings, ServerSettings, TlsSettings};
pub use storing::{MaintenanceSettings, StoreSettings};
pub use telling::{LogSettings, MetricsSettings, PageSettings};

use super::key::{Key, Section, settings};

settings! {
    relay: RelaySettings,
    membership: MembershipSettings,
    groups: GroupSettings,
    delegation: DelegationSettings,
    store: StoreSettings,
    maintenance: MaintenanceSettings,
    server: ServerSettings,
    tls: TlsSettings,
    auth: AuthSettings,
    policy: PolicySettings,
    plugin: PluginKeys,
    limits: LimitSettings,
    rates_per_address: AddressRates,
    rates_per_connection: ConnectionRates,
    rates_per_key: KeyRates,
    rates_in_all: AllRates,
    guard: GuardSettings,
    management: ManagementSettings,
    network: NetworkSettings,
    log: LogSettings,
    metrics: MetricsSettings,
    pages: PageSettings,
}

/// Returns the keys in the order of the file.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}
