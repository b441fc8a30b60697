//! What the release gate found, for people and for machines.

use crate::{
    report::{Check, SignedBy, Verdict},
    vocabulary::Role,
};
use serde::Serialize;

/// What the release gate found in a deploy directory.
#[derive(Clone, Debug, Serialize)]
pub struct GateReport {
    /// The directory.
    pub directory: String,
    /// Whose keys were trusted: `release`, `dev`, or `given` for keys named by `--trust FILE`.
    pub trust: &'static str,
    /// Whether the policy's release keys are a rehearsal's: nothing that is signed by them may ship.
    pub rehearsal: bool,
    /// `fail` if anything must not ship; then the exit code is 7.
    pub verdict: Verdict,
    /// Every file, in the order of paths; what lies in a bundle, on a disk, on a FAT file system or in a compressed file follows it.
    pub files: Vec<FileReport>,
    /// How trust flows from one artifact to the next.
    pub chain: Vec<Link>,
    /// Every exception that the policy lists.
    pub exceptions: Vec<ExceptionReport>,
    /// What a gate with `--trust release` would refuse, if this one trusts dev keys: sentences for people.
    pub release_would_refuse: Vec<String>,
    /// What else is worth knowing: sentences for people.
    pub notes: Vec<String>,
}

/// What the gate found about one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its path below the directory; behind a colon, what lies in it.
    pub path: String,
    /// Symbolic links that lead to it.
    pub aliases: Vec<String>,
    /// What it is, by its content.
    pub what: String,
    /// The role whose key must sign it.
    pub role: Option<Role>,
    /// Why it may ship, or that it must not.
    pub state: State,
    /// `warn` if something weakens it, `fail` if it must not ship.
    pub verdict: Verdict,
    /// One line: what was found.
    pub detail: String,
    /// The signed artifact that covers its bytes.
    pub covered_by: Option<String>,
    /// Everything for which it must not ship.
    pub problems: Vec<Problem>,
    /// Every check, as the command for this kind of artifact makes it.
    pub checks: Vec<Check>,
    /// Every signature that verified.
    pub signed_by: Vec<SignedBy>,
}

/// Why a file may ship, or that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A trusted key signed it, or it holds the keys that it must.
    Signed,
    /// A signed artifact covers these very bytes.
    Covered,
    /// It belongs to a signed artifact, as a root hash's signature does, or is judged by what lies in it.
    Part,
    /// The policy lets it pass, with a reason.
    Excepted,
    /// It is nothing that a device runs or trusts.
    ByProduct,
    /// It must not ship.
    Failed,
}

/// One reason for which a file must not ship.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem.
    pub kind: ProblemKind,
    /// Where in the file, if not as a whole.
    pub place: Option<String>,
    /// What was found.
    pub detail: String,
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A private key.
    PrivateKey,
    /// A signature by a development key, or a place where a device trusts one.
    Development,
    /// The same of a public example key.
    ExampleKey,
    /// A signature that no trusted key made, or bytes that are not those that were signed.
    BadSignature,
    /// A boot stage trusts no key, or not as it must.
    TrustAnchor,
    /// Two artifacts of the chain do not fit together.
    Chain,
    /// A device would trust a key that the policy does not know.
    UnknownKey,
    /// Not signed, and covered by nothing.
    Unsigned,
    /// It is known what it is, but not how to check it.
    CannotCheck,
    /// It leads out of the directory.
    Outside,
}

impl ProblemKind {
    /// Whether the policy may let it pass. What a release must never ship it cannot.
    #[must_use]
    pub fn may_be_excepted(self) -> bool {
        match self {
            Self::Unsigned | Self::CannotCheck | Self::Outside | Self::UnknownKey => true,
            Self::PrivateKey
            | Self::Development
            | Self::ExampleKey
            | Self::BadSignature
            | Self::TrustAnchor
            | Self::Chain => false,
        }
    }

    /// A word for the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PrivateKey => "private key",
            Self::Development => "development key",
            Self::ExampleKey => "example key",
            Self::BadSignature => "bad signature",
            Self::TrustAnchor => "bad trust anchor",
            Self::Chain => "broken chain",
            Self::UnknownKey => "unknown key",
            Self::Unsigned => "unsigned",
            Self::CannotCheck => "cannot check",
            Self::Outside => "leads outside",
        }
    }
}

/// One step of the chain of trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The artifact that holds a trust anchor; null if none is in the directory.
    pub from: Option<String>,
    /// The artifact that it covers; null if none is in the directory.
    pub to: Option<String>,
    /// What connects the two.
    pub by: String,
    /// Whether it does.
    pub state: LinkState,
    /// What was found, or what would have to be there.
    pub detail: String,
}

/// Whether a step of the chain holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It does.
    Holds,
    /// One end is not in the directory.
    Missing,
    /// Both ends are there and do not fit.
    Broken,
}

/// What became of an exception.
#[derive(Clone, Debug, Serialize)]
pub struct ExceptionReport {
    /// The pattern.
    pub path: String,
    /// The reason that the policy gives.
    pub reason: String,
    /// What it let pass; empty if it was not needed.
    pub used_for: Vec<String>,
}
