//! What the tests of the pages stand on: a Chromium without a screen, driven over its DevTools
//! protocol, and a relay in this process for it to look at.
//!
//! `./install` puts Chromium where it is missing. Where there is none a test says so and does
//! nothing; under `CI=true` it fails.

pub mod browser;
pub mod relay;
pub mod signer;

pub use browser::Tab;
pub use relay::Relay;
pub use signer::Signer;
