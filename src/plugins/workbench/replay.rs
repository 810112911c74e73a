//! Asking a candidate what a policy was asked before.
//!
//! A policy is a pure function and the question is kept as the policies got it, so the same component
//! under the same settings gives the same answer: what differs is what the candidate would change.

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::control::command::RecordedDecision;
use crate::domain::control::{ApprovalMode, Control, ControlKind, PolicyMode, VerdictKind, VerdictRecord};

use super::super::kinds::Question;
use super::super::kinds::policy::Policy;
use super::loaded::Loaded;

/// What a policy decided, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruled {
    /// The outcome.
    pub verdict: VerdictKind,
    /// Of a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What an amendment made of the directory, where it changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What an amendment made of the mode, where it changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_mode: Option<ApprovalMode>,
}

/// A decision that would come out differently.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The command.
    pub command_id: i64,
    /// When it was decided, in milliseconds since the epoch.
    pub at: i64,
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it was for.
    pub target: String,
    /// Who asked.
    pub caller: String,
    /// What the policy of this id said; nothing when it was not asked.
    pub recorded: Option<Ruled>,
    /// What the candidate says; nothing when it does not want to be asked.
    pub candidate: Option<Ruled>,
}

impl Loaded {
    /// Asks this policy what was asked then. Nothing when nothing changes, or when the chain ended before
    /// a policy of this id would have been asked.
    pub async fn replay(&self, decision: &RecordedDecision) -> Option<Change> {
        let id = &self.plugin.terms.id;
        let position = decision.decision.iter().position(|verdict| verdict.plugin == *id);
        if position.is_none() && ended_early(&decision.decision) {
            return None;
        }
        // Amendments of the policies before it, its own not among them.
        let earlier = &decision.decision[..position.unwrap_or(decision.decision.len())];
        let narrowed = &decision.question.narrowed;
        let asked = narrowed.iter().rev().find(|step| earlier.iter().any(|verdict| verdict.plugin == step.by));
        let control = asked.map_or(&decision.question.control, |step| &step.control);

        let own = narrowed.iter().find(|step| step.by == *id).map(|step| &step.control);
        let recorded = position.map(|position| recorded(&decision.decision[position], control, own));
        let mut candidate = self.rule(control, decision).await;
        // What a policy that only watches made of a control is not recorded, so it cannot be compared.
        if let (Some(recorded), None, Some(candidate)) = (&recorded, own, &mut candidate)
            && recorded.verdict == VerdictKind::Amend
        {
            (candidate.cwd, candidate.approval_mode) = (None, None);
        }
        let allows = |ruled: &Option<Ruled>| ruled.as_ref().is_none_or(|ruled| ruled.verdict == VerdictKind::Allow);
        // Not to be asked and to allow come to the same.
        if recorded == candidate || (allows(&recorded) && allows(&candidate)) {
            return None;
        }
        Some(Change {
            command_id: decision.command_id.get(),
            at: decision.at.as_ms(),
            kind: decision.kind,
            target: decision.target.to_string(),
            caller: decision.question.context.caller.name.clone(),
            recorded,
            candidate,
        })
    }

    async fn rule(&self, control: &Control, decision: &RecordedDecision) -> Option<Ruled> {
        if self.plugin.guest_as::<Policy>().is_some_and(|policy| !policy.kinds.contains(&control.kind())) {
            return None;
        }
        let context = decision.question.context.clone();
        let question = Question::decide(control.clone(), context);
        let answer = self.call(&question).await.answer;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (verdict, body) = if answer == "allow" {
            (VerdictKind::Allow, json!({}))
        } else if let Some(denial) = answer.get("deny") {
            (VerdictKind::Deny, denial.clone())
        } else if let Some(amendment) = answer.get("amend") {
            (VerdictKind::Amend, amendment.clone())
        } else {
            (VerdictKind::Error, json!({"code": answer["code"], "reason": answer["error"]}))
        };
        let mode = body["approvalMode"].as_str().and_then(ApprovalMode::parse);
        let (given, had) = match control {
            Control::Spawn(spawn) => (Some(spawn.cwd.given.as_str()), Some(spawn.approval_mode)),
            Control::Restart(_) | Control::Shutdown(_) => (None, None),
        };
        Some(Ruled {
            verdict,
            code: text(&body["code"]),
            reason: text(&body["reason"]),
            cwd: text(&body["cwd"]).filter(|cwd| Some(cwd.as_str()) != given),
            approval_mode: mode.filter(|mode| Some(*mode) != had),
        })
    }
}

/// Whether a policy that was obeyed refused, so that those after it were not asked.
fn ended_early(verdicts: &[VerdictRecord]) -> bool {
    verdicts.last().is_some_and(|last| {
        matches!(last.verdict, VerdictKind::Deny | VerdictKind::Error) && last.mode == PolicyMode::Enforce
    })
}

fn recorded(record: &VerdictRecord, before: &Control, after: Option<&Control>) -> Ruled {
    let (cwd, approval_mode) = match (before, after) {
        (Control::Spawn(before), Some(Control::Spawn(after))) => (
            (after.cwd.given != before.cwd.given).then(|| after.cwd.given.clone()),
            (after.approval_mode != before.approval_mode).then_some(after.approval_mode),
        ),
        _ => (None, None),
    };
    Ruled { verdict: record.verdict, code: record.code.clone(), reason: record.reason.clone(), cwd, approval_mode }
}
