//! Options that several commands share.

use crate::policy::Mode;
use clap::Args;
use std::path::PathBuf;

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The policy, `hsmsign.yaml` [default: the nearest one in this directory or above]
    #[arg(long, global = true, value_name = "FILE", env = "HSMSIGN_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// This machine's settings: modules, PIN sources, agent
    #[arg(long, global = true, value_name = "FILE", env = "HSMSIGN_HOST_CONFIG", hide_env_values = true)]
    pub host_config: Option<PathBuf>,
    /// Whose keys sign [default: dev]
    #[arg(long, global = true, value_enum, env = "HSMSIGN_MODE", hide_env_values = true)]
    pub mode: Option<Mode>,
    /// Where the dev token lives [default: .hsmsign beside the policy]
    #[arg(long, global = true, value_name = "DIR", env = "HSMSIGN_DEV_DIR", hide_env_values = true)]
    pub dev_dir: Option<PathBuf>,
    /// Another copy of SoftHSMv2's module for dev mode
    #[arg(long, global = true, value_name = "LIB", env = "HSMSIGN_SOFTHSM", hide_env_values = true)]
    pub softhsm: Option<PathBuf>,
    /// The agent that holds the release keys, by its socket [default: host settings]
    #[arg(long, global = true, value_name = "SOCKET", env = "HSMSIGN_AGENT", hide_env_values = true)]
    pub agent: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// Whom a verification trusts.
#[derive(Clone, Debug, Default, Args)]
pub struct TrustArgs {
    /// `dev`, `release`, or a file with a certificate or public key, for one role alone if that stands
    /// before it [default: the current mode's keys]
    #[arg(long, value_name = "dev|release|[ROLE=]FILE")]
    pub trust: Vec<String>,
}
