//! Provider `worktree`: each agent works in a git worktree of its own.
//!
//! A provider starts nothing; it plans one program in the approved directory. Here two things must
//! happen, `git worktree add` and then the agent's program inside, so the program is a shell and its
//! script a file of the session. What that grant means is in the README.

mod script;
mod settings;

use agent_relay_plugin::ApprovalMode;
use agent_relay_plugin::provider::{
    Abilities, LaunchPlan, LaunchSite, PlanError, PromptDelivery, Provider, Readiness, SessionFile, SpawnRequest,
    introduction, variables,
};
use settings::Launch;

/// The shell, which `[grants] executables` must name too.
const SHELL: &str = "/bin/sh";
/// The session file, which `[grants] files` must name too.
const SCRIPT: &str = "start.sh";
/// How long a program without known texts on its screen takes to come up, in milliseconds.
const SETTLE_MS: u32 = 15_000;
/// How long one that has such texts may take.
const READY_MS: u32 = 60_000;

struct Worktree;

impl Provider for Worktree {
    type Settings = Launch;

    fn abilities(launch: &Launch) -> Abilities {
        let modes = [ApprovalMode::Open, ApprovalMode::Guarded, ApprovalMode::ReadOnly];
        Abilities {
            executables: vec![SHELL.to_owned()],
            approval_modes: modes.into_iter().filter(|mode| launch.arguments(*mode).is_some()).collect(),
            takes_prompt: true,
        }
    }

    fn plan(launch: &Launch, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
        let Some(arguments) = launch.arguments(request.approval_mode) else {
            return Err(PlanError::UnsupportedApprovalMode(request.approval_mode));
        };
        let mut told = introduction(request, site);
        if let Some(prompt) = &request.prompt {
            told = format!("{told}\n\n{prompt}");
        }
        let mut command = vec![launch.program.clone()];
        command.extend_from_slice(arguments);
        command.extend(["--".to_owned(), told]);
        let contents = script::start(&launch.folder, &request.agent_id, &command);
        if contents.contains('\0') {
            return Err(PlanError::Invalid("the prompt must not contain a NUL character".to_owned()));
        }
        Ok(LaunchPlan {
            program: SHELL.to_owned(),
            args: vec![format!("{}/{SCRIPT}", site.session_dir.trim_end_matches('/'))],
            env: variables(site, &[], &[], &launch.pass_env),
            cwd: site.cwd.clone(),
            files: vec![SessionFile { name: SCRIPT.to_owned(), contents }],
            prompt: PromptDelivery::InArguments,
            ready: Readiness {
                screen_texts: launch.ready.clone(),
                settle_ms: if launch.ready.is_empty() { SETTLE_MS } else { READY_MS },
            },
            extensions: Vec::new(),
        })
    }
}

agent_relay_plugin::export_provider!(Worktree);
