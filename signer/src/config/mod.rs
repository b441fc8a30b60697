//! `hsmsign.yaml` (the policy) and the host settings.

mod error;
mod model;
mod parse;

pub use error::ConfigError;
pub use model::{Config, ReleaseKey, ReleaseSettings, RoleSettings, Roles, UpdateFormat};
