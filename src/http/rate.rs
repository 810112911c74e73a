//! Rates: how many requests a minute a caller may send, and what every answer says of that.
//!
//! A bucket for each caller holds a minute's worth and is refilled continuously. Which bucket a route takes from
//! follows from the scopes that open it. A caller is its token; without one, its address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::Limits;
use crate::domain::caller::{Caller, Scope, Scopes};
use crate::domain::id::TokenId;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What a bucket holds when it is full is used up in one minute.
const WINDOW: Duration = Duration::from_secs(60);
/// Callers that are told apart at once, some fifty bytes each; more of them share a bucket.
const CALLERS_MAX: usize = 65_536;
/// Full buckets are thrown away no more often than this.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

/// Every rate there is.
#[derive(Debug)]
pub(super) struct Rates {
    integrations: Buckets,
    requests: Buckets,
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Token(TokenId),
    /// The administrator at this address, from whom nobody else there takes anything.
    Administrator(IpAddr),
    Address(IpAddr),
    /// The integration with this place among those that are configured.
    Integration(usize),
    /// Everybody who came when there were too many to tell apart.
    Others,
}

impl Who {
    fn is(caller: Option<&Caller>, peer: Option<IpAddr>) -> Self {
        let address = peer.map(network_of);
        match (caller, address) {
            (Some(Caller { token: Some(token), .. }), _) => Self::Token(*token),
            (Some(_), Some(address)) => Self::Administrator(address),
            (None, Some(address)) => Self::Address(address),
            (_, None) => Self::Others,
        }
    }
}

/// The address of whoever has this one: with IPv6, each has a network of 64 bits.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        other => other,
    }
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            integrations: Buckets::new("integrations", limits.integrations_per_minute),
            requests: Buckets::new("requests", limits.requests_per_minute),
        }
    }

    /// Counts a request to a route that these scopes open: nothing where there is no limit, how its caller stands,
    /// or that it has to wait.
    pub(super) fn count(
        &self,
        scopes: Scopes,
        caller: Option<&Caller>,
        peer: Option<IpAddr>,
    ) -> Option<Result<Standing, Standing>> {
        let buckets = match scopes {
            Scopes::Public => return None,
            Scopes::AnyOf(any_of) if any_of.contains(&Scope::Integration) => &self.integrations,
            Scopes::AnyOf(_) => &self.requests,
        };
        buckets.take(Who::is(caller, peer), Instant::now())
    }

    /// Counts an event that the integration at this place signed, from wherever it came.
    pub(super) fn count_integration(&self, place: usize) -> Option<Result<Standing, Standing>> {
        self.integrations.take(Who::Integration(place), Instant::now())
    }

    /// Counts an event that nobody signed.
    pub(super) fn count_unsigned(&self, peer: Option<IpAddr>) -> Result<(), Standing> {
        self.integrations.take(Who::is(None, peer), Instant::now()).map_or(Ok(()), |taken| taken.map(drop))
    }

    /// Counts a request that came without a good credential.
    pub(super) fn count_stranger(&self, peer: Option<IpAddr>) -> Result<(), Standing> {
        self.requests.take(Who::is(None, peer), Instant::now()).map_or(Ok(()), |taken| taken.map(drop))
    }
}

/// How a caller stands with its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    name: &'static str,
    per_minute: u32,
    /// How many more requests it may send at once.
    pub(super) remaining: u32,
    /// In how long there will be room for one more, in whole seconds, at least 1.
    pub(super) wait_seconds: u64,
}

impl Standing {
    /// Says so in an answer, as draft-ietf-httpapi-ratelimit-headers has it.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Self { name, per_minute, remaining, wait_seconds } = self;
        let policy = format!("\"{name}\";q={per_minute};w={}", WINDOW.as_secs());
        let standing = format!("\"{name}\";r={remaining};t={wait_seconds}");
        for (header, text) in [(POLICY, policy), (LIMIT, standing)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(header, value);
            }
        }
    }
}

/// A bucket for each caller.
#[derive(Debug)]
struct Buckets {
    name: &'static str,
    /// 0: there is no limit.
    per_minute: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When each bucket is full again. One that is not here is full.
    full_at: HashMap<Who, Instant>,
    cleaned_at: Option<Instant>,
}

impl Buckets {
    fn new(name: &'static str, per_minute: u32) -> Self {
        Self { name, per_minute, state: Mutex::new(State { full_at: HashMap::new(), cleaned_at: None }) }
    }

    fn take(&self, who: Who, now: Instant) -> Option<Result<Standing, Standing>> {
        if self.per_minute == 0 {
            return None;
        }
        let each = WINDOW / self.per_minute;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let who = state.place_of(who, now);
        let full_at = state.full_at.get(&who).map_or(now, |at| now.max(*at));
        let missing = full_at.duration_since(now) + each;
        if missing > WINDOW {
            return Some(Err(self.standing(0, missing - WINDOW)));
        }
        state.full_at.insert(who, full_at + each);
        let remaining = (WINDOW - missing).as_nanos() / each.as_nanos();
        // The part of a request that the bucket has already is not waited for again.
        let part = u64::try_from(missing.as_nanos() % each.as_nanos()).unwrap_or(0);
        let wait = if part == 0 { each } else { Duration::from_nanos(part) };
        Some(Ok(self.standing(u32::try_from(remaining).unwrap_or(u32::MAX), wait)))
    }

