//! Provider `codex`: interactive sessions of Codex.
//!
//! Observed with the real program, version 0.169.0, in tmux against a scripted model:
//!
//! | what | seen |
//! |---|---|
//! | without `--no-daemon` | the session runs in a background server that all sessions share: commands and servers of tools get the environment of whoever started it first, and ending the session does not end it |
//! | `--ask-for-approval never --sandbox danger-full-access` | runs and writes anywhere, network too; root too |
//! | `on-request`, `workspace-write` | writes in the directory and in `/tmp`, no network; for more a person is asked |
//! | `never`, `read-only` | every write fails (`Read-only file system`), no network; for more is refused without asking |
//! | a server's tools in the last two | asked about, and refused under `never`, unless its `default_tools_approval_mode` is `approve` |
//! | `bearer_token_env_var` | the token is read from that variable |
//! | `developer_instructions` | reach the model as a message of the developer |
//! | prompt after `--` | taken as it is (`-p hi`, `/status` reach the model), except for one that begins with `!`: it is **run as a shell command outside the sandbox**, in every mode |
//! | a Git repository not yet trusted | a dialog, unless `projects` names the directory; not so outside repositories |
//! | text pasted during a turn | is put to the model after the next tool call |
//! | Escape, text, Enter | ends the turn, the text is the next |
//! | text pasted into a dialog | ignored (typed key by key, a `y` says yes), but Enter then says yes to it |
//! | C-c three times, 150 ms apart | ends it when idle, during a turn and in a dialog |
//!
//! The lines about dialogs are why `ready` names a text that no dialog shows: while it is not on
//! the screen, nothing may be typed. `codex queue` was looked at and left alone: it speaks to the
//! shared server.

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
