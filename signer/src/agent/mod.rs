//! The release agent: one process holds the logged-in tokens, builds ask it over a Unix socket.
//!
//! * [`protocol`]: what is said, as plain data; pure.
//! * [`statement`]: what a policy demands, so that two policies can be compared; pure.
//! * [`connection`]: messages over a socket, each with a limit in length and time.
//! * [`client`]: a role's key at the other end of a socket; answers like a key in a token.
//! * [`server`]: the agent itself.
//!
//! A client trusts an agent with nothing: it judges the key by its own policy, and checks each signature.

pub mod client;
mod connection;
mod error;
pub mod protocol;
pub mod server;
mod statement;

pub use client::{AgentAccess, AgentKey, AgentSocket, LastHead};
pub use error::AgentError;
pub use server::usual_socket;
pub use statement::Statement;
