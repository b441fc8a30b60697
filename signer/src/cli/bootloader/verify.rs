//! `verify bootloader`.

use crate::{
    cli::{Context, examples, options::TrustArgs},
    crypto::PublicKey,
    error::Error,
    format::{
        Source as _,
        bootloader::{u_boot::boots_legacy_images, u_boot_fit::control_trees},
        control_dtb::{Expected, Location, Stage, check_tree},
        fit::{self, Fit},
    },
    io::FileSource,
    report::{Report, Verdict},
    request::{Identity, Role},
};
use std::path::{Path, PathBuf};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A tree passes if the role's key stands in it, sound and `required`, and no key of ours that is not trusted. Warnings
tell of what else can make verified boot worthless, as far as the tree and the program show it.

Examples:
  hsmsign verify bootloader --u-boot-bin u-boot.bin --trust release
  hsmsign verify bootloader --fit u-boot.signed.itb --spl-dtb spl/u-boot-spl.dtb")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
#[group(skip)]
pub struct VerifyBootloaderArgs {
    /// U-Boot's control tree: must demand signatures by the `fit` key
    #[arg(long, value_name = "DTB", group = "which")]
    pub control_dtb: Option<PathBuf>,
    /// U-Boot with its control tree behind it
    #[arg(long, value_name = "BIN", group = "which")]
    pub u_boot_bin: Option<PathBuf>,
    /// U-Boot proper as a FIT: must be signed by the `bootloader` key, with the `fit` key in its control trees
    #[arg(long, value_name = "U-BOOT.itb", group = "which")]
    pub fit: Option<PathBuf>,
    /// SPL's control tree: must demand signatures by the `bootloader` key
    #[arg(long, value_name = "DTB", group = "which")]
    pub spl_dtb: Option<PathBuf>,
    /// Whom to trust
    #[command(flatten)]
    pub trust: TrustArgs,
}

pub(in crate::cli) fn verify(context: &Context<'_>, args: &VerifyBootloaderArgs) -> Result<(), Error> {
    let mut report = Report::new("bootloader");
    if let Some(path) = &args.control_dtb {
        verify_tree(context, args, path, Location::Whole, Stage::UBoot, &mut report)?;
    }
    if let Some(path) = &args.u_boot_bin {
        verify_tree(context, args, path, Location::Appended, Stage::UBoot, &mut report)?;
        verify_program(path, &mut report)?;
    }
    if let Some(path) = &args.fit {
        verify_fit(context, args, path, &mut report)?;
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
    let tree = location.read(&FileSource::open(path)?).map_err(Error::malformed(path))?;
    let keys = StageKeys::new(context, args, stage)?;
    check_tree(&tree, &name(path), stage, &keys.expected(), report).map_err(Error::malformed(path))?;
    examples::judge_tree(context, &args.trust, &name(path), &tree, report);
    Ok(())
}

/// U-Boot's FIT: signed by the bootloader key, with the fit key in the trees that it carries.
fn verify_fit(
    context: &Context<'_>,
    args: &VerifyBootloaderArgs,
    path: &Path,
    report: &mut Report,
) -> Result<(), Error> {
    let source = FileSource::open(path)?;
    let name = name(path);
    let bar = context.output.progress("hashing", source.len_bytes());
    let trusted = trusted_keys(context, args, Role::Bootloader)?;
    let found = fit::verify(&source, &name, &trusted, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let found = found.map_err(Error::malformed(path))?;
    for check in found.checks {
        report.add(format!("{name}:{}", check.place), check.verdict, check.detail);
    }
    report.signed_by.extend(found.signed_by);

    let fit = Fit::parse(&source).map_err(Error::malformed(path))?;
    let trees = control_trees(&fit).map_err(Error::malformed(path))?;
    if trees.is_empty() {
        let detail = "carries no control tree, so nothing here shows whom U-Boot trusts";
        report.add(&name, Verdict::Warn, detail);
    }
    for (image, tree) in trees {
        let keys = StageKeys::new(context, args, Stage::UBoot)?;
        let place = format!("{name}:{image}");
        check_tree(&tree, &place, Stage::UBoot, &keys.expected(), report).map_err(Error::malformed(path))?;
        examples::judge_tree(context, &args.trust, &place, &tree, report);
    }
    Ok(())
}

/// The keys that a stage's tree is held against.
struct StageKeys {
    trusted: Vec<PublicKey>,
    other_roles: Vec<PublicKey>,
}

impl StageKeys {
    fn new(context: &Context<'_>, args: &VerifyBootloaderArgs, stage: Stage) -> Result<Self, Error> {
        let (role, other_role) = match stage {
            Stage::UBoot => (Role::Fit, Role::Bootloader),
            Stage::Spl => (Role::Bootloader, Role::Fit),
        };
        let trusted = trusted_keys(context, args, role)?;
        // A policy may know one role alone; then no other key is expected.
        let other_roles = trusted_keys(context, args, other_role).unwrap_or_default();
        Ok(Self { trusted, other_roles })
    }

    fn expected(&self) -> Expected<'_> {
        Expected { trusted: &self.trusted, other_roles: &self.other_roles, describe: &describe }
    }
}

fn trusted_keys(
    context: &Context<'_>,
    args: &VerifyBootloaderArgs,
    role: Role,
) -> Result<Vec<PublicKey>, Error> {
    Ok(context.trust(role, &args.trust)?.into_iter().map(|trusted| trusted.public_key).collect())
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
