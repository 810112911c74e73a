//! What is typed: words of closed sets, texts that may come from standard input, and as whom somebody acts.

use std::io::Read as _;
use std::time::Duration;

use agent_relay::client::{Error, Pages, Request};
use agent_relay::config::Environment;
use agent_relay::domain::agent::USER;
use agent_relay::domain::text::BODY_BYTES_MAX;
use agent_relay::domain::text::word::Word;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use serde::de::DeserializeOwned;

use super::Failure;
use super::connection::{Connection, Told};

/// The most entries of a list that a command shows.
const LISTED_MAX: u64 = 100_000;

/// Takes one of the words of a closed set, which help and completions list.
pub(super) fn words<T: Word + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(T::ALL.iter().map(|word| word.as_str()));
    names.try_map(|name| T::parse(&name).ok_or("is none of them"))
}

/// Takes how many entries of a list are shown.
pub(super) fn listed() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=LISTED_MAX)
}

/// A text as it was typed, or all of standard input where it was `-`.
pub(super) fn text(typed: String) -> Result<String, Failure> {
    if typed != "-" {
        return Ok(typed);
    }
    // No text that a command takes may be longer; one byte more tells that it is.
    let most = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut read = Vec::new();
    let complained = std::io::stdin().lock().take(most).read_to_end(&mut read);
    complained.map_err(|error| Failure::Other(format!("failed to read standard input: {error}")))?;
    if read.len() > BODY_BYTES_MAX {
        return Err(Failure::Usage(format!("standard input has more than {BODY_BYTES_MAX} bytes")));
    }
    String::from_utf8(read).map_err(|_| Failure::Usage("standard input is not UTF-8".to_owned()))
}

/// A length of time as a lease or the like takes it.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// As whom somebody acts.
#[derive(Debug, clap::Args)]
pub(super) struct Acting {
    /// The agent to act as [default: the token's own, or user]
    ///
    /// Environment: AGENT_RELAY_AGENT_ID, which every agent that a relay started has.
    #[arg(long = "as", value_name = "AGENT")]
    agent: Option<String>,
}

impl Acting {
    /// Whoever was named.
    pub(super) fn named(&self, env: &Environment) -> Result<As, Failure> {
        As::named(self.agent.clone(), env)
    }
}

/// Who acts: whoever was named, or else `user`, whom a token of an agent's own cannot be.
#[derive(Clone, Debug)]
pub(super) struct As(Option<String>);

impl As {
    /// This agent, or that of the environment.
    pub(super) fn named(typed: Option<String>, env: &Environment) -> Result<Self, Failure> {
        let named = match typed {
            Some(agent) => Some(agent),
            None => env.text("AGENT_RELAY_AGENT_ID")?.map(str::to_owned),
        };
        Ok(Self(named))
    }

    /// What is answered to whoever acts.
    pub(super) fn ask<T>(
        &self,
        connection: &Connection,
        request: impl Fn(Option<String>) -> Request<T>,
    ) -> Result<Told<T>, Failure> {
        self.try_ask(connection, request).map_err(|error| connection.failure(error))
    }

    /// The same, for whoever has another way.
    pub(super) fn try_ask<T>(
        &self,
        connection: &Connection,
        request: impl Fn(Option<String>) -> Request<T>,
    ) -> Result<Told<T>, Error> {
        self.first_that_fits(|agent| connection.try_ask(request(agent)))
    }

    /// What is listed for whoever acts.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        connection: &Connection,
        pages: impl Fn(Option<String>) -> Pages<T>,
        max: usize,
    ) -> Result<Vec<T>, Failure> {
        let listed = self.first_that_fits(|agent| connection.wait(pages(agent).collect(max)));
        listed.map_err(|error| connection.failure(error))
    }

    fn first_that_fits<T>(&self, ask: impl Fn(Option<String>) -> Result<T, Error>) -> Result<T, Error> {
        if let Some(agent) = &self.0 {
            return ask(Some(agent.clone()));
        }
        match ask(Some(USER.to_owned())) {
            Err(error) if error.is("wrong_identity") => ask(None),
            asked => asked,
        }
    }
}
