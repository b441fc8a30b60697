//! PKCS#11 (version 3.2): one context per module, tokens, objects, mechanisms.

mod generate;
mod key;
mod mechanism;
mod module;
mod object;
mod sessions;
mod token;

pub(super) use key::TokenKey;
pub(super) use module::{Module, text};
pub(super) use object::Selector;
pub(super) use token::{Token, facts, is_refusal};
