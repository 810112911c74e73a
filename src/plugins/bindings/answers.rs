//! From what guests answer to the relay's values. The shape only: whether an answer is acceptable
//! is judged where it is used.

use crate::domain::control::{ApprovalMode, ControlKind, Verdict};
use crate::domain::plan::{EnvValue, EnvVar, Plan, Presentation, PromptDelivery, Readiness, SessionFile, StopPlan};

use super::{policy_wit, provider_wit, types_wit};

impl From<types_wit::ApprovalMode> for ApprovalMode {
    fn from(mode: types_wit::ApprovalMode) -> Self {
        match mode {
            types_wit::ApprovalMode::Open => Self::Open,
            types_wit::ApprovalMode::Guarded => Self::Guarded,
            types_wit::ApprovalMode::ReadOnly => Self::ReadOnly,
        }
    }
}

impl From<policy_wit::ControlKind> for ControlKind {
    fn from(kind: policy_wit::ControlKind) -> Self {
        match kind {
            policy_wit::ControlKind::Spawn => Self::Spawn,
            policy_wit::ControlKind::Restart => Self::Restart,
            policy_wit::ControlKind::Shutdown => Self::Shutdown,
        }
    }
}

impl From<policy_wit::Verdict> for Verdict {
    fn from(verdict: policy_wit::Verdict) -> Self {
        match verdict {
            policy_wit::Verdict::Allow => Self::Allow,
            policy_wit::Verdict::Amend(amendment) => Self::Amend {
                cwd: amendment.cwd,
                approval_mode: amendment.approval_mode.map(Into::into),
                reason: amendment.reason,
            },
            policy_wit::Verdict::Deny(denial) => Self::Deny { code: denial.code, reason: denial.reason },
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
