//! Which relay a command asks, and what people are told when it does not answer.

use std::marker::PhantomData;
use std::time::Duration;

use agent_relay::client::{Answer, COMMAND_LINE, Client, Credential, Error, Options, Pages, Request};
use agent_relay::config::{ConfigError, Environment, Secret, base_url};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::{Failure, chain};

/// Which relay is asked.
#[derive(Debug, clap::Args)]
pub(super) struct ClientArgs {
    /// The relay to ask [default: http://127.0.0.1:4850]
    ///
    /// Environment: AGENT_RELAY_URL. The token, where the relay wants one, is read from
    /// AGENT_RELAY_TOKEN and from nowhere else, so that no process list shows it.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A client of that relay, for commands that do one thing after the other.
pub(super) struct Connection {
    pub(super) client: Client,
    runtime: Runtime,
}

impl Connection {
    /// A client of the relay that `args` name.
    pub(super) fn open(args: &ClientArgs, env: &Environment) -> Result<Self, Failure> {
        Self::with(env, Options::new(relay_url(args, env)?))
    }

    /// One that lets the relay take this long for an answer.
    pub(super) fn open_patiently(args: &ClientArgs, env: &Environment, timeout: Duration) -> Result<Self, Failure> {
        Self::with(env, Options { timeout, ..Options::new(relay_url(args, env)?) })
    }

    fn with(env: &Environment, options: Options) -> Result<Self, Failure> {
        let mut options = Options { user_agent: COMMAND_LINE, ..options };
        if let Some(token) = env.text("AGENT_RELAY_TOKEN")? {
            let token = Secret::parse("AGENT_RELAY_TOKEN", token)?;
            options.credential = Some(Credential::parse(token.expose())?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Other(format!("failed to start: {error}")))?;
        Ok(Self { client: Client::new(options)?, runtime })
    }

    /// The client, and where it runs, for what goes on.
    pub(super) fn into_parts(self) -> (Client, Runtime) {
        (self.client, self.runtime)
    }

    /// What the relay answers, if it does not refuse.
    pub(super) fn ask<T>(&self, request: Request<T>) -> Result<Told<T>, Failure> {
        let answer = self.runtime.block_on(request.answer())?.success()?;
        Ok(Told { answer, value: PhantomData })
    }
}

impl Connection {
    /// The entries of a list, page by page, at most `max`.
    pub(super) fn ask_all<T: DeserializeOwned>(&self, pages: Pages<T>, max: usize) -> Result<Vec<T>, Failure> {
        Ok(self.runtime.block_on(pages.collect(max))?)
    }
}

/// An answer, to be printed as it came or read.
pub(super) struct Told<T> {
    answer: Answer,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> Told<T> {
    /// As it came.
    pub(super) fn text(&self) -> Result<&str, Failure> {
        Ok(self.answer.text()?)
    }

    /// What it says.
    pub(super) fn value(&self) -> Result<T, Failure> {
        Ok(self.answer.json()?)
    }
}

fn relay_url(args: &ClientArgs, env: &Environment) -> Result<String, ConfigError> {
    match &args.url {
        Some(url) => base_url("--url", url),
        None => base_url("AGENT_RELAY_URL", env.text("AGENT_RELAY_URL")?.unwrap_or("http://127.0.0.1:4850")),
    }
}

impl From<Error> for Failure {
    /// What went wrong, with what to do on a command line.
    fn from(error: Error) -> Self {
        Self::Other(match error {
            Error::Unreachable { address, .. } => format!(
                "no relay listens at {address}: start one with `agent-relay serve`, or name another with --url or \
                 AGENT_RELAY_URL"
            ),
            Error::Refused { address, mut problem } => {
                if problem.status == 401 {
                    "Set AGENT_RELAY_TOKEN to a token of this relay.".clone_into(&mut problem.next);
                }
                super::plugin::in_commands(&format!("the relay at {address} answered {problem}"))
            }
            error => chain(&error),
        })
    }
}
