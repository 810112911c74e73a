//! Asking policies, one after the other, and making one decision of their verdicts.

use std::time::Instant;

use crate::domain::control::{
    Context, Control, Decision, Narrowing, Outcome, PolicyMode, Verdict, VerdictKind, VerdictRecord,
};

use super::super::super::runtime::{CallError, Inquiry, Sandbox, clean};
use super::super::plugin::Plugin;
use super::guest::Policy;
use super::narrow::{Amendment, narrow};
use super::track::Question;

/// Bytes of a denial's code.
const CODE_BYTES_MAX: usize = 64;
/// Bytes of a path in an amendment.
const PATH_BYTES_MAX: usize = 4096;

/// What a policy answered: a verdict, or that it cannot tell and why.
type Answer = Result<Verdict, String>;

/// Asks every policy that wants to see this control, in order, until one refuses.
pub(crate) async fn decide<'a>(
    policies: impl Iterator<Item = &'a Plugin>,
    control: Control,
    context: &Context,
) -> Decision {
    let kind = control.kind();
    let mut question = Question::new(control, context);
    let mut verdicts = Vec::new();
    let mut narrowed = Vec::new();
    for plugin in policies {
        let Some(policy) = plugin.guest_as::<Policy>() else {
            continue;
        };
        let mode = plugin.terms.mode;
        if mode == PolicyMode::Off || !policy.kinds.contains(&kind) {
            continue;
        }
        let started = Instant::now();
        let ruling = rule(plugin, policy, &question).await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        verdicts.push(record(plugin, &ruling, micros));
        if mode == PolicyMode::Monitor {
            continue;
        }
        let id = plugin.terms.id.clone();
        let outcome = match ruling {
            Ruling::Allowed => continue,
            Ruling::Narrowed { control: narrower, .. } => {
                narrowed.push(Narrowing { by: id, control: (*narrower).clone() });
                question.narrow(*narrower);
                continue;
            }
            Ruling::Denied { code, reason } => Outcome::Denied { plugin: id, code, reason },
            Ruling::Failed { reason, .. } => Outcome::Failed { reason: format!("policy {id} {reason}"), plugin: id },
        };
        return Decision { verdicts, narrowed, outcome };
    }
    Decision { verdicts, narrowed, outcome: Outcome::Allowed(question.into_control()) }
}

/// What a policy's answer comes to, once the host has looked at it.
enum Ruling {
    Allowed,
    Narrowed { control: Box<Control>, reason: String },
    Denied { code: String, reason: String },
    Failed { code: &'static str, reason: String },
}

async fn rule(plugin: &Plugin, policy: &Policy, question: &Question<'_>) -> Ruling {
    let failed = |error: CallError| Ruling::Failed { code: error.code(), reason: error.to_string() };
    if let Err(error) = plugin.sandbox.admit("decide") {
        return failed(error);
    }
    let inquiry = question.inquiry_of_caller();
    match ask(&plugin.sandbox, policy, question, &inquiry).await {
        Ok(Ok(Verdict::Allow)) => Ruling::Allowed,
        Ok(Ok(Verdict::Deny { code, reason })) => Ruling::Denied { code, reason },
        Ok(Ok(Verdict::Amend { cwd, approval_mode, reason })) => {
            let amendment = Amendment { cwd, approval_mode };
            match narrow(question.control(), amendment).await {
                Ok(control) => Ruling::Narrowed { control: Box::new(control), reason },
                Err(problem) => failed(plugin.sandbox.reject_answer("decide", &inquiry, &problem)),
            }
        }
        Ok(Err(reason)) => Ruling::Failed { code: "cannot_tell", reason: format!("cannot tell: {reason}") },
        Err(error) => failed(error),
    }
}

/// One call of `decide`, with the texts of the answer made safe to show.
pub(crate) async fn ask(
    sandbox: &Sandbox,
    policy: &Policy,
    question: &Question<'_>,
    inquiry: &Inquiry,
) -> Result<Answer, CallError> {
    let check = |answer: Answer| match answer {
        Err(reason) => Ok(Err(clean(&reason))),
        Ok(verdict) => accept(verdict).map(Ok).map_err(CallError::Output),
    };
    sandbox.call("decide", inquiry, async |store| policy.track.decide(store, question).await, check).await
}

fn accept(verdict: Verdict) -> Result<Verdict, String> {
    match verdict {
        Verdict::Allow => Ok(Verdict::Allow),
        Verdict::Deny { code, reason } => {
            let fits = (1..=CODE_BYTES_MAX).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if !fits {
                return Err(format!("denial.code: {:?} is not a snake_case word", clean(&code)));
            }
            Ok(Verdict::Deny { code, reason: clean(&reason) })
        }
        Verdict::Amend { cwd, approval_mode, reason } => {
            if let Some(cwd) = &cwd
                && (cwd.len() > PATH_BYTES_MAX || cwd.chars().any(char::is_control) || !cwd.starts_with('/'))
            {
                return Err("amendment.cwd: must be an absolute path without control characters".into());
            }
            Ok(Verdict::Amend { cwd, approval_mode, reason: clean(&reason) })
        }
    }
}

fn record(plugin: &Plugin, ruling: &Ruling, micros: u64) -> VerdictRecord {
    let (verdict, code, reason) = match ruling {
        Ruling::Allowed => (VerdictKind::Allow, None, None),
        Ruling::Narrowed { reason, .. } => (VerdictKind::Amend, None, Some(reason.clone())),
        Ruling::Denied { code, reason } => (VerdictKind::Deny, Some(code.clone()), Some(reason.clone())),
        Ruling::Failed { code, reason } => (VerdictKind::Error, Some((*code).to_owned()), Some(reason.clone())),
    };
    VerdictRecord {
        plugin: plugin.terms.id.clone(),
        version: plugin.version.clone(),
        digest: plugin.fingerprint.wasm.clone(),
        generation: plugin.sandbox.generation,
        verdict,
        code,
        reason,
        micros,
        mode: plugin.terms.mode,
    }
}

#[cfg(test)]
mod tests;
