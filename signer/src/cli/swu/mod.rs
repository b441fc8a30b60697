//! `sign swu` and `verify swu`.

mod sign;
mod verify;

pub(super) use sign::{SignSwuArgs, sign};
pub(super) use verify::{VerifySwuArgs, verify};

use super::Context;
use crate::{
    config::UpdateFormat,
    error::Error,
    format::swu::{Copy, Fault, Form, Measured, Payload, Work, measure},
    request::Role,
};
use std::{num::NonZeroUsize, path::Path};

/// The form of signature that the policy says devices take.
fn form(context: &Context<'_>) -> Form {
    match context.role_settings(Role::Update).update_format {
        None | Some(UpdateFormat::Cms) => Form::Cms,
        Some(UpdateFormat::Rsa) => Form::Rsa,
        Some(UpdateFormat::RsaPss) => Form::RsaPss,
    }
}

/// Reads all payloads on all cores. `path` tells the file of a payload, for errors; `output` is what
/// `copy` writes.
fn read_payloads<'p>(
    context: &Context<'_>,
    payloads: &[Payload<'_>],
    path: &dyn Fn(usize) -> &'p Path,
    output: &Path,
    copy: &Copy<'_>,
) -> Result<Vec<Measured>, Error> {
    let bar = context.output.progress("hashing", payloads.iter().map(Payload::len_bytes).sum());
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let result = measure(payloads, Work { threads, progress: &|bytes| bar.inc(bytes), copy });
    bar.finish_and_clear();
    result.map_err(|fault| match fault {
        Fault::Read { index, source } => Error::malformed(path(index))(source),
        Fault::Write(source) => Error::file("write", output)(source),
    })
}
