//! `keys generate` and `keys pin`: from an empty token to a pinned key.

use super::{Context, GenerateArgs, release_only};
use crate::{
    error::Error,
    key::release::ReleaseAccess,
    policy::{Mode, Policy, Refusal},
    request::Role,
};
use serde::Serialize;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// A key that exists now.
#[derive(Debug, Serialize)]
struct Generated {
    /// Whose key.
    role: Role,
    /// Dev or release.
    mode: Mode,
    /// Its fingerprint, `sha256:…`.
    fingerprint: String,
}

pub(super) fn generate(context: &Context<'_>, args: &GenerateArgs) -> Result<(), Error> {
    let role = args.role;
    let fingerprint = match context.policy() {
        Policy::Off => return Err(Refusal::Off.into()),
        // Dev keys are made by whatever needs them first.
        Policy::Dev(_) => context.signer(role)?.identity().public_key.fingerprint(),
        Policy::Release(policy) => {
            let access = context.release_access(policy, role)?;
            if !args.yes {
                confirm(&access)?;
            }
            context.release_tokens()?.generate(&access)?.fingerprint()
        }
    };
    let generated = Generated { role, mode: context.mode(), fingerprint };
    context.output.result(&generated, || {
        let mut text = format!("role {role}: {} key {}\n", generated.mode, generated.fingerprint);
        if generated.mode == Mode::Release {
            text.push_str(&format!("next: `hsmsign --mode release keys pin --role {role}`\n"));
        }
        text
    })
}

/// Asks before a release token is changed.
fn confirm(access: &ReleaseAccess<'_>) -> Result<(), Error> {
    let usage = |message: &str| Error::Usage {
        message: message.into(),
        hint: Some("add `--yes` if that is meant".into()),
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(usage("making a release key needs a yes, and there is no terminal to ask on"));
    }
    let key_type = access.policy.role(access.role).key_type;
    let question =
        format!("Make a key of type {key_type} in token `{}` ({})? [y/N] ", access.key.token, access.key.uri);
    let mut stderr = std::io::stderr();
    let asked = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    asked.map_err(Error::file("write", "the terminal".as_ref()))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(Error::file("read", "the terminal".as_ref()))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(usage("no key was made")),
    }
}

/// What pins a key.
#[derive(Debug, Serialize)]
struct Pin {
    /// Whose key.
    role: Role,
    /// The fingerprint to be pinned, `sha256:…`.
    pin: String,
    /// The token's serial number.
    serial: String,
    /// Whether the policy pins this key already.
    pinned: bool,
}

pub(super) fn pin(context: &Context<'_>, role: Role) -> Result<(), Error> {
    let Policy::Release(policy) = context.policy() else { return Err(release_only("pin")) };
    let found = context.inspect(policy, role)?;
    let fingerprint = crate::crypto::Fingerprint::of(&found.key.public_key);
    let pin = Pin {
        role,
        pin: fingerprint.to_string(),
        serial: found.token.serial,
        pinned: policy.key(role)?.pins.contains(&fingerprint),
    };
    context.output.result(&pin, || {
        let serial = serde_json::Value::from(pin.serial.as_str());
        format!(
            "# hsmsign.yaml, under release: keys: {role}:\n      pins: [\"{}\"]\n      serial: {serial}\n",
            pin.pin
        )
    })
}
