//! What a verification found, for people and for machines.

use serde::Serialize;

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// Legal, but it weakens the chain of trust; does not change the exit code.
    Warn,
    /// Refused.
    Fail,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Where: a node path, an image name, an offset.
    pub place: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, one line, lower case, no final stop.
    pub detail: String,
}

/// A signature that verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedBy {
    /// Which signature: a node path, `sw-description.sig`, ….
    pub place: String,
    /// SubjectPublicKeyInfo SHA-256, `sha256:…`.
    pub fingerprint: String,
    /// Algorithm, such as `rsa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
}

/// Everything found about one artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The artifact's name.
    pub artifact: String,
    /// Every check, in the order of the artifact.
    pub checks: Vec<Check>,
    /// Every signature that verified.
    pub signed_by: Vec<SignedBy>,
}

impl Report {
    /// An empty report about `artifact`.
    #[must_use]
    pub fn new(artifact: impl Into<String>) -> Self {
        Self { artifact: artifact.into(), ..Self::default() }
    }

    /// Adds a check.
    pub fn add(&mut self, place: impl Into<String>, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { place: place.into(), verdict, detail: detail.into() });
    }

    /// The first failed check, if any.
    #[must_use]
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|c| c.verdict == Verdict::Fail)
    }
}
