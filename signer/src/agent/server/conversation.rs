//! One client's connection: greeting, questions, answers.

use super::{
    super::{
        Statement,
        connection::{Broken, Connection},
        protocol::{self, Ask, Cause, Problem, Reply, SignRequest},
    },
    Agent, ServedRole, TOOL,
    job::{Job, Overdue, Progress},
};
use crate::{
    audit::{Head, Requester},
    crypto::Signature,
    request::Request,
    vocabulary::Role,
};
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

/// How long a client may take to greet.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// How long a greeted client may say nothing: a build hashes images between two signatures.
const SILENCE: Duration = Duration::from_secs(1800);
/// How often it is looked whether a client that waits is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Serves one client until it leaves, errs, or takes too long.
pub(super) fn serve(agent: &Agent, connection: &Connection, requester: &Requester) {
    match agent.users.contains(requester.uid) {
        true => converse(agent, connection, requester),
        false => {
            super::tell(format_args!("user {} may not ask", requester.uid));
            turn_away(
                connection,
                Problem::new(
                    Cause::Refused,
                    format!("user {} may not ask this agent", requester.uid),
                    "the agent's host settings list who may: `agent: { users: [NAME] }`",
                ),
            );
        }
    }
}

/// Says why there will be no answer. The client may have gone; it is no matter then.
pub(super) fn turn_away(connection: &Connection, problem: Problem) {
    let _ = connection.send(&Reply::Error(problem));
}

fn converse(agent: &Agent, connection: &Connection, requester: &Requester) {
    let mut greeted = None;
    let mut patience = GREETING_TIME;
    while !agent.is_ending() {
        let bytes = match connection.receive_bytes(patience) {
            Ok(bytes) => bytes,
            Err(Broken::Malformed(reason)) => return turn_away(connection, Problem::protocol(reason)),
            Err(Broken::Closed | Broken::Io(_)) => return,
        };
        // Asked for first: a greeting of another version may have members that this one does not know.
        if let (None, Some(version)) = (&greeted, protocol::greeting_version(&bytes))
            && version != protocol::VERSION
        {
            return turn_away(connection, other_version(version));
        }
        let ask = match protocol::decode(&bytes) {
            Ok(ask) => ask,
            Err(reason) => return turn_away(connection, Problem::protocol(reason)),
        };
        let reply = match (&greeted, ask) {
            (None, Ask::Hello { protocol: _, tool, policy }) => match greet(agent, policy) {
                Ok(kind) => {
                    greeted = Some(kind);
                    patience = SILENCE;
                    let sign_seconds = agent.sign_time.as_secs();
                    Ok(Reply::Hello { protocol: protocol::VERSION, tool: TOOL.into(), sign_seconds })
                }
                Err(problem) => {
                    super::tell(format_args!(
                        "turned {tool} of user {} away: {}",
                        requester.uid, problem.message
                    ));
                    return turn_away(connection, problem);
                }
            },
            (None, _) => return turn_away(connection, Problem::protocol("the greeting has to come first")),
            (Some(_), Ask::Hello { .. }) => {
                return turn_away(connection, Problem::protocol("a second greeting"));
            }
            (Some(_), Ask::Status) => Ok(Reply::Status(Box::new(agent.status()))),
            (Some(Greeted::ForStatus), Ask::Key { .. } | Ask::Sign(_)) => {
                Err(Problem::protocol("whoever wants signatures greets with a policy"))
            }
            (Some(Greeted::ForSignatures), Ask::Key { role }) => key(agent, role),
            (Some(Greeted::ForSignatures), Ask::Sign(request)) => {
                // Until the answer is handed out, an agent that ends waits for it.
                let _answering = agent.answering.enter();
                let Some(answer) = sign(agent, connection, requester, &request) else { return };
                let signed = |(signature, head): (Signature, Head)| Reply::Signature {
                    number: request.number,
                    signature: hex::encode(signature.as_bytes()),
                    head,
                };
                if connection.send(&answer.map_or_else(Reply::Error, signed)).is_err() {
                    return;
                }
                continue;
            }
        };
        if connection.send(&reply.unwrap_or_else(Reply::Error)).is_err() {
            return;
        }
    }
}

