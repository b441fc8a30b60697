//! `keys public`, `keys certificate`, `keys csr`: what others need of a key.

use super::{Context, CsrArgs, Encoding, ExportArgs, release_only};
use crate::{
    crypto::PublicKey,
    error::Error,
    io::AtomicFile,
    key::{
        KeyError,
        certificate::{self, Holder, UnsignedRequest},
    },
    policy::{Policy, Refusal},
    request::Role,
};
use der::pem::LineEnding;
use serde::Serialize;
use std::{io::Write as _, path::Path};

/// What was exported.
#[derive(Debug, Serialize)]
struct Exported {
    /// Whose key.
    role: Role,
    /// The key's fingerprint, `sha256:…`.
    fingerprint: String,
    /// The file that was written; null if it went to standard output.
    file: Option<String>,
    /// The thing itself as PEM, if no file was named.
    pem: Option<String>,
}

pub(super) fn public(context: &Context<'_>, args: &ExportArgs) -> Result<(), Error> {
    let key = public_key(context, args.role)?;
    let pem = key.to_pem().map_err(|e| Error::Internal(e.to_string()))?;
    write(context, args, &key, pem, key.spki_der())
}

pub(super) fn certificate(context: &Context<'_>, args: &ExportArgs) -> Result<(), Error> {
    let role = args.role;
    let key = match context.policy() {
        Policy::Off => return Err(Refusal::Off.into()),
        Policy::Dev(_) => {
            let key = context.signer(role)?;
            (key.identity().public_key.clone(), key.identity().certificate.clone(), Vec::new())
        }
        Policy::Release(policy) => {
            if policy.key(role)?.certificate.is_none() {
                return Err(Refusal::NoCertificate(role).into());
            }
            let trusted = context.trusted_release_keys(role)?.into_iter().next();
            let trusted = trusted.ok_or(Refusal::NoCertificate(role))?;
            (trusted.public_key, trusted.certificate, trusted.chain)
        }
    };
    let (key, Some(der), chain) = key else { return Err(Refusal::NoCertificate(role).into()) };
    // swupdate trusts no certificate that another one issued. The kernel does, and takes every certificate of
    // the file as an anchor, so what it gets for a root filesystem is the key's own alone.
    let issuers = if role == Role::Update { chain } else { Vec::new() };
    let mut pem = String::new();
    for der in std::iter::once(&der).chain(&issuers) {
        let bad = |reason| KeyError::Certificate { label: format!("role {role}"), reason };
        pem.push_str(&certificate::to_pem(der).map_err(bad)?);
    }
    write(context, args, &key, pem, &der)
}

pub(super) fn csr(context: &Context<'_>, args: &CsrArgs) -> Result<(), Error> {
    let role = args.export.role;
    let Policy::Release(policy) = context.policy() else { return Err(release_only("csr")) };
    let access = context.release_access(policy, role)?;
    let key = context.release_tokens()?.inspect(&access)?.key.public_key;
    let product = context.product();
    let holder = Holder {
        organization: product.to_owned(),
        unit: "firmware signing".into(),
        common_name: args.common_name.clone().unwrap_or_else(|| format!("{product} {role}")),
    };
    let bad = |reason| KeyError::Certificate { label: format!("role {role}"), reason };
    let unsigned = UnsignedRequest::new(&key, &holder).map_err(bad)?;
    let signature = context.release_tokens()?.sign_own(&access, &unsigned.request(role))?;
    let der = unsigned.finish(&signature).map_err(bad)?;
    // RFC 7468, section 7.
    let pem = der::pem::encode_string("CERTIFICATE REQUEST", LineEnding::LF, &der)
        .map_err(|e| Error::Internal(e.to_string()))?;
    write(context, &args.export, &key, pem, &der)
}

/// The public key of `role`; a release key's certificate spares opening its token.
fn public_key(context: &Context<'_>, role: Role) -> Result<PublicKey, Error> {
    match context.policy() {
        Policy::Off => Err(Refusal::Off.into()),
        Policy::Dev(_) => Ok(context.signer(role)?.identity().public_key.clone()),
        Policy::Release(policy) => {
            if policy.key(role)?.certificate.is_some()
                && let Some(trusted) = context.trusted_release_keys(role)?.into_iter().next()
            {
                return Ok(trusted.public_key);
            }
            Ok(context.inspect(policy, role)?.key.public_key)
        }
    }
}

fn write(
    context: &Context<'_>,
    args: &ExportArgs,
    key: &PublicKey,
    pem: String,
    der: &[u8],
) -> Result<(), Error> {
    let bytes = match args.format {
        Encoding::Pem => pem.as_bytes(),
        Encoding::Der => der,
    };
    let exported = Exported {
        role: args.role,
        fingerprint: key.fingerprint(),
        file: args.output.as_ref().map(|path| path.display().to_string()),
        pem: args.output.is_none().then(|| pem.clone()),
    };
    match &args.output {
        Some(path) => {
            to_file(path, bytes)?;
            context.output.result(&exported, String::new)
        }
        None if context.output.is_json() => context.output.result(&exported, String::new),
        None => std::io::stdout().write_all(bytes).map_err(Error::file("write", "standard output".as_ref())),
    }
}

fn to_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::file("write", path))?;
    file.commit()
}
