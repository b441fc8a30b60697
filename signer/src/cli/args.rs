//! The command tree. Arguments of a subcommand stand beside its `run`.

use super::{
    agent, audit, blob, bootloader, completions, deploy, doctor, fit, init, keys, options::Global, rootfs,
    scan, swu,
};
use clap::{Parser, Subcommand};

/// Signs firmware with keys held in an HSM.
#[derive(Debug, Parser)]
#[command(
    name = "hsmsign",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:\n  hsmsign init\n  hsmsign sign fit fitImage -o fitImage.signed --control-dtb u-boot.dtb\n  \
                  hsmsign verify fit fitImage.signed\n  hsmsign doctor",
    after_long_help = "Examples:\n  hsmsign init\n  hsmsign sign fit fitImage -o fitImage.signed --control-dtb u-boot.dtb\n  \
                  hsmsign verify fit fitImage.signed\n  hsmsign doctor\n\n\
                  Exit codes: 0 done, 1 internal fault, 2 usage, 3 configuration (also doctor with findings), 4 refused by \
                  policy (also keys check), 5 token, PIN or agent, 6 malformed artifact, 7 verification failed (also audit verify, and scan with findings), 8 file access."
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented hsmsign.yaml and provision the dev token
    Init(init::InitArgs),
    /// Show what is configured, what is reachable, what is wrong and how to mend it
    Doctor(doctor::DoctorArgs),
    /// Show, check, make and export keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Show and verify the log of release signatures
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Sign an artifact
    #[command(subcommand)]
    Sign(Sign),
    /// Verify an artifact as strictly as the device should
    #[command(subcommand)]
    Verify(Verify),
    /// Hold the release tokens, and sign for builds that ask over a Unix socket
    Agent(agent::AgentArgs),
    /// Find private keys, PINs and example keys in trees, archives and images
    Scan(scan::ScanArgs),
    /// Print a shell's completions
    Completions(completions::CompletionsArgs),
    /// Write man pages
    Man(completions::ManArgs),
}

/// Sign an artifact.
#[derive(Debug, Subcommand)]
pub enum Sign {
    /// Sign a FIT image for U-Boot
    Fit(fit::SignFitArgs),
    /// Put public keys into control device trees; sign U-Boot proper as a FIT
    Bootloader(bootloader::SignBootloaderArgs),
    /// Make a dm-verity hash tree and sign its root hash
    Rootfs(rootfs::SignRootfsArgs),
    /// Make and sign a swupdate bundle, or sign one again
    Swu(swu::SignSwuArgs),
    /// Make a detached signature of any file
    Blob(blob::SignBlobArgs),
}

/// Verify an artifact.
#[derive(Debug, Subcommand)]
pub enum Verify {
    /// Verify a FIT image
    Fit(fit::VerifyFitArgs),
    /// Verify control device trees and U-Boot's FIT
    Bootloader(bootloader::VerifyBootloaderArgs),
    /// Verify a dm-verity image, its root hash and the signature of that
    Rootfs(rootfs::VerifyRootfsArgs),
    /// Verify a swupdate bundle
    Swu(swu::VerifySwuArgs),
    /// Verify a detached signature
    Blob(blob::VerifyBlobArgs),
    /// Verify a whole deploy directory and the chain of trust in it: the release gate
    Deploy(deploy::VerifyDeployArgs),
}
