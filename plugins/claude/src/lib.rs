//! Provider `claude`: interactive sessions of Claude Code.
//!
//! Observed with the real program, version 2.1.197, in tmux against a scripted model:
//!
//! | what | seen |
//! |---|---|
//! | `--dangerously-skip-permissions` as root | exits with status 1 |
//! | the same, not as root | asks once whether that is accepted, unless `--settings` holds `skipDangerousModePermissionPrompt` |
//! | `dontAsk` with `--allowedTools Bash,Edit,Write,...` | runs and writes, also outside the directory, and asks nothing; root too |
//! | `acceptEdits` | writes and `touch` inside the directory at once; outside, a person is asked |
//! | `plan` | a person is asked before each write and may say yes |
//! | `dontAsk` with `--tools Read,Glob,Grep,...` | only those exist; reading outside the directory and writing are refused, nobody is asked |
//! | prompt after `--` | taken as it is: `-p hi` and `!ls` reach the model, `/status` is a command |
//! | `--mcp-config FILE` | `${NAME}` in a header is filled in from the environment; spaces in FILE do no harm |
//! | a directory not yet trusted | a dialog; trusting a parent once is enough for all below it |
//! | text pasted during a turn | waits for the turn to end |
//! | Escape, a pause of 50 ms, text, Enter | ends the turn, the text is the next; without the pause Escape is lost |
//! | text pasted into a dialog | ignored, but Enter then says yes to it |
//! | Escape, then three C-c, 150 ms apart | ends it when idle, during a turn and in a dialog |
//!
//! The two lines about dialogs are why `ready` names a text that no dialog shows: while none of
//! it is on the screen, nothing may be typed.

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

struct Claude;

impl Provider for Claude {
    type Settings = Settings;

    fn abilities(settings: &Settings) -> Abilities {
        Abilities {
            executables: vec![settings.executable.clone()],
            approval_modes: vec![ApprovalMode::Open, ApprovalMode::Guarded, ApprovalMode::ReadOnly],
            takes_prompt: true,
        }
    }

    fn plan(settings: &Settings, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
        Ok(command::plan(settings, request, site))
    }

    fn present(_: &Settings, message: &Message) -> Presentation {
        notice(message, &["Escape"])
    }

    fn stop(_: &Settings, _: StopReason) -> StopPlan {
        StopPlan { keys: ["Escape", "C-c", "C-c", "C-c"].map(str::to_owned).to_vec(), grace_ms: 10_000 }
    }
}

impl Observer for Claude {
    fn observe(_: &Settings, session: &RunningSession, screen: &Screen) -> Observation {
        observe::observe(session, screen)
    }
}

impl Courier for Claude {
    fn deliver(settings: &Settings, notice: &Notice, session: &RunningSession, seen: &Observation) -> Vec<Attempt> {
        courier::deliver(settings, notice, session, seen)
    }
}

agent_relay_plugin::export_delivering_provider!(Claude);
