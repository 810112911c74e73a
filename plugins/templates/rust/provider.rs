//! PLUGIN_ID: starts the program of that name.

use agent_relay_plugin::provider::{
    Abilities, LaunchPlan, LaunchSite, PlanError, PromptDelivery, Provider, Readiness, SpawnRequest,
};
use agent_relay_plugin::{ApprovalMode, NoSettings};

struct Plugin;

impl Provider for Plugin {
    type Settings = NoSettings;

    fn abilities(_: &NoSettings) -> Abilities {
        Abilities {
            executables: vec!["PLUGIN_ID".to_owned()],
            approval_modes: vec![ApprovalMode::Guarded],
            takes_prompt: true,
        }
    }

    fn plan(_: &NoSettings, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
        if request.approval_mode != ApprovalMode::Guarded {
            return Err(PlanError::UnsupportedApprovalMode(request.approval_mode));
        }
        Ok(LaunchPlan {
            program: "PLUGIN_ID".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: site.cwd.clone(),
            files: Vec::new(),
            prompt: match &request.prompt {
                Some(_) => PromptDelivery::Typed,
                None => PromptDelivery::InArguments,
            },
            // Name a text that only its input shows; without one the relay looks for what looks like an input.
            ready: Readiness { screen_texts: Vec::new(), settle_ms: 1_000 },
            extensions: Vec::new(),
        })
    }
}

agent_relay_plugin::export_provider!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use agent_relay_plugin::testing;

    #[test]
    fn a_plan_is_for_guarded_mode_and_types_its_prompt() {
        let ask = |request| testing::plan::<Plugin>("{}", &request, &LaunchSite::sample());
        let planned = ask(SpawnRequest::sample().told("Say hello."));
        assert!(planned.is_ok_and(|plan| plan.prompt == PromptDelivery::Typed));
        assert!(ask(SpawnRequest::sample().in_mode(ApprovalMode::Open)).is_err());
    }
}
