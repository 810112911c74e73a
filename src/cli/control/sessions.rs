//! `agent-relay sessions`: the programs of the agents that this host runs, read from the data directory, whether or not
//! the relay runs.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use agent_relay::config::{Beside, Environment, Flags};
use agent_relay::domain::time::Timestamp;
use agent_relay::sessions::{Mode, Options, SessionInfo, SessionState, Sessions, TmuxChoice};
use anstyle::Style;
use serde_json::{Value, json};

use crate::cli::show::{
    BAD, Cell, DIM, GOOD, STRONG, ago, is_for_a_person, painted, show, table, visible, visible_line,
};
use crate::cli::{Failure, print};

/// Look at the programs of the agents that this host runs.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct SessionsArgs {
    #[command(subcommand)]
    command: Option<What>,
    #[command(flatten)]
    list: Place,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the sessions of this host, the latest last.
    List(Place),
    /// Go into the terminal of a session. Nothing ends by leaving it again, with Ctrl-b d.
    Attach(One),
    /// Print what a session wrote, as plain text: the last 64 KiB.
    Logs(One),
    /// Print what is on the screen of a session now.
    Screen(One),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The data directory of the relay or daemon that runs them [default: ~/.local/share/agent-relay]
    ///
    /// Environment: AGENT_RELAY_DATA_DIR, or what the file in AGENT_RELAY_CONFIG says.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The session's name, or the id of its agent, of whose sessions the latest is meant
    name: String,
    #[command(flatten)]
    place: Place,
}

/// Does what one of the commands says.
pub(in crate::cli) fn see_sessions(args: SessionsArgs, env: &Environment) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Other(format!("failed to start: {error}")))?;
    match args.command {
        None => list(&runtime.block_on(open(&args.list, env))?, &args.list),
        Some(What::List(place)) => list(&runtime.block_on(open(&place, env))?, &place),
        Some(What::Attach(one)) => attach(&runtime.block_on(open(&one.place, env))?, &one),
        Some(What::Logs(one) | What::Screen(one)) => runtime.block_on(async {
            let sessions = open(&one.place, env).await?;
            look(&sessions, &one).await
        }),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The sessions of a data directory, and of the daemon in it: nothing is made by looking.
async fn open(place: &Place, env: &Environment) -> Result<Vec<Sessions>, Failure> {
    let data_dir = Beside::load(&Flags { data_dir: place.data_dir.clone(), ..Flags::default() }, env)?.data_dir;
    let mut opened = Vec::new();
    for directory in [data_dir.join("sessions"), data_dir.join("orchestrator/sessions")] {
        if directory.is_dir() {
            let options = Options { directory, tmux: TmuxChoice::Auto, host_program: env.program().to_owned() };
            opened.push(Sessions::open(options).await.map_err(|error| Failure::Other(error.to_string()))?);
        }
    }
    Ok(opened)
}

fn list(sessions: &[Sessions], place: &Place) -> Result<(), Failure> {
    let found: Vec<SessionInfo> = sessions.iter().flat_map(Sessions::list).collect();
    if place.json {
        let listed: Vec<Value> = found.iter().map(described).collect();
        return print(&Value::from(listed).to_string());
    }
    if found.is_empty() {
        return show(&painted(DIM, "no sessions on this host"));
    }
    let rows = found.iter().map(|session| {
        let (state, style) = state(session);
        let cells = [
            Cell::styled(session.name.as_str(), STRONG),
            Cell::from(&session.identity.agent_id),
            Cell::styled(state, style),
            Cell::from(mode(session.mode)),
            Cell::from(&session.identity.cwd),
            Cell::styled(ago(started(session)), DIM),
        ];
        (cells, None)
    });
    show(&table(["SESSION", "AGENT", "STATE", "IN", "DIRECTORY", "STARTED"], rows))
}

/// A session for programs.
fn described(session: &SessionInfo) -> Value {
    let (state, exit) = match &session.state {
        SessionState::Running { pid } => (json!({"state": "running", "pid": pid}), Value::Null),
        SessionState::Exited(exit) => {
            (json!({"state": "exited"}), json!({"how": exit.how.to_string(), "at": exit.at_ms}))
        }
        SessionState::Gone => (json!({"state": "gone"}), Value::Null),
    };
    let identity = &session.identity;
    let mut described = json!({
        "name": session.name.as_str(), "agentId": identity.agent_id, "provider": identity.provider,
        "label": identity.label, "approvalMode": identity.approval_mode, "cwd": identity.cwd,
        "mode": mode(session.mode), "startedAt": session.started_at_ms, "logPath": session.log_path,
        "attach": session.attach_command, "exit": exit,
    });
    if let (Some(members), Value::Object(state)) = (described.as_object_mut(), state) {
        members.extend(state);
        members.retain(|_, value| !value.is_null());
    }
    described
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Tmux => "tmux",
        Mode::Detached => "detached",
    }
}

fn state(session: &SessionInfo) -> (String, Style) {
    match &session.state {
        SessionState::Running { pid } => (format!("running ({pid})"), GOOD),
        SessionState::Exited(exit) => (exit.how.to_string(), DIM),
        SessionState::Gone => ("gone".to_owned(), BAD),
    }
}

fn started(session: &SessionInfo) -> Timestamp {
    Timestamp::from_ms(i64::try_from(session.started_at_ms).unwrap_or(i64::MAX))
}

/// The one that is meant: by its name, or the latest of an agent, one that runs before one that ended.
fn find(sessions: &[Sessions], name: &str) -> Result<SessionInfo, Failure> {
    let mut found: Vec<SessionInfo> = sessions.iter().flat_map(Sessions::list).collect();
    found.retain(|session| session.name.as_str() == name || session.identity.agent_id == name);
    found.sort_by_key(|session| {
        (session.name.as_str() == name, matches!(session.state, SessionState::Running { .. }), session.started_at_ms)
    });
    found.pop().ok_or_else(|| {
        let name = visible_line(name);
        Failure::Other(format!("no session or agent {name} on this host: `agent-relay sessions` shows what there is"))
    })
}

/// Becomes the program that shows the terminal.
fn attach(sessions: &[Sessions], one: &One) -> Result<(), Failure> {
    let session = find(sessions, &one.name)?;
    let name = &session.name;
    let SessionState::Running { .. } = session.state else {
        return Err(Failure::Other(format!(
            "session {name} has ended: `agent-relay sessions logs {name}` has its last words"
        )));
    };
    let Some(command) = session.attach_command else {
        return Err(Failure::Other(format!(
            "session {name} has no terminal, since no tmux was there when it began: `agent-relay sessions logs {name}`"
        )));
    };
    if one.place.json || !is_for_a_person() {
        return print(&if one.place.json { json!({"attach": command}).to_string() } else { command });
    }
    // Words and their quotes are tmux's command line as people type it; a terminal within another is meant.
    let error = Command::new("/bin/sh").args(["-c", &format!("exec {command}")]).env_remove("TMUX").exec();
    Err(Failure::Other(format!("failed to run {command}: {error}")))
}

async fn look(sessions: &[Sessions], one: &One) -> Result<(), Failure> {
    let session = find(sessions, &one.name)?;
    let Some(of_it) = sessions.iter().find(|sessions| sessions.find(&session.name).is_some()) else { return Ok(()) };
    let screen = of_it.screen(&session.name).await;
    if one.place.json {
        return print(&json!({"name": session.name, "agentId": session.identity.agent_id, "text": screen}).to_string());
    }
    show(&visible(&screen))
}
