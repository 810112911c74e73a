//! Asking a running relay.

use std::time::Duration;

use agent_relay::config::{ConfigError, Environment, Secret, base_url};
use reqwest::{Method, StatusCode, redirect};
use serde::Deserialize;

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

/// The longest answer that is read: no list of the relay's comes near.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The parts of an error answer that a person needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    next: String,
}

/// Gets `path` from the relay that `args` name, and returns the body of its answer.
pub(super) fn get(path: &str, args: &ClientArgs, env: &Environment) -> Result<String, Failure> {
    ask(Method::GET, path, None, args, env)
}

/// Posts `body`, or nothing, to `path` of the relay that `args` name, and returns the body of its
/// answer.
pub(super) fn post(path: &str, body: Option<String>, args: &ClientArgs, env: &Environment) -> Result<String, Failure> {
    ask(Method::POST, path, body, args, env)
}

fn ask(
    method: Method,
    path: &str,
    body: Option<String>,
    args: &ClientArgs,
    env: &Environment,
) -> Result<String, Failure> {
    let base = relay_url(args, env)?;
    let token = env.text("AGENT_RELAY_TOKEN")?.map(|text| Secret::parse("AGENT_RELAY_TOKEN", text));
    let token = token.transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("failed to start: {error}")))?;
    runtime.block_on(fetch(method, &base, path, body, token.as_ref()))
}

fn relay_url(args: &ClientArgs, env: &Environment) -> Result<String, ConfigError> {
    match &args.url {
        Some(url) => base_url("--url", url),
        None => base_url("AGENT_RELAY_URL", env.text("AGENT_RELAY_URL")?.unwrap_or("http://127.0.0.1:4850")),
    }
}

async fn fetch(
    method: Method,
    base: &str,
    path: &str,
    body: Option<String>,
    token: Option<&Secret>,
) -> Result<String, Failure> {
    // A redirect would carry the token to an address that nobody named.
    let client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .user_agent(concat!("agent-relay/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::Other(chain(&error)))?;
    let mut request = client.request(method, format!("{base}{path}"));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let mut answer = request.send().await.map_err(|error| unreachable(base, &error))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(base, &error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Other(format!(
                "the answer of {base} is longer than {ANSWER_BYTES_MAX} bytes; is that a relay?"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(refused(base, status, &body));
    }
    String::from_utf8(body).map_err(|_| Failure::Other(format!("the answer of {base} is not text; is that a relay?")))
}

fn unreachable(base: &str, error: &reqwest::Error) -> Failure {
    Failure::Other(if error.is_connect() {
        format!(
            "no relay listens at {base}: start one with `agent-relay serve`, or name another with --url or AGENT_RELAY_URL"
        )
    } else {
        format!("failed to ask the relay at {base}: {}", chain(error))
    })
}

fn refused(base: &str, status: StatusCode, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let detail = match problem.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    let next = match (status, problem.next.as_str()) {
        (StatusCode::UNAUTHORIZED, _) => ". Set AGENT_RELAY_TOKEN to a token of this relay.".to_owned(),
        (_, "") => String::new(),
        (_, next) => format!(". {next}"),
    };
    Failure::Other(format!("the relay at {base} answered {status}{detail}{next}"))
}
