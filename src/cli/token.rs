//! `agent-relay token`: the named credentials of a running relay.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_relay::config::Environment;
use agent_relay::domain::caller::token::{TokenCard, TokenDraft};
use agent_relay::domain::id::TokenId;

use super::connection::{ClientArgs, Connection};
use super::plugin::plain;
use super::show::{show, table};
use super::{Failure, print};

/// Tokens that are listed: more than anybody reads.
const LISTED_MAX: usize = 100_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Token {
    Create(Create),
    /// List the tokens of a running relay, those of running agents too. The tokens themselves are not kept.
    List(ClientArgs),
    /// End a token: it opens nothing from now on, and what it has open ends.
    Revoke(Revoke),
}

/// Make a token, and print it. It is not shown again.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// What is recorded for whoever holds it
    name: String,
    /// What it may do; may be given several times: admin, read, send, agent, control, orchestrator, integration or
    /// metrics
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    scopes: Vec<String>,
    /// The agent that it can act as, and as no other; orchestrator-ID for an orchestrator
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// After how long it stops working, such as 12h or 30d [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The token's number, as `list` shows it
    id: i64,
    #[command(flatten)]
    client: ClientArgs,
}

/// Does what one of the commands says.
pub(super) fn run(command: Token, env: &Environment) -> Result<ExitCode, Failure> {
    match command {
        Token::Create(args) => create(args, env),
        Token::List(args) => list(&args, env),
        Token::Revoke(args) => revoke(&args, env),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The token stands alone on standard output, for whoever puts it into a variable; what it is, on the other.
fn create(args: Create, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let draft = TokenDraft {
        name: Some(args.name),
        scopes: Some(args.scopes),
        agent_id: args.agent,
        expires_at: args.expires.map(from_now).transpose()?,
    };
    let told = connection.ask(connection.client.tokens().create(&draft))?;
    if args.client.json {
        return print(told.text()?);
    }
    let card = told.value()?;
    // Whoever closed it does not want to know.
    let _ = writeln!(
        std::io::stderr(),
        "token {} for {}: {}; it is not shown again",
        card.id,
        plain(&card.name),
        described(&card)
    );
    print(&card.token.unwrap_or_default())
}

fn list(args: &ClientArgs, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(args, env)?;
    let tokens: Vec<TokenCard> = connection.ask_all(connection.client.tokens().list(Some(1_000)), LISTED_MAX)?;
    if args.json {
        return print(&serde_json::to_string(&tokens).map_err(|error| Failure::Other(error.to_string()))?);
    }
    let rows = tokens.iter().map(|card| {
        let cells = [
            card.id.to_string(),
            plain(&card.name),
            scopes(card),
            card.agent_id.as_deref().map_or("-".to_owned(), plain),
            card.kind.to_string(),
            card.expires_at.map_or("-".to_owned(), |at| time(at.as_ms())),
            time(card.created_at.as_ms()),
        ];
        (cells, None)
    });
    show(&table(["ID", "NAME", "SCOPES", "AGENT", "KIND", "EXPIRES", "MADE"], rows))
}

fn revoke(args: &Revoke, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.tokens().revoke(TokenId::new(args.id)))?;
    if args.client.json { print(told.text()?) } else { print(&format!("token {} is revoked", args.id)) }
}

fn scopes(card: &TokenCard) -> String {
    card.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn described(card: &TokenCard) -> String {
    let agent = card.agent_id.as_deref().map(|agent| format!(" as {}", plain(agent))).unwrap_or_default();
    let until = card.expires_at.map(|at| format!(" until {}", time(at.as_ms()))).unwrap_or_default();
    format!("{}{agent}{until}", scopes(card))
}

/// That long from now, in milliseconds since the epoch.
fn from_now(after: Duration) -> Result<i64, Failure> {
    let far = || Failure::Usage("--expires: that is further away than any clock goes".to_owned());
    let at = SystemTime::now().checked_add(after).ok_or_else(far)?;
    let at = at.duration_since(UNIX_EPOCH).map_err(|_| far())?;
    // What people can read as a date, with which JSON's numbers are exact.
    i64::try_from(at.as_millis()).ok().filter(|ms| *ms < 253_402_300_800_000).ok_or_else(far)
}

/// A time as people read it, to the second.
fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    // Written by `try`: a year of five digits has no such form.
    UNIX_EPOCH
        .checked_add(since)
        .filter(|_| ms < 253_402_300_800_000)
        .map_or_else(|| ms.to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
}
