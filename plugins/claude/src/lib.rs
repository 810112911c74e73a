//! Provider `claude`: interactive sessions of Claude Code.
//!
//! Observed with the real program, versions 2.1.197 and 2.1.332, in tmux against a scripted model. Its screens are kept under
//! `tests/screens`, each with what is to be seen in it.
//!
//! Starting it:
//!
//! | what | seen |
//! |---|---|
//! | `--dangerously-skip-permissions` as root | exits with status 1 |
//! | the same, not as root | asks once whether that is accepted, unless `--settings` holds `skipDangerousModePermissionPrompt` |
//! | `dontAsk` with `--allowedTools Bash,Edit,Write,...` | runs and writes, also outside the directory, and asks nothing; root too |
//! | `acceptEdits` | writes and `touch` inside the directory at once; outside, a person is asked |
//! | `plan` | a person is asked before each write and may say yes |
//! | `dontAsk` with `--tools Read,Glob,Grep,...` | only those exist; reading outside the directory and writing are refused, nobody is asked |
//! | no mode named | 2.1.332 starts in auto mode, 2.1.197 asks for everything; here each approval mode names one |
//! | prompt after `--` | taken as it is: `-p hi` and `!ls` reach the model, `/status` is a command |
//! | `--mcp-config FILE` | `${NAME}` in a header is filled in from the environment; spaces in FILE do no harm |
//! | a server's tools | 2.1.332 holds them back until the model calls `ToolSearch`, unless the server is there with `alwaysLoad`; 2.1.197 takes that and holds nothing back |
//! | its server is down, or accepts and never answers | the first prompt is answered within 7 s all the same |
//! | a directory not yet trusted | a dialog; trusting a parent once is enough for all below it. Enter says yes in 2.1.197, and no, which ends it, in 2.1.332 |
//! | `--session-id ID` | the conversation has that id; one that there is already: exits with status 1 |
//! | `--resume ID` | goes on under the same id; one in which nothing was said, or that is gone: exits with status 1 |
//! | the same while another process has it open | goes on too, and both write to it |
//! | `/clear` | another id from then on |
//! | Escape, then three C-c, 150 ms apart | ends it when idle, during a turn and in a dialog |
//!
//! Seeing what it does:
//!
//! | what | seen |
//! |---|---|
//! | `~/.claude/sessions/PID.json` | both versions write it once they are up: `status` is `idle`, `busy`, or `waiting` with `waitingFor`, and it has the conversation's id and the version |
//! | a question of the model | `waitingFor` is `input needed` in 2.1.332, `permission prompt` in 2.1.197 |
//! | trust, a key, skipped permissions, a project's servers | asked before there is such a file |
//! | a usage limit | `You've hit your ... limit · resets 6:53pm (UTC)`, and a menu (2.1.197; days in 2.1.332) or a line that it goes on by itself (hours in 2.1.332); the file says `dialog open` or `idle` |
//! | the window's title | in 2.1.332 what an early request for pictures leaves there, until the first turn |
//!
//! Ways into it:
//!
//! | what | seen |
//! |---|---|
//! | inbox of 2.1.332, idle | a turn begins within 0.2 s; the transcript has a line of it with the message's `msg_id` |
//! | the same during a turn | waits for its end; with priority `now` it ends the turn and is the next, within 0.2 s |
//! | the same in a dialog | waits until it is answered |
//! | the same text twice within 4 s | arrives twice |
//! | the same with a wrong token, or none | arrives too; whoever runs as another user does not get to the socket |
//! | inbox of 2.1.197 | there is none |
//! | text pasted during a turn | waits for the turn to end |
//! | Escape, a pause of 50 ms, text, Enter | ends the turn, the text is the next; without the pause Escape is lost |
//! | Escape before a turn has said anything | its prompt is back in the input |
//! | text pasted into a dialog | ignored, but Enter then says yes to it |
//!
//! The lines about dialogs are why nothing is typed while one is seen, and why a version that is not known is typed to only
//! where its input is recognised.

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
