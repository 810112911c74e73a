//! Which relay a command asks, as whom, and what people are told when it does not answer.
//!
//! The address and the token are looked for in the same places: what was typed, then the environment, then what the
//! relay beside it says in its data directory. A token that was found there goes to the address that was found there,
//! and to no other.

use std::future::Future;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use agent_relay::client::{Answer, COMMAND_LINE, Client, Credential, Error, Options, Pages, Request};
use agent_relay::config::{Beside, ConfigError, Environment, Flags, LISTEN_DEFAULT, Secret, base_url};
use agent_relay::domain::text::causes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

use super::data_dir::Running;
use super::show::in_commands;
use super::{Failure, print};

/// Which relay is asked.
#[derive(Debug, clap::Args)]
pub(super) struct ClientArgs {
    /// The relay to ask [default: the one that runs on the data directory, or http://127.0.0.1:4850]
    ///
    /// Environment: AGENT_RELAY_URL.
    #[arg(long, value_name = "URL", help_heading = "Relay")]
    url: Option<String>,
    /// The file that holds the token [default: AGENT_RELAY_TOKEN]
    ///
    /// The token itself is never an argument, so that no process list shows it. Without either, the relay on the data
    /// directory is asked with the token file that it was started with, where there is one.
    #[arg(long, value_name = "FILE", help_heading = "Relay")]
    token_file: Option<PathBuf>,
    /// The data directory of the relay on this host [default: ~/.local/share/agent-relay]
    ///
    /// Environment: AGENT_RELAY_DATA_DIR, or what the file in AGENT_RELAY_CONFIG says.
    #[arg(long, value_name = "DIR", help_heading = "Relay")]
    pub(super) data_dir: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, help_heading = "Relay")]
    pub(super) json: bool,
}

impl ClientArgs {
    /// The settings of a relay on this host.
    pub(super) fn beside(&self, env: &Environment) -> Result<Beside, ConfigError> {
        Beside::load(&Flags { data_dir: self.data_dir.clone(), ..Flags::default() }, env)
    }
}

/// What is asked, and where that was found.
struct Found {
    url: String,
    /// Where the address was found, as it follows "at ADDRESS".
    origin: String,
    credential: Option<Credential>,
    /// Where a token was looked for.
    tried: String,
}

/// A client of one relay, for commands that do one thing after the other.
pub(super) struct Connection {
    pub(super) client: Client,
    runtime: Runtime,
    origin: String,
    tried: String,
}

impl Connection {
    /// A client of the relay that `args` name.
    pub(super) fn open(args: &ClientArgs, env: &Environment) -> Result<Self, Failure> {
        Self::with(args, env, |_| {})
    }

    /// One that lets the relay take this long for an answer.
    pub(super) fn open_patiently(args: &ClientArgs, env: &Environment, timeout: Duration) -> Result<Self, Failure> {
        Self::with(args, env, |options| options.timeout = timeout)
    }

    fn with(args: &ClientArgs, env: &Environment, set: impl FnOnce(&mut Options)) -> Result<Self, Failure> {
        let Found { url, origin, credential, tried } = find(args, env)?;
        let mut options = Options { credential, user_agent: COMMAND_LINE, ..Options::new(url) };
        set(&mut options);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Other(format!("failed to start: {error}")))?;
        Ok(Self { client: Client::new(options)?, runtime, origin, tried })
    }

    /// The client, and where it runs, for what goes on.
    pub(super) fn into_parts(self) -> (Client, Runtime) {
        (self.client, self.runtime)
    }

    /// What the relay answers, if it does not refuse.
    pub(super) fn ask<T>(&self, request: Request<T>) -> Result<Told<T>, Failure> {
        self.try_ask(request).map_err(|error| self.failure(error))
    }

    /// The same, for whoever has another way.
    pub(super) fn try_ask<T>(&self, request: Request<T>) -> Result<Told<T>, Error> {
        self.runtime.block_on(Self::asked(request))
    }

    /// The same, beside something else.
    pub(super) async fn asked<T>(request: Request<T>) -> Result<Told<T>, Error> {
        let answer = request.answer().await?.success()?;
        Ok(Told { answer, value: PhantomData })
    }

    /// The entries of a list, page by page, at most `max`.
    pub(super) fn ask_all<T: DeserializeOwned>(&self, pages: Pages<T>, max: usize) -> Result<Vec<T>, Failure> {
        self.runtime.block_on(pages.collect(max)).map_err(|error| self.failure(error))
    }

    /// The same as they came, for programs, as the one array that they are a part of.
    pub(super) fn print_all<T>(&self, pages: Pages<T>, max: usize) -> Result<(), Failure> {
        let entries: Vec<Box<RawValue>> = self.ask_all(pages.untyped(), max)?;
        print(&serde_json::to_string(&entries).map_err(|error| Failure::Other(error.to_string()))?)
    }

    /// Does what takes more than one question.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Lets time pass between two questions.
    pub(super) fn pause(&self, time: Duration) {
        self.wait(async { tokio::time::sleep(time).await });
    }

    /// What went wrong, with what to do about it on a command line and what was looked at so far.
    pub(super) fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Unreachable { address, .. } => Failure::Other(format!(
                "no relay listens at {address}{}: start one with `agent-relay serve`, or name another with --url or \
                 AGENT_RELAY_URL",
                self.origin
            )),
            Error::Refused { address, mut problem } if problem.status == 401 => {
                problem.next = format!(
                    "Set AGENT_RELAY_TOKEN to a token of this relay, or name its file with --token-file{}",
                    self.tried
                );
                Error::Refused { address, problem }.into()
            }
            error => error.into(),
        }
    }
}

