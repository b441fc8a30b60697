//! `completions` and `man`: made from the same definition as the command line itself.

use super::{Cli, Output};
use crate::{error::Error, io::AtomicFile};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{io::Write as _, path::PathBuf};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hsmsign completions bash > ~/.local/share/bash-completion/completions/hsmsign"
)]
pub struct CompletionsArgs {
    /// Which shell's
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hsmsign man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Where to put the pages; made if missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the completions.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hsmsign", &mut script);
    std::io::stdout().write_all(&script).map_err(Error::file("write", "standard output".as_ref()))
}

/// Writes one page per command.
pub(super) fn man(args: &ManArgs, output: &Output) -> Result<(), Error> {
    std::fs::create_dir_all(&args.directory).map_err(Error::file("create", &args.directory))?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut written = 0;
    for command in pages(root) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let path = args.directory.join(format!("{name}.1"));
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.map_err(Error::file("write", &path))?;
        let mut file = AtomicFile::create(&path)?;
        file.write_all(&page).map_err(Error::file("write", &path))?;
        file.commit()?;
        written += 1;
    }
    output.note(format_args!("wrote {written} pages into `{}`", args.directory.display()));
    Ok(())
}

/// The command and all below it; clap has named each `hsmsign-sign-fit` when it built them.
fn pages(command: clap::Command) -> Vec<clap::Command> {
    let below: Vec<_> =
        command.get_subcommands().filter(|c| c.get_name() != "help").flat_map(|c| pages(c.clone())).collect();
    std::iter::once(command).chain(below).collect()
}
