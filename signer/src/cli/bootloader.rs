//! `sign bootloader` and `verify bootloader`.

mod verify;

pub(super) use verify::VerifyBootloaderArgs;
pub(super) use verify::verify;

use super::{
    Context,
    control_tree::{self, PendingTree, TreeResult},
    fit::{SignedFit, write_signed},
    overwrite::{is_same_file, refuse_overwrite},
};
use crate::{
    error::Error,
    format::{
        bootloader::u_boot_fit::PutKey,
        control_dtb::{Location, Required},
        fit::Fit,
    },
    io::{AtomicFile, FileSource},
    request::{Answer, Identity, Role},
};
use std::path::{Path, PathBuf};

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[group(skip)]
#[command(after_long_help = "\
A key of ours that stands in a tree already is replaced, in the other mode too; keys of others stay, and that is
said. Trees are put in place before OUT appears, so a run that is cut short never leaves a signed U-Boot beside an
SPL that accepts unsigned ones.

Examples:
  hsmsign sign bootloader --control-dtb u-boot.dtb
  hsmsign sign bootloader --u-boot-bin u-boot.bin
  hsmsign sign bootloader --fit u-boot.itb -o u-boot.signed.itb --spl-dtb spl/u-boot-spl.dtb")]
pub struct SignBootloaderArgs {
    /// U-Boot's control tree: gets the `fit` key, in place
    #[arg(long, value_name = "DTB", group = "what", conflicts_with = "u_boot_bin")]
    pub control_dtb: Option<PathBuf>,
    /// U-Boot with its control tree behind it: that tree gets the `fit` key, in place
    #[arg(long, value_name = "BIN", group = "what")]
    pub u_boot_bin: Option<PathBuf>,
    /// U-Boot proper as a FIT: control trees in it get the `fit` key, then the `bootloader` key signs it
    #[arg(long, value_name = "U-BOOT.itb", group = "what", requires = "output")]
    pub fit: Option<PathBuf>,
    /// Where to write the signed FIT
    #[arg(short, long, value_name = "OUT", requires = "fit")]
    pub output: Option<PathBuf>,
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
    /// U-Boot proper, signed with the `bootloader` key.
    fit: Option<SignedFit>,
    /// Control trees in that FIT, with the `fit` key.
    carried_trees: Vec<TreeResult>,
}

pub(super) fn sign(context: &Context<'_>, args: &SignBootloaderArgs) -> Result<(), Error> {
    refuse_one_file_twice(args)?;
    let required = args.required.into();
    let control = match (&args.control_dtb, &args.u_boot_bin) {
        (Some(path), _) => Some((path, Location::Whole)),
        (None, Some(path)) => Some((path, Location::Appended)),
        (None, None) => None,
    };
    let signer = |wanted: bool, role| wanted.then(|| context.signer(role)).transpose();
    let fit_signer = signer(control.is_some() || args.fit.is_some(), Role::Fit)?;
    let bootloader_signer = signer(args.fit.is_some() || args.spl_dtb.is_some(), Role::Bootloader)?;
    let (fit_signer, bootloader_signer) = (fit_signer.as_deref(), bootloader_signer.as_deref());

    let put = |path: &Path, location, signer: Option<&dyn Answer>| {
        let identity = signer.map(|s| s.identity().clone());
        identity
            .map(|id| Ok::<_, Error>((PendingTree::write(path, location, &id, required)?, id)))
            .transpose()
    };
    let control = match control {
        Some((path, location)) => put(path, location, fit_signer)?,
        None => None,
    };
    let spl = match &args.spl_dtb {
        Some(path) => put(path, Location::Whole, bootloader_signer)?,
        None => None,
    };
    let signed = args
        .fit
        .as_deref()
        .zip(args.output.as_deref())
        .zip(fit_signer.zip(bootloader_signer))
        .map(|((input, output), signers)| sign_fit(context, input, output, signers, required))
        .transpose()?;

    // Nothing is in place yet. Trees go first: a tree that demands a signature nobody made stops a
    // device from booting, but a signed image whose tree demands none boots anything.
    let mut result = SignedBootloader::default();
    if let Some((pending, identity)) = spl {
        result.spl_tree = Some(pending.commit(&identity)?);
    }
    if let Some((pending, identity)) = control {
        result.control_tree = Some(pending.commit(&identity)?);
    }
    if let Some((file, fit, carried_trees)) = signed {
        file.commit()?;
        result.fit = Some(fit);
        result.carried_trees = carried_trees;
    }
    result.tell(context, args);
    context.output.result(&result, String::new)
}

