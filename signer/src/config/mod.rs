//! `hsmsign.yaml` (the policy) and the host settings.

mod agent;
mod allow;
mod blocklist;
mod error;
mod host;
mod model;
mod parse;
mod place;
mod scan;
mod yaml;

#[cfg(test)]
mod tests;

pub use agent::AgentSettings;
pub use allow::{Allowed, Pattern};
pub use blocklist::Blocklist;
pub use error::{ConfigError, Fault};
pub use host::{HostConfig, HostToken, PinSource};
pub use model::{
    Config, GateSettings, ReleaseKey, ReleaseSettings, RoleSettings, Roles, ScanSettings, UpdateFormat,
};
pub use place::{Excerpt, Place, Step};
pub use scan::ScanAllowed;
