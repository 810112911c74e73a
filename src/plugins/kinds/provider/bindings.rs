//! World `provider-plugin`, generated from `wit/`, and its values to and from the relay's own: the shape
//! only. Whether an answer is acceptable is judged where it is used.

use crate::domain::control::plan::{
    EnvValue, EnvVar, IncomingMessage, LaunchSite, Plan, Presentation, PromptDelivery, Readiness, SessionFile,
    SpawnRequest, StopPlan, StopReason,
};

wasmtime::component::bindgen!({
    path: "wit",
    world: "provider-plugin",
    exports: { default: async },
    with: {
        "agent-relay:plugin/types": crate::plugins::runtime::bindings::agent_relay::plugin::types,
        "agent-relay:plugin/host": crate::plugins::runtime::bindings::agent_relay::plugin::host,
    },
});

pub(super) use exports::agent_relay::plugin::provider as provider_wit;

use crate::plugins::runtime::bindings::types as types_wit;

impl From<&SpawnRequest> for provider_wit::SpawnRequest {
    fn from(request: &SpawnRequest) -> Self {
        Self {
            agent_id: request.agent_id.clone(),
            approval_mode: request.approval_mode.into(),
            label: request.label.clone(),
            prompt: request.prompt.clone(),
            extensions: [("resume", &request.resume), ("conversation", &request.conversation)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_ref()?)))
                .map(|(name, value)| types_wit::Extension {
                    name: name.to_owned(),
                    value: serde_json::Value::from(value.as_str()).to_string(),
                })
                .collect(),
        }
    }
}

impl From<&LaunchSite> for provider_wit::LaunchSite {
    fn from(site: &LaunchSite) -> Self {
        Self {
            cwd: site.cwd.clone(),
            home: site.home.clone(),
            hostname: site.hostname.clone(),
            session_dir: site.session_dir.clone(),
            relay_url: site.relay_url.clone(),
            token_variable: site.token_variable.clone(),
            mcp_url: site.mcp_url.clone(),
            host_variables: site.host_variables.clone(),
            root: site.root,
            extensions: Vec::new(),
        }
    }
}

impl From<&IncomingMessage> for provider_wit::Message {
    fn from(message: &IncomingMessage) -> Self {
        Self {
            id: message.id,
            sender: message.sender.clone(),
            subject: message.subject.clone(),
            body: message.body.clone(),
            interrupt: message.interrupt,
        }
    }
}

impl From<StopReason> for provider_wit::StopReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Shutdown => Self::Shutdown,
            StopReason::Restart => Self::Restart,
            StopReason::Failed => Self::Failed,
        }
    }
}

impl From<provider_wit::LaunchPlan> for Plan {
    fn from(plan: provider_wit::LaunchPlan) -> Self {
        Self {
            program: plan.program,
            args: plan.args,
            env: plan.env.into_iter().map(Into::into).collect(),
            cwd: plan.cwd,
            files: plan.files.into_iter().map(Into::into).collect(),
            prompt: plan.prompt.into(),
            ready: Readiness { screen_texts: plan.ready.screen_texts, settle_ms: plan.ready.settle_ms },
            resumed: plan.extensions.iter().any(|extension| extension.name == "resumed" && extension.value == "true"),
        }
    }
}

impl From<provider_wit::EnvVar> for EnvVar {
    fn from(variable: provider_wit::EnvVar) -> Self {
        Self {
            name: variable.name,
            value: match variable.value {
                provider_wit::EnvValue::Literal(text) => EnvValue::Literal(text),
                provider_wit::EnvValue::FromHost(name) => EnvValue::FromHost(name),
            },
        }
    }
}

impl From<provider_wit::SessionFile> for SessionFile {
    fn from(file: provider_wit::SessionFile) -> Self {
        Self { name: file.name, contents: file.contents }
    }
}

impl From<provider_wit::PromptDelivery> for PromptDelivery {
    fn from(delivery: provider_wit::PromptDelivery) -> Self {
        match delivery {
            provider_wit::PromptDelivery::InArguments => Self::InArguments,
            provider_wit::PromptDelivery::InFile(name) => Self::InFile(name),
            provider_wit::PromptDelivery::Typed => Self::Typed,
            provider_wit::PromptDelivery::Message => Self::Message,
        }
    }
}

impl From<provider_wit::Presentation> for Presentation {
    fn from(presentation: provider_wit::Presentation) -> Self {
        Self { keys_before: presentation.keys_before, text: presentation.text, submit: presentation.submit }
    }
}

impl From<provider_wit::StopPlan> for StopPlan {
    fn from(plan: provider_wit::StopPlan) -> Self {
        Self { keys: plan.keys, grace_ms: plan.grace_ms }
    }
}
