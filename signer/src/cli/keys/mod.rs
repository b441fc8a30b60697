//! `keys`: show, check, make and export keys.

mod certificate_info;
mod check;
mod export;
mod list;
mod make;
mod unlatch;

use super::Context;
use crate::{error::Error, request::Role};
use std::path::PathBuf;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Show every role's key as far as it is known without opening a token
    List(ListArgs),
    /// Open every role's key and judge it; exit code 4 if the policy refuses one
    Check(CheckArgs),
    /// Make a role's key inside its token
    Generate(GenerateArgs),
    /// Write a role's public key
    Public(ExportArgs),
    /// Write a role's certificate; for `update`, as PEM, the policy's `chain` behind it
    Certificate(ExportArgs),
    /// Write a certification request for a role's release key, signed by it
    Csr(CsrArgs),
    /// Print the policy lines that pin a role's release key
    Pin(PinArgs),
    /// Allow one more attempt to log in to release tokens that refused a PIN
    Unlatch(UnlatchArgs),
}

/// Arguments of `keys list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign keys list --json")]
pub struct ListArgs {}

/// Arguments of `keys check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign --mode release keys check --role update")]
pub struct CheckArgs {
    /// Whose keys [default: all]
    #[arg(long)]
    role: Vec<Role>,
}

/// Arguments of `keys generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign --mode release keys generate --role update")]
pub struct GenerateArgs {
    /// Whose key
    #[arg(long)]
    role: Role,
    /// Do not ask before touching a release token
    #[arg(long)]
    yes: bool,
}

/// Arguments of `keys public` and `keys certificate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hsmsign keys public --role fit -o fit.pem\n  hsmsign keys certificate --role update --format der -o update.der"
)]
pub struct ExportArgs {
    /// Whose key
    #[arg(long)]
    role: Role,
    /// Encoding
    #[arg(long, value_enum, default_value_t = Encoding::Pem)]
    format: Encoding,
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `keys csr`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign --mode release keys csr --role update -o update.csr")]
pub struct CsrArgs {
    /// Whose key, encoding, and where to write it
    #[command(flatten)]
    export: ExportArgs,
    /// Common name of the subject [default: product and role]
    #[arg(long, value_name = "NAME")]
    common_name: Option<String>,
}

/// Arguments of `keys pin`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign --mode release keys pin --role update")]
pub struct PinArgs {
    /// Whose key
    #[arg(long)]
    role: Role,
}

/// Arguments of `keys unlatch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign --mode release keys unlatch --token factory")]
pub struct UnlatchArgs {
    /// Whose token [default: every role's]
    #[arg(long, conflicts_with = "token")]
    role: Option<Role>,
    /// Which token, by its name in the host settings
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
}

/// How keys and certificates are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Encoding {
    /// Text
    Pem,
    /// Binary
    Der,
}

pub(super) fn run(context: &Context<'_>, command: &KeysCommand) -> Result<(), Error> {
    match command {
        KeysCommand::List(ListArgs {}) => list::run(context),
        KeysCommand::Check(args) => check::run(context, &args.role),
        KeysCommand::Generate(args) => make::generate(context, args),
        KeysCommand::Public(args) => export::public(context, args),
        KeysCommand::Certificate(args) => export::certificate(context, args),
        KeysCommand::Csr(args) => export::csr(context, args),
        KeysCommand::Pin(args) => make::pin(context, args.role),
        KeysCommand::Unlatch(args) => unlatch::run(context, args),
    }
}

/// For commands about release keys alone.
fn release_only(what: &str) -> Error {
    Error::Usage {
        message: format!("`keys {what}` is for release keys"),
        hint: Some("add `--mode release`".into()),
    }
}
