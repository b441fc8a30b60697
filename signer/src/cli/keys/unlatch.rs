//! `keys unlatch`: one more attempt for tokens that refused a PIN.

use super::{Context, UnlatchArgs, release_only};
use crate::{
    error::Error,
    policy::{Policy, Refusal, ReleasePolicy},
    request::Role,
};
use serde::Serialize;

/// What `keys unlatch` allowed.
#[derive(Debug, Serialize)]
struct Unlatched {
    /// Each token once.
    tokens: Vec<Token>,
}

/// A token that may be tried once more.
#[derive(Debug, Serialize)]
struct Token {
    /// Its name in the host settings.
    name: String,
    /// Its label.
    label: String,
    /// Its serial number.
    serial: String,
    /// Why no process tried it; null if nothing was noted here.
    reason: Option<String>,
    /// When that was, RFC 3339.
    time: Option<String>,
}

pub(super) fn run(context: &Context<'_>, args: &UnlatchArgs) -> Result<(), Error> {
    let Policy::Release(policy) = context.policy() else { return Err(release_only("unlatch")) };
    let mut unlatched = Unlatched { tokens: Vec::new() };
    for role in roles(policy, args)? {
        let access = context.release_access(policy, role)?;
        let (token, note) = context.release_tokens()?.unlatch(&access)?;
        // Two roles may share a token.
        if !unlatched.tokens.iter().any(|t| t.name == access.key.token && t.serial == token.serial) {
            unlatched.tokens.push(Token {
                name: access.key.token.clone(),
                label: token.label,
                serial: token.serial,
                time: note.as_ref().map(|n| n.time.clone()),
                reason: note.map(|n| n.reason()),
            });
        }
    }
    context.output.result(&unlatched, || unlatched.tokens.iter().map(human).collect())
}

/// Roles whose tokens are meant.
fn roles(policy: &ReleasePolicy, args: &UnlatchArgs) -> Result<Vec<Role>, Error> {
    if let Some(role) = args.role {
        policy.key(role)?;
        return Ok(vec![role]);
    }
    let named = |role: &Role| {
        let key = policy.key(*role).ok();
        key.is_some_and(|key| args.token.as_ref().is_none_or(|name| *name == key.token))
    };
    let roles: Vec<Role> = Role::ALL.into_iter().filter(named).collect();
    match (&args.token, roles.is_empty()) {
        (Some(name), true) => Err(Error::Usage {
            message: format!("no release key of the policy is in token `{name}`"),
            hint: Some("`hsmsign --mode release keys list` shows which tokens there are".into()),
        }),
        (None, true) => Err(Refusal::NoReleaseKey(Role::Update).into()),
        _ => Ok(roles),
    }
}

fn human(token: &Token) -> String {
    let Token { name, label, serial, reason, time } = token;
    let before = match (reason, time) {
        (Some(reason), Some(time)) => format!("{reason}, {time}"),
        _ => "nothing was noted".to_owned(),
    };
    format!("token `{name}` ({label}, {serial}) may be tried once more; before: {before}\n")
}