    fn standing(&self, remaining: u32, wait: Duration) -> Standing {
        let wait_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Standing { name: self.name, per_minute: self.per_minute, remaining, wait_seconds: wait_seconds.max(1) }
    }
}

impl State {
    /// Whose bucket this caller takes from: its own, unless there are too many.
    fn place_of(&mut self, who: Who, now: Instant) -> Who {
        if self.full_at.len() < CALLERS_MAX || self.full_at.contains_key(&who) {
            return who;
        }
        if self.cleaned_at.is_none_or(|at| now.duration_since(at) >= CLEAN_EVERY) {
            self.cleaned_at = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < CALLERS_MAX { who } else { Who::Others }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn who(number: i64) -> Who {
        Who::Token(TokenId::new(number))
    }

    fn take(buckets: &Buckets, number: i64, now: Instant) -> Result<u32, u64> {
        let taken = buckets.take(who(number), now).expect("a limit");
        taken.map(|standing| standing.remaining).map_err(|standing| standing.wait_seconds)
    }

    #[test]
    fn a_bucket_holds_a_minutes_worth_and_is_refilled_all_the_time() {
        let (buckets, start) = (Buckets::new("r", 600), Instant::now());
        for left in (0..600).rev() {
            assert_eq!(take(&buckets, 1, start), Ok(left));
        }
        assert_eq!(take(&buckets, 1, start), Err(1));
        assert_eq!(take(&buckets, 2, start), Ok(599), "each has its own");
        assert_eq!(take(&buckets, 1, start + Duration::from_millis(99)), Err(1));
        assert_eq!(take(&buckets, 1, start + Duration::from_millis(100)), Ok(0));
        assert_eq!(take(&buckets, 1, start + Duration::from_millis(100)), Err(1));
        assert_eq!(take(&buckets, 1, start + Duration::from_millis(1_100)), Ok(9));
        assert_eq!(take(&buckets, 1, start + Duration::from_secs(3_600)), Ok(599));
    }

    #[test]
    fn who_has_to_wait_is_told_for_how_long() {
        let (buckets, start) = (Buckets::new("r", 2), Instant::now());
        assert_eq!(take(&buckets, 1, start), Ok(1));
        assert_eq!(take(&buckets, 1, start), Ok(0));
        assert_eq!(take(&buckets, 1, start), Err(30));
        assert_eq!(take(&buckets, 1, start + Duration::from_millis(29_001)), Err(1));
        assert_eq!(take(&buckets, 1, start + Duration::from_secs(30)), Ok(0));
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let buckets = Buckets::new("r", 0);
        assert_eq!(buckets.take(who(1), Instant::now()), None);
        assert!(buckets.state.lock().unwrap().full_at.is_empty());
    }

    #[test]
    fn strangers_fill_no_memory_and_take_nothing_from_those_who_are_there() {
        let (buckets, start) = (Buckets::new("r", 2), Instant::now());
        let count = i64::try_from(CALLERS_MAX).unwrap();
        for number in 0..count {
            assert_eq!(take(&buckets, number, start), Ok(1));
        }
        assert_eq!((take(&buckets, count, start), take(&buckets, count + 1, start)), (Ok(1), Ok(0)));
        assert_eq!(take(&buckets, count + 2, start), Err(30), "they share one");
        assert_eq!(take(&buckets, 0, start), Ok(0));
        assert_eq!(buckets.state.lock().unwrap().full_at.len(), CALLERS_MAX + 1);
        assert_eq!(take(&buckets, count + 3, start + WINDOW), Ok(1), "full ones are thrown away");
        assert!(buckets.state.lock().unwrap().full_at.len() <= 2);
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!((network("::ffff:192.0.2.1"), network("::1")), ("192.0.2.1".to_owned(), "::1".to_owned()));
    }

    proptest! {
        /// However the requests come, no more pass than the bucket held and was filled with, and whoever waits as
        /// long as told passes.
        #[test]
        fn no_more_pass_than_the_rate_allows(per_minute in 1_u32..700, gaps in prop::collection::vec(0_u64..5_000, 1..300)) {
            let (buckets, start) = (Buckets::new("r", per_minute), Instant::now());
            let (mut now, mut passed) = (start, 0_u128);
            for gap in gaps {
                now += Duration::from_millis(gap);
                match take(&buckets, 1, now) {
                    Ok(_) => passed += 1,
                    Err(wait) => {
                        now += Duration::from_secs(wait);
                        prop_assert!(take(&buckets, 1, now).is_ok());
                        passed += 1;
                    }
                }
                let filled = now.duration_since(start).as_nanos() / (WINDOW / per_minute).as_nanos();
                prop_assert!(passed <= u128::from(per_minute) + filled + 1);
            }
        }
    }
}
