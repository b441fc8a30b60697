//! `sign bootloader` and `verify bootloader`.

use super::{
    Context,
    args::TrustArgs,
    control_tree::{PendingTree, TreeResult},
};
use crate::{
    crypto::PublicKey,
    error::Error,
    format::{
        bootloader::u_boot::boots_legacy_images,
        control_dtb::{Expected, Location, Required, Stage, check_tree},
    },
    io::FileSource,
    report::{Report, Verdict},
    request::{Identity, Role},
};
use std::path::{Path, PathBuf};

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hsmsign sign bootloader --control-dtb u-boot.dtb\n  \
    hsmsign sign bootloader --u-boot-bin u-boot.bin")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[group(skip)]
pub struct SignBootloaderArgs {
    /// U-Boot's control tree: gets the `fit` key, in place
    #[arg(long, value_name = "DTB", group = "what", conflicts_with = "u_boot_bin")]
    pub control_dtb: Option<PathBuf>,
    /// U-Boot with its control tree behind it: that tree gets the `fit` key, in place
    #[arg(long, value_name = "BIN", group = "what")]
    pub u_boot_bin: Option<PathBuf>,
    /// SPL's control tree: gets the `bootloader` key, in place
    #[arg(long, value_name = "DTB", group = "what")]
    pub spl_dtb: Option<PathBuf>,
    /// What a device must find signed by these keys
    #[arg(long, value_enum, value_name = "WHAT", default_value = "conf")]
    pub required: RequiredArg,
}

/// What a device must find signed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum RequiredArg {
    /// Configurations, with every image they name
    Conf,
    /// Each image by itself; images of several FITs can then be mixed
    Image,
}

impl From<RequiredArg> for Required {
    fn from(required: RequiredArg) -> Self {
        match required {
            RequiredArg::Conf => Self::Conf,
            RequiredArg::Image => Self::Image,
        }
    }
}

/// What `sign bootloader` did.
#[derive(Debug, Default, serde::Serialize)]
struct SignedBootloader {
    /// U-Boot's control tree, with the `fit` key.
    control_tree: Option<TreeResult>,
    /// SPL's control tree, with the `bootloader` key.
    spl_tree: Option<TreeResult>,
}

pub(super) fn sign(context: &Context<'_>, args: &SignBootloaderArgs) -> Result<(), Error> {
    refuse_one_file_twice(args)?;
    let required = args.required.into();
    let control = match (&args.control_dtb, &args.u_boot_bin) {
        (Some(path), _) => Some((path, Location::Whole)),
        (None, Some(path)) => Some((path, Location::Appended)),
        (None, None) => None,
    };
    let control = control
        .map(|(path, location)| {
            let signer = context.signer(Role::Fit)?;
            let pending = PendingTree::write(path, location, signer.identity(), required)?;
            Ok::<_, Error>((pending, signer))
        })
        .transpose()?;
    let spl = args
        .spl_dtb
        .as_deref()
        .map(|path| {
            let signer = context.signer(Role::Bootloader)?;
            let pending = PendingTree::write(path, Location::Whole, signer.identity(), required)?;
            Ok::<_, Error>((pending, signer))
        })
        .transpose()?;

    // Nothing is in place yet. Trees go first: a tree that demands a signature nobody made stops a
    // device from booting, but a signed image whose tree demands none boots anything.
    let mut result = SignedBootloader::default();
    if let Some((pending, signer)) = spl {
        result.spl_tree = Some(pending.commit(signer.identity())?);
    }
    if let Some((pending, signer)) = control {
        result.control_tree = Some(pending.commit(signer.identity())?);
    }
    for tree in [&result.spl_tree, &result.control_tree].into_iter().flatten() {
        tree.tell(context.output);
    }
    context.output.result(&result, String::new)
}

/// Each tree is read once and written once; one file in two parts would lose one of the keys.
fn refuse_one_file_twice(args: &SignBootloaderArgs) -> Result<(), Error> {
    let real = |path: &Option<PathBuf>| path.as_ref().and_then(|p| p.canonicalize().ok());
    let spl = real(&args.spl_dtb);
    if spl.is_some() && (spl == real(&args.control_dtb) || spl == real(&args.u_boot_bin)) {
        return Err(Error::Usage {
            message: "SPL and U-Boot have a control tree each, but one file is named for both".into(),
            hint: Some("SPL's tree is usually `spl/u-boot-spl.dtb`".into()),
        });
    }
    Ok(())
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hsmsign verify bootloader --u-boot-bin u-boot.bin --spl-dtb u-boot-spl.dtb --trust release"
)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
#[group(skip)]
pub struct VerifyBootloaderArgs {
    /// U-Boot's control tree: must demand signatures by the `fit` key
    #[arg(long, value_name = "DTB", group = "which")]
    pub control_dtb: Option<PathBuf>,
    /// U-Boot with its control tree behind it
    #[arg(long, value_name = "BIN", group = "which")]
    pub u_boot_bin: Option<PathBuf>,
    /// SPL's control tree: must demand signatures by the `bootloader` key
    #[arg(long, value_name = "DTB", group = "which")]
    pub spl_dtb: Option<PathBuf>,
    /// Whom to trust
    #[command(flatten)]
    pub trust: TrustArgs,
}

pub(super) fn verify(context: &Context<'_>, args: &VerifyBootloaderArgs) -> Result<(), Error> {
    let mut report = Report::new("bootloader");
    if let Some(path) = &args.control_dtb {
        verify_tree(context, args, path, Location::Whole, Stage::UBoot, &mut report)?;
    }
    if let Some(path) = &args.u_boot_bin {
        verify_tree(context, args, path, Location::Appended, Stage::UBoot, &mut report)?;
        verify_program(path, &mut report)?;
    }
    if let Some(path) = &args.spl_dtb {
        verify_tree(context, args, path, Location::Whole, Stage::Spl, &mut report)?;
    }
    context.output.report(&report)
}

fn verify_tree(
    context: &Context<'_>,
    args: &VerifyBootloaderArgs,
    path: &Path,
    location: Location,
    stage: Stage,
    report: &mut Report,
) -> Result<(), Error> {
    let (role, other_role) = match stage {
        Stage::UBoot => (Role::Fit, Role::Bootloader),
        Stage::Spl => (Role::Bootloader, Role::Fit),
    };
    let keys = |role| {
        let trusted = context.trust(role, &args.trust)?;
        Ok::<Vec<PublicKey>, Error>(trusted.into_iter().map(|t| t.public_key).collect())
    };
    let trusted = keys(role)?;
    // A policy may know one role alone; then no other key is expected.
    let other_roles = keys(other_role).unwrap_or_default();
    let expected = Expected { trusted: &trusted, other_roles: &other_roles, describe: &describe };
    let tree = location.read(&FileSource::open(path)?).map_err(Error::malformed(path))?;
    check_tree(&tree, &name(path), stage, &expected, report).map_err(Error::malformed(path))
}

fn verify_program(path: &Path, report: &mut Report) -> Result<(), Error> {
    if boots_legacy_images(&FileSource::open(path)?).map_err(Error::malformed(path))? {
        report.add(
            name(path),
            Verdict::Warn,
            "boots legacy images, which carry no signature (CONFIG_LEGACY_IMAGE_FORMAT)",
        );
    }
    Ok(())
}

/// What a hint says when it is one of ours.
fn describe(hint: &str) -> Option<String> {
    Identity::parse_hint(hint).map(|(mode, role)| format!("{mode} key of role {role}"))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