/// What a client may ask after its greeting.
enum Greeted {
    ForStatus,
    ForSignatures,
}

fn other_version(theirs: u32) -> Problem {
    Problem::new(
        Cause::Protocol,
        format!("{TOOL} speaks version {} of the protocol, and you speak {theirs}", protocol::VERSION),
        "use the same version of hsmsign on both sides",
    )
}

fn greet(agent: &Agent, policy: Option<Statement>) -> Result<Greeted, Problem> {
    let Some(policy) = policy else { return Ok(Greeted::ForStatus) };
    let differences = policy.differences(&agent.statement);
    if differences.is_empty() {
        return Ok(Greeted::ForSignatures);
    }
    Err(Problem::new(
        Cause::Policy,
        format!("its policy is another: {}", differences.join("; ")),
        "give the build and the agent the same hsmsign.yaml, and start the agent again after a change",
    ))
}

fn key(agent: &Agent, role: Role) -> Result<Reply, Problem> {
    agent.roles.get(&role).map(|served| Reply::Key(Box::new(served.key.clone()))).ok_or_else(|| no_key(role))
}

fn no_key(role: Role) -> Problem {
    let hint = "add it to `release: keys:` of the agent's policy";
    Problem::new(Cause::Refused, format!("the agent has no key for role `{role}`"), hint)
}

/// `None` if the client went away before its answer came.
fn sign(
    agent: &Agent,
    connection: &Connection,
    requester: &Requester,
    request: &SignRequest,
) -> Option<Result<(Signature, Head), Problem>> {
    match admit(agent, request) {
        Ok((request, served)) => wait(agent, connection, requester, request, &served.token),
        Err(problem) => Some(Err(problem)),
    }
}

/// Whether the policy and the limits let this request pass.
fn admit<'a>(agent: &'a Agent, request: &SignRequest) -> Result<(Request, &'a ServedRole), Problem> {
    let request = request.to_request().map_err(|reason| {
        Problem::new(Cause::Refused, format!("the request does not fit together: {reason}"), "")
    })?;
    let role = request.role;
    let served = agent.roles.get(&role).ok_or_else(|| no_key(role))?;
    agent.policy.permit_request(&request).map_err(|refusal| super::queue::problem(&refusal.into()))?;
    agent.meter.admit(role, &served.token, Instant::now())?;
    Ok((request, served))
}

fn wait(
    agent: &Agent,
    connection: &Connection,
    requester: &Requester,
    request: Request,
    token: &str,
) -> Option<Result<(Signature, Head), Problem>> {
    let Some(queue) = agent.tokens.get(token).map(|served| &served.queue) else {
        return Some(Err(Problem::new(Cause::Token, format!("token `{token}` is not open"), "")));
    };
    let role = request.role;
    let (reply, answer) = mpsc::sync_channel(1);
    let progress = Progress::default();
    let deadline = Instant::now() + agent.sign_time;
    let job = Job { request, requester: requester.clone(), progress: progress.clone(), reply };
    let nothing_came_of_it = |problem| {
        agent.meter.give_back(role);
        Some(Err(problem))
    };
    if let Err(problem) = queue.push(job) {
        return nothing_came_of_it(problem);
    }
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(Ok(signed)) => return Some(Ok(signed)),
            Ok(Err(problem)) => return nothing_came_of_it(problem),
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Err(Problem::new(
                    Cause::Token,
                    format!("the session with token `{token}` ended"),
                    "",
                )));
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => match progress.expire() {
                Overdue::InLine => return nothing_came_of_it(long_line(agent, token)),
                Overdue::InModule => return Some(Err(queue.stuck())),
                // Its answer is on the way.
                Overdue::Finished => {}
            },
            Err(RecvTimeoutError::Timeout) if connection.is_gone() => {
                progress.abandon();
                return None;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn long_line(agent: &Agent, token: &str) -> Problem {
    Problem::new(
        Cause::Busy,
        format!(
            "the request stood in line for token `{token}` for {} s, and was not signed",
            agent.sign_time.as_secs()
        ),
        "try again; `agent: sign_seconds` in the agent's host settings sets this limit",
    )
}
