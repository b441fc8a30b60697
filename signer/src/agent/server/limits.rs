//! What the agent allows in number and time.

use super::super::protocol::{Cause, Problem};
use crate::vocabulary::Role;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an agent serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// From its beginning.
    pub(super) lifetime: Option<Duration>,
    /// Without a request that was admitted.
    pub(super) idle: Option<Duration>,
}

impl Time {
    /// Why an agent that began at `begun`, and admitted its last request at `last`, ends at `now`.
    pub(super) fn over(self, begun: Instant, last: Instant, now: Instant) -> Option<&'static str> {
        let since = |then| now.saturating_duration_since(then);
        if self.lifetime.is_some_and(|lifetime| since(begun) >= lifetime) {
            return Some("its lifetime is over");
        }
        if self.idle.is_some_and(|idle| since(last) >= idle) {
            return Some("nobody has asked for a signature for a while");
        }
        None
    }
}

/// Signatures counted against what is allowed.
#[derive(Debug)]
pub(super) struct Meter {
    allowed: BTreeMap<Role, u64>,
    per_minute: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    made: BTreeMap<Role, u64>,
    /// When each of the last minute's was admitted, by token.
    recent: BTreeMap<String, VecDeque<Instant>>,
    last: Instant,
}

impl Meter {
    pub(super) fn new(allowed: BTreeMap<Role, u64>, per_minute: Option<u32>, now: Instant) -> Self {
        let state = State { made: BTreeMap::new(), recent: BTreeMap::new(), last: now };
        Self { allowed, per_minute, state: Mutex::new(state) }
    }

    /// Counts one request for `role`'s key in `token`, or says why there will be no signature.
    ///
    /// It counts before it is known whether the token signs: so a limit holds also against requests that come
    /// at the same time.
    pub(super) fn admit(&self, role: Role, token: &str, now: Instant) -> Result<(), Problem> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let made = state.made.get(&role).copied().unwrap_or(0);
        if let Some(allowed) = self.allowed.get(&role).filter(|allowed| made >= **allowed) {
            return Err(Problem::new(
                Cause::Refused,
                format!("role `{role}`: the {allowed} signatures that this agent may make are made"),
                "start the agent again once it is clear what they were for: `hsmsign audit show` lists them",
            ));
        }
        if let Some(per_minute) = self.per_minute {
            let recent = state.recent.entry(token.to_owned()).or_default();
            while recent
                .front()
                .is_some_and(|at| now.saturating_duration_since(*at) >= Duration::from_secs(60))
            {
                recent.pop_front();
            }
            if recent.len() >= usize::try_from(per_minute).unwrap_or(usize::MAX) {
                return Err(Problem::new(
                    Cause::Busy,
                    format!(
                        "token `{token}` has made {per_minute} signatures within a minute, and may not make more"
                    ),
                    "wait a minute; `agent: signatures_per_minute` in the agent's host settings sets this limit",
                ));
            }
            recent.push_back(now);
        }
        state.made.insert(role, made.saturating_add(1));
        state.last = now;
        Ok(())
    }

    /// Takes one back for `role`, whose request came to nothing. The rate counts it all the same.
    pub(super) fn give_back(&self, role: Role) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = state.made.get_mut(&role) {
            *made = made.saturating_sub(1);
        }
    }

    /// Signatures made for `role`, and how many it may still make.
    pub(super) fn count(&self, role: Role) -> (u64, Option<u64>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let made = state.made.get(&role).copied().unwrap_or(0);
        (made, self.allowed.get(&role).map(|allowed| allowed.saturating_sub(made)))
    }

    /// When the last request was admitted, or the count began.
    pub(super) fn last(&self) -> Instant {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_time_is_over_to_the_second() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let minutes = |count: u64| Some(Duration::from_secs(60 * count));
        let lifetime = Time { lifetime: minutes(2), idle: None };
        assert_eq!(lifetime.over(begun, at(119), at(119)), None);
        // Whether or not somebody asks.
        assert_eq!(lifetime.over(begun, at(120), at(120)), Some("its lifetime is over"));
        let idle = Time { lifetime: None, idle: minutes(2) };
        assert_eq!(idle.over(begun, begun, at(119)), None);
        assert!(idle.over(begun, begun, at(120)).is_some());
        // Each request begins the count anew.
        assert_eq!(idle.over(begun, at(119), at(238)), None);
        assert!(idle.over(begun, at(119), at(239)).is_some());
        let both = Time { lifetime: minutes(3), idle: minutes(2) };
        assert_eq!(both.over(begun, at(100), at(179)), None);
        assert_eq!(both.over(begun, at(100), at(180)), Some("its lifetime is over"));
        let neither = Time { lifetime: None, idle: None };
        assert_eq!(neither.over(begun, begun, at(86_400 * 365)), None);
    }

    #[test]
    fn a_role_has_its_number_and_no_more() {
        let now = Instant::now();
        let meter = Meter::new([(Role::Fit, 2)].into(), None, now);
        assert_eq!(meter.count(Role::Fit), (0, Some(2)));
        meter.admit(Role::Fit, "t", now).unwrap();
        meter.admit(Role::Fit, "t", now).unwrap();
        assert_eq!(meter.admit(Role::Fit, "t", now).unwrap_err().cause, Cause::Refused);
        assert_eq!(meter.count(Role::Fit), (2, Some(0)));
        meter.give_back(Role::Fit);
        meter.admit(Role::Fit, "t", now).unwrap();
        meter.admit(Role::Update, "t", now).unwrap();
        assert_eq!(meter.count(Role::Update), (1, None));
    }

    #[test]
    fn a_token_has_its_rate() {
        let begin = Instant::now();
        let meter = Meter::new(BTreeMap::new(), Some(2), begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        meter.admit(Role::Fit, "a", at(0)).unwrap();
        meter.admit(Role::Update, "a", at(30)).unwrap();
        assert_eq!(meter.admit(Role::Fit, "a", at(59)).unwrap_err().cause, Cause::Busy);
        meter.admit(Role::Fit, "b", at(59)).unwrap();
        meter.admit(Role::Fit, "a", at(60)).unwrap();
        assert!(meter.admit(Role::Fit, "a", at(61)).is_err());
        assert_eq!(meter.last(), at(60));
    }
}