/// An answer, to be printed as it came or read.
pub(super) struct Told<T> {
    answer: Answer,
    value: PhantomData<T>,
}

impl<T> Told<T> {
    /// As it came.
    pub(super) fn text(&self) -> Result<&str, Failure> {
        Ok(self.answer.text()?)
    }
}

impl<T: DeserializeOwned> Told<T> {
    /// What it says, for whoever has another way than to fail.
    pub(super) fn read(&self) -> Result<T, Error> {
        self.answer.json()
    }

    /// What it says.
    pub(super) fn value(&self) -> Result<T, Failure> {
        Ok(self.answer.json()?)
    }
}

fn find(args: &ClientArgs, env: &Environment) -> Result<Found, Failure> {
    let typed = match (&args.url, env.text("AGENT_RELAY_URL")?) {
        (Some(url), _) => Some((base_url("--url", url)?, "")),
        (None, Some(url)) => Some((base_url("AGENT_RELAY_URL", url)?, " (AGENT_RELAY_URL)")),
        (None, None) => None,
    };
    let mut token = None;
    let mut tried = vec!["AGENT_RELAY_TOKEN is not set".to_owned()];
    if let Some(path) = &args.token_file {
        token = Some(Secret::read("--token-file", path)?);
        tried = vec![format!("tried: {}", path.display())];
    } else if let Some(text) = env.text("AGENT_RELAY_TOKEN")? {
        token = Some(Secret::parse("AGENT_RELAY_TOKEN", text)?);
        tried = vec!["tried: that of AGENT_RELAY_TOKEN".to_owned()];
    }
    let (url, origin) = match typed {
        Some((url, origin)) => (url, origin.to_owned()),
        None => {
            let beside = args.beside(env)?;
            let running = Running::of(&beside.data_dir);
            let shown = beside.data_dir.display();
            if token.is_none() && running.is_some() {
                // Only a relay whose lock nobody else can hold gets what was meant for it.
                if let Some(of_file) = beside.token {
                    token = Some(of_file);
                    tried = vec![format!("tried: that of {}", beside.file.unwrap_or_default().display())];
                } else if let Some(path) = running.as_ref().and_then(|running| running.token_file.as_deref()) {
                    token = Some(Secret::read(&format!("the relay of {shown} was started with a token file"), path)?);
                    tried = vec![format!("tried: that of {}", path.display())];
                } else {
                    tried.push(format!("the relay of {shown} names no token file"));
                }
            }
            match running {
                Some(running) => (base_url("the relay's data directory", &running.url)?, format!(" (that of {shown})")),
                None => (format!("http://{LISTEN_DEFAULT}"), format!(", and none runs on {shown}")),
            }
        }
    };
    let credential = token.map(|token| Credential::parse(token.expose())).transpose()?;
    Ok(Found { url, origin, credential, tried: format!(" ({})", tried.join("; ")) })
}

impl From<Error> for Failure {
    /// What went wrong, with what to do on a command line.
    fn from(error: Error) -> Self {
        Self::Other(match error {
            Error::Refused { address, mut problem } => {
                let similar = problem.members.get("similar").and_then(Value::as_array);
                let similar: Vec<_> = similar.into_iter().flatten().filter_map(Value::as_str).collect();
                if !similar.is_empty() {
                    problem.next = format!("Did you mean {}?", similar.join(" or "));
                }
                in_commands(&format!("the relay at {address} answered {problem}"))
            }
            error => causes(&error),
        })
    }
}
