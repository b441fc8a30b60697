//! `keys check`: every key opened and judged.

use super::Context;
use crate::{
    crypto::Fingerprint,
    error::Error,
    policy::{Exception, Mode, Policy, Refusal, ReleasePolicy},
    report::Verdict,
    request::Role,
};
use serde::Serialize;

/// What was found about one role's key.
#[derive(Debug, Serialize)]
struct Row {
    /// The role.
    role: Role,
    /// Dev or release.
    mode: Mode,
    /// `pass`; `warn`: passes by an exception that the policy names; `fail`.
    verdict: Verdict,
    /// Label of the token; null if it could not be opened.
    token: Option<String>,
    /// Serial number of the token.
    serial: Option<String>,
    /// The key's fingerprint, `sha256:…`.
    fingerprint: Option<String>,
    /// Everything that is wrong, the gravest first.
    problems: Vec<Problem>,
    /// What the policy lets pass by name.
    exceptions: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Problem {
    /// What.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

/// Every key that was checked.
#[derive(Debug, Serialize)]
struct Checked {
    /// In the order of roles.
    keys: Vec<Row>,
}

pub(super) fn run(context: &Context<'_>, roles: &[Role]) -> Result<(), Error> {
    let mut keys = Vec::new();
    let mut worst = None;
    for role in Role::ALL.into_iter().filter(|r| roles.is_empty() || roles.contains(r)) {
        let (row, error) = match context.policy() {
            Policy::Off => return Err(Refusal::Off.into()),
            Policy::Dev(_) => dev_row(context, role),
            Policy::Release(policy) => {
                // A product need not have every role, but what was asked for by name must be there.
                if roles.is_empty() && policy.key(role).is_err() {
                    continue;
                }
                release_row(context, policy, role)
            }
        };
        // A token that cannot be opened says less than a key that is refused.
        worst = match (worst, error) {
            (Some(Error::Refused(r)), _) | (_, Some(Error::Refused(r))) => Some(Error::Refused(r)),
            (first, later) => first.or(later),
        };
        keys.push(row);
    }
    if let (true, Policy::Release(policy)) = (keys.is_empty(), context.policy()) {
        policy.key(Role::Update)?;
    }
    let checked = Checked { keys };
    context.output.result(&checked, || checked.keys.iter().map(human).collect())?;
    worst.map_or(Ok(()), Err)
}

fn dev_row(context: &Context<'_>, role: Role) -> (Row, Option<Error>) {
    match context.signer(role) {
        Ok(key) => {
            let identity = key.identity();
            let row = Row {
                role,
                mode: Mode::Dev,
                verdict: Verdict::Pass,
                token: Some(identity.token_label.clone()),
                serial: Some(identity.token_serial.clone()),
                fingerprint: Some(identity.public_key.fingerprint()),
                problems: Vec::new(),
                exceptions: Vec::new(),
            };
            (row, None)
        }
        Err(error) => (failed(role, Mode::Dev, &error), Some(error)),
    }
}

fn release_row(context: &Context<'_>, policy: &ReleasePolicy, role: Role) -> (Row, Option<Error>) {
    let found = context.inspect(policy, role);
    let found = match found {
        Ok(found) => found,
        Err(error) => return (failed(role, Mode::Release, &error), Some(error)),
    };
    let refusals = &found.judgement.refusals;
    let exceptions: Vec<String> = found.judgement.exceptions.iter().map(Exception::to_string).collect();
    let verdict = match (refusals.is_empty(), exceptions.is_empty()) {
        (true, true) => Verdict::Pass,
        (true, false) => Verdict::Warn,
        (false, _) => Verdict::Fail,
    };
    let problem = |refusal: &Refusal| Problem { message: refusal.to_string(), hint: refusal.hint() };
    let row = Row {
        role,
        mode: Mode::Release,
        verdict,
        token: Some(found.token.label.clone()),
        serial: Some(found.token.serial.clone()),
        fingerprint: Some(Fingerprint::of(&found.key.public_key).to_string()),
        problems: refusals.iter().map(problem).collect(),
        exceptions,
    };
    (row, found.judgement.refusals.into_iter().next().map(Error::Refused))
}

fn failed(role: Role, mode: Mode, error: &Error) -> Row {
    Row {
        role,
        mode,
        verdict: Verdict::Fail,
        token: None,
        serial: None,
        fingerprint: None,
        problems: vec![Problem { message: error.to_string(), hint: error.hint() }],
        exceptions: Vec::new(),
    }
}

fn human(row: &Row) -> String {
    let mark = match row.verdict {
        Verdict::Pass => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let fingerprint = row.fingerprint.as_deref().unwrap_or("not opened");
    let mut text = format!("{mark} {:<10} {} {fingerprint}", row.role, row.mode);
    if let (Some(token), Some(serial)) = (&row.token, &row.serial) {
        text.push_str(&format!(" in token `{token}` ({serial})"));
    }
    text.push('\n');
    for problem in &row.problems {
        text.push_str(&format!("       {}\n", problem.message));
    }
    for exception in &row.exceptions {
        text.push_str(&format!("       exception: {exception}\n"));
    }
    text
}
