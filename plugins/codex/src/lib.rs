//! Provider `codex`: interactive sessions of Codex.
//!
//! Observed with the real program, version 0.169.0, in tmux against a scripted model. Its screens are kept under
//! `tests/screens`, each with what is to be seen in it.
//!
//! Starting it:
//!
//! | what | seen |
//! |---|---|
//! | without `--no-daemon` | the session runs in a background server that all sessions share: commands and servers of tools get the environment of whoever started it first, and ending the session does not end it |
//! | `--ask-for-approval never --sandbox danger-full-access` | runs and writes anywhere, network too; root too |
//! | `on-request`, `workspace-write` | writes in the directory and in `/tmp`, no network; for more a person is asked |
//! | `never`, `read-only` | every write fails (`Read-only file system`), no network; for more is refused without asking |
//! | a server's tools in the last two | asked about, and refused under `never`, unless its `default_tools_approval_mode` is `approve` |
//! | `bearer_token_env_var` | the token is read from that variable |
//! | its server is down, or accepts and never answers | the first prompt is answered within 3 s all the same |
//! | `developer_instructions` | reach the model as a message of the developer, beside `AGENTS.md`; a resumed conversation keeps those it began with |
//! | prompt after `--` | taken as it is (`-p hi`, `/status` reach the model), except for one that begins with `!`: it is **run as a shell command outside the sandbox**, in every mode |
//! | a Git repository not yet trusted | a dialog, unless `projects` names the directory; not so outside repositories |
//! | `resume ID` | goes on under the same id; one without a turn, or that is gone: exits with status 1 |
//! | the same while another process has it open | waits at `This conversation is open in another app` |
//! | `/clear`, `/new` | another conversation from then on |
//! | C-c three times, 150 ms apart | ends it when idle, during a turn and in a dialog |
//!
//! Seeing what it does:
//!
//! | what | seen |
//! |---|---|
//! | what it writes down | its conversation's rollout (`sessions/YYYY/MM/DD/rollout-TIME-ID.jsonl`) from the first turn on, with where turns begin and end |
//! | which conversation is whose | no file tells; `tui.status_line` with `thread-id` and `codex-version` has the session say both itself, at whatever width |
//! | a permission, a question | `Action Required` in the title, and no input |
//! | a usage limit | `You’ve hit your usage limit ... try again at 6:56 PM` or `at Nov 29th, 2026 6:16 PM`, and the input is there |
//!
//! Ways into it:
//!
//! | what | seen |
//! |---|---|
//! | `codex queue --thread ID`, idle | exit status 0 within 0.2 s; a turn begins within 10 s, for a session looks into the queue that often |
//! | the same during a turn | is the next turn, at once |
//! | the same in a dialog | waits until it is answered |
//! | the same after a turn that was interrupted | waits until another turn has ended |
//! | the same before a conversation's first turn | exit status 1 |
//! | the same for one that no process has open | exit status 0, and nobody is told |
//! | text pasted during a turn | is put to the model at once, and the turn goes on with it |
//! | Escape, text, Enter | ends the turn, the text is the next |
//! | text pasted into a dialog | ignored (typed key by key, a `y` says yes), but Enter then says yes to it |
//!
//! The lines about dialogs are why nothing is typed while one is seen, and those about the queue why it is used for a
//! conversation that the session itself names, and not after an interruption.

mod command;
mod courier;
mod observe;
mod records;
mod screen;
mod settings;
#[cfg(test)]
mod tests;

use agent_relay_plugin::ApprovalMode;
use agent_relay_plugin::provider::{
    Abilities, LaunchPlan, LaunchSite, Message, PlanError, Presentation, Provider, SpawnRequest, StopPlan, StopReason,
    notice,
};
use agent_relay_plugin::session::{Attempt, Courier, Notice, Observation, Observer, RunningSession, Screen};
use settings::Settings;

struct Codex;

impl Provider for Codex {
    type Settings = Settings;

    fn abilities(settings: &Settings) -> Abilities {
        Abilities {
            executables: vec![settings.executable.clone()],
            approval_modes: vec![ApprovalMode::Open, ApprovalMode::Guarded, ApprovalMode::ReadOnly],
            takes_prompt: true,
        }
    }

    fn plan(settings: &Settings, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
        command::plan(settings, request, site)
    }

    fn present(_: &Settings, message: &Message) -> Presentation {
        notice(message, &["Escape"])
    }

    fn stop(_: &Settings, _: StopReason) -> StopPlan {
        StopPlan { keys: ["C-c", "C-c", "C-c"].map(str::to_owned).to_vec(), grace_ms: 10_000 }
    }
}

impl Observer for Codex {
    fn observe(_: &Settings, session: &RunningSession, screen: &Screen) -> Observation {
        observe::observe(session, screen)
    }
}

impl Courier for Codex {
    fn deliver(settings: &Settings, notice: &Notice, session: &RunningSession, seen: &Observation) -> Vec<Attempt> {
        courier::deliver(settings, notice, session, seen)
    }
}

agent_relay_plugin::export_delivering_provider!(Codex);
