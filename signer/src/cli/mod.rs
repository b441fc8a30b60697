//! The command line: each subcommand is a clap struct and a `run`.

mod agent;
mod args;
mod audit;
mod blob;
mod bootloader;
mod completions;
mod context;
mod control_tree;
mod deploy;
mod doctor;
mod examples;
mod fit;
mod init;
mod interrupt;
mod keys;
mod options;
mod output;
mod overwrite;
mod release;
mod rootfs;
mod scan;
mod settings;
mod swu;
mod trust_file;

pub use args::{Cli, Command};
pub use context::Context;
pub use output::Output;

use crate::error::{Error, Exit};
use clap::{CommandFactory as _, FromArgMatches as _};
use std::process::ExitCode;

/// Parses, runs, prints, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints help and version itself, and exits with 2 on wrong use.
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    let output = Output::new(&cli.global);
    let exit = match run(cli, &settings::Given::new(&matches), &output) {
        Ok(()) => Exit::Done,
        Err(error) => {
            output.error(&error);
            if let Error::Interrupted { signal } = error {
                interrupt::end_by(signal);
            }
            error.exit()
        }
    };
    ExitCode::from(exit as u8)
}

fn run(cli: Cli, given: &settings::Given, output: &Output) -> Result<(), Error> {
    match &cli.command {
        Command::Init(args) => return init::run(cli.global, given, args, output),
        Command::Completions(args) => return completions::completions(args),
        Command::Man(args) => return completions::man(args, output),
        Command::Doctor(_) => return doctor::run(&cli.global, given, output),
        Command::Agent(args) => return agent::run(cli.global, given, args, output),
        Command::Audit(command) => return audit::run(&cli.global, given, command, output),
        Command::Scan(args) => return scan::run(&cli.global, given, args, output),
        Command::Keys(_) | Command::Sign(_) | Command::Verify(_) => {}
    }
    let context = Context::new(&cli.global, given, output)?;
    let result = match cli.command {
        // Done above: these need no settings, or make them.
        Command::Init(_)
        | Command::Doctor(_)
        | Command::Agent(_)
        | Command::Audit(_)
        | Command::Scan(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
        Command::Keys(command) => keys::run(&context, &command),
        Command::Sign(command) => match command {
            args::Sign::Fit(args) => fit::sign(&context, &args),
            args::Sign::Bootloader(args) => bootloader::sign(&context, &args),
            args::Sign::Rootfs(args) => rootfs::sign(&context, &args),
            args::Sign::Swu(args) => swu::sign(&context, &args),
            args::Sign::Blob(args) => blob::sign(&context, &args),
        },
        Command::Verify(command) => match command {
            args::Verify::Fit(args) => fit::verify(&context, &args),
            args::Verify::Bootloader(args) => bootloader::verify(&context, &args),
            args::Verify::Rootfs(args) => rootfs::verify(&context, &args),
            args::Verify::Swu(args) => swu::verify(&context, &args),
            args::Verify::Blob(args) => blob::verify(&context, &args),
            args::Verify::Deploy(args) => deploy::verify(&context, &args),
        },
    };
    context.tell_record();
    result
}
