//! What can go wrong between a client and the agent.

use super::protocol::{Cause, Problem};
use crate::error::Exit;
use std::{io, path::PathBuf};

/// What can go wrong between a client and the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody answers at the socket.
    #[error("the agent at `{}` cannot be reached: {source}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or an answer took too long.
    #[error("the agent at `{}`: {what}: {source}", socket.display())]
    Connection {
        /// The socket.
        socket: PathBuf,
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// What answers does not keep to the protocol.
    #[error("the agent at `{}` does not keep to the protocol: {reason}", socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// How.
        reason: String,
    },
    /// The agent says no.
    #[error("the agent at `{}`: {}", socket.display(), problem.message)]
    Problem {
        /// The socket.
        socket: PathBuf,
        /// What it says.
        problem: Problem,
    },
    /// The agent's signature is not by the pinned key.
    #[error("the agent at `{}` answered with a signature that does not verify: {reason}; it was thrown away", socket.display())]
    BadSignature {
        /// The socket.
        socket: PathBuf,
        /// What the check says.
        reason: String,
    },
    /// The agent answers, but one of its tokens does not.
    #[error("the agent at `{}` has trouble with token `{token}`: {trouble}", socket.display())]
    Trouble {
        /// The socket.
        socket: PathBuf,
        /// The policy's name for the token.
        token: String,
        /// What is wrong.
        trouble: String,
    },
    /// The agent cannot listen.
    #[error("cannot listen at `{}`: {reason}", socket.display())]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// Why.
        reason: String,
        /// How to mend it.
        hint: String,
    },
}

impl AgentError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Problem { problem, .. } => match problem.cause {
                Cause::Refused => Exit::Refused,
                Cause::Policy => Exit::Configuration,
                Cause::Token | Cause::Busy | Cause::Protocol => Exit::Token,
            },
            Self::Unreachable { .. }
            | Self::Connection { .. }
            | Self::Protocol { .. }
            | Self::BadSignature { .. }
            | Self::Trouble { .. }
            | Self::Listen { .. } => Exit::Token,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the agent's host settings list who may connect: `agent: users:`".into())
            }
            Self::Unreachable { .. } => {
                Some("is it running? `hsmsign agent` starts it, `hsmsign agent --status` asks it".into())
            }
            Self::Connection { .. } => {
                Some("`hsmsign agent --status` tells how it is; its own messages tell more".into())
            }
            Self::Protocol { .. } => Some("does `HSMSIGN_AGENT` name the socket of an hsmsign agent?".into()),
            Self::Problem { problem, .. } => problem.hint.clone(),
            Self::BadSignature { .. } => Some("treat that agent as compromised until it is known why".into()),
            Self::Trouble { .. } => Some("its next request tries again, unless a PIN was refused".into()),
            Self::Listen { hint, .. } => Some(hint.clone()).filter(|h| !h.is_empty()),
        }
    }
}