/// Each tree is read once and written once; one file in two parts would lose one of the keys, and a FIT
/// over a tree the tree.
fn refuse_one_file_twice(args: &SignBootloaderArgs) -> Result<(), Error> {
    let trees = [&args.control_dtb, &args.u_boot_bin, &args.spl_dtb];
    let trees = || trees.into_iter().filter_map(Option::as_deref);
    let spl = args.spl_dtb.as_deref();
    let of_u_boot = [&args.control_dtb, &args.u_boot_bin].into_iter().filter_map(Option::as_deref);
    if of_u_boot.into_iter().any(|tree| spl.is_some_and(|spl| is_same_file(spl, tree))) {
        return Err(Error::Usage {
            message: "SPL and U-Boot have a control tree each, but one file is named for both".into(),
            hint: Some("SPL's tree is usually `spl/u-boot-spl.dtb`".into()),
        });
    }
    if let Some(fit) = &args.fit
        && trees().any(|tree| is_same_file(fit, tree))
    {
        return Err(Error::Usage {
            message: "the FIT and the control tree are two things, but one file is named for both".into(),
            hint: Some("the FIT is usually `u-boot.itb`".into()),
        });
    }
    args.output.as_deref().map_or(Ok(()), |output| refuse_overwrite(output, trees()))
}

/// Signs U-Boot's FIT into a temporary file; the fit key goes into its control trees first.
fn sign_fit(
    context: &Context<'_>,
    input: &Path,
    output: &Path,
    (fit_signer, signer): (&dyn Answer, &dyn Answer),
    required: Required,
) -> Result<(AtomicFile, SignedFit, Vec<TreeResult>), Error> {
    let source = FileSource::open(input)?;
    let fit = Fit::parse(&source).map_err(Error::malformed(input))?;
    let identity = fit_signer.identity();
    let is_ours = |hint: &str| Identity::parse_hint(hint).is_some();
    let supersedes = |hint: &str| control_tree::supersedes(identity, hint);
    let put_key = PutKey::new(&fit, control_tree::entry(identity, required), &is_ours, &supersedes)
        .map_err(Error::malformed(input))?;
    let image_signatures = required == Required::Image;
    let (file, signed) = write_signed(context, signer, input, output, &put_key, image_signatures)?;
    let name = output.display();
    let trees = put_key.into_placed().into_iter().map(|(image, placed)| TreeResult {
        file: format!("{name}:{image}"),
        fingerprint: identity.public_key.fingerprint(),
        placed,
    });
    Ok((file, signed, trees.collect()))
}

impl SignedBootloader {
    fn tell(&self, context: &Context<'_>, args: &SignBootloaderArgs) {
        let output = context.output;
        for tree in [&self.spl_tree, &self.control_tree].into_iter().flatten().chain(&self.carried_trees) {
            tree.tell(output);
        }
        let Some(fit) = &self.fit else { return };
        fit.tell(context);
        if self.carried_trees.is_empty() && self.control_tree.is_none() {
            output.warn(
                "the FIT carries no control tree, and none was named: if U-Boot's program ends in its tree, put \
                 the `fit` key there with `--u-boot-bin` before the FIT is made",
            );
        }
        if args.spl_dtb.is_none() {
            output.note("no `--spl-dtb`: SPL must hold the `bootloader` key already");
        }
    }
}
