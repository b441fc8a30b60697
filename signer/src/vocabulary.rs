//! The two words that every part of the program shares: mode and role.

/// What the build is for; one variable chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is signed.
    Off,
    /// Keys in a SoftHSMv2 token made on first use.
    Dev,
    /// Pinned keys in an HSM.
    Release,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Dev => "dev",
            Self::Release => "release",
        })
    }
}

/// Who signs what; each role has its own key per mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// U-Boot proper, checked by SPL or ROM.
    Bootloader,
    /// FIT images, checked by U-Boot.
    Fit,
    /// dm-verity root hashes, checked by the kernel.
    Rootfs,
    /// swupdate bundles, checked by swupdate.
    Update,
}

impl Role {
    /// Every role, in boot order.
    pub const ALL: [Self; 4] = [Self::Bootloader, Self::Fit, Self::Rootfs, Self::Update];

    /// The name used in configuration and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootloader => "bootloader",
            Self::Fit => "fit",
            Self::Rootfs => "rootfs",
            Self::Update => "update",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|r| r.name() == name)
            .ok_or_else(|| format!("unknown role `{name}`; roles are bootloader, fit, rootfs, update"))
    }
}

/// What `scan` finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakKind {
    /// A private key that anyone who has the file can use.
    PrivateKey,
    /// A private key behind a password.
    EncryptedPrivateKey,
    /// A key store with a private key: PKCS#12, Java.
    KeyStore,
    /// An AES key in swupdate's form.
    AesKey,
    /// A software token's key.
    Token,
    /// A PIN.
    Pin,
    /// The public half of a key whose private half is published.
    ExampleKey,
    /// Something that could not be looked into.
    NotLookedInto,
}

impl LeakKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::PrivateKey,
        Self::EncryptedPrivateKey,
        Self::KeyStore,
        Self::AesKey,
        Self::Token,
        Self::Pin,
        Self::ExampleKey,
        Self::NotLookedInto,
    ];

    /// The name used in allow-lists and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "private-key",
            Self::EncryptedPrivateKey => "encrypted-private-key",
            Self::KeyStore => "key-store",
            Self::AesKey => "aes-key",
            Self::Token => "token",
            Self::Pin => "pin",
            Self::ExampleKey => "example-key",
            Self::NotLookedInto => "not-looked-into",
        }
    }
}

impl std::fmt::Display for LeakKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
