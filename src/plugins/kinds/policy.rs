//! Policies: may this happen, and in which form?
//!
//! - `bindings` is the world, `track` calls policies of any published track, `guest` is a loaded one.
//! - `decide` asks one after the other and makes one decision of their verdicts, `narrow` is what an amendment
//!   may do.
//! - `samples` are the questions of the probe, `case` completes what an author asks.

mod bindings;
mod case;
mod decide;
mod guest;
mod narrow;
mod samples;
mod track;

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::domain::control::{Context, Control, Verdict};

use super::super::package::{Grants, Terms};
use super::super::runtime::{CallError, Inquiry, Measured, Sandbox};
use super::kind::{Described, Guide, Introduction, Kind, Linked};
use super::plugin::{Asked, Boxed, Guest, Plugin};
use super::question::{Function, Question};
use super::rejection::{Rejection, Stage, in_stage, not_linked};
use super::stages::{check_description, settings_taken};
use narrow::{Amendment, narrow};
use track::{Description, PolicyTrack};

pub(crate) use decide::decide;
pub(crate) use guest::Policy;

/// The kind `policy`.
pub(crate) struct Policies;

/// What an author asks a policy: may this happen?
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decide {
    /// What somebody wants done.
    pub(crate) control: Control,
    /// What is known.
    pub(crate) context: Context,
}

const FUNCTIONS: [Function; 1] = [Function {
    name: "decide",
    arguments: &["control", "context"],
    word: Some("allow"),
    answers: &[("deny", &["code", "reason"]), ("amend", &["cwd", "approvalMode", "reason"])],
}];

impl Kind for Policies {
    fn load<'a>(
        &'a self,
        component: Linked<'a>,
        sandbox: &'a Sandbox,
        terms: &'a Terms,
    ) -> Boxed<'a, Result<Described, Rejection>> {
        Box::pin(async move {
            let track = PolicyTrack::new(component.pre, component.interface).map_err(|error| not_linked(&error))?;
            instantiate(&track, sandbox).await.map_err(in_stage(Stage::World))?;
            let description = describe(&track, sandbox).await?;
            check_description(&description.id, &description.version, terms)?;
            let settings = &terms.settings;
            let checked = sandbox
                .call(
                    "check-settings",
                    &Inquiry::of(Measured::of(settings)),
                    async |store| track.check_settings(store, settings).await,
                    Ok,
                )
                .await;
            settings_taken(checked)?;
            let guest = Arc::new(Policy { track, kinds: description.kinds });
            Ok(Described { version: description.version, guest })
        })
    }

    fn introduce<'a>(
        &'a self,
        component: Linked<'a>,
        sandbox: &'a Sandbox,
    ) -> Boxed<'a, Result<Introduction, Rejection>> {
        Box::pin(async move {
            let track = PolicyTrack::new(component.pre, component.interface).map_err(|error| not_linked(&error))?;
            Ok(Introduction { id: describe(&track, sandbox).await?.id, executables: Vec::new() })
        })
    }

    fn functions(&self) -> &'static [Function] {
        &FUNCTIONS
    }

    fn question(&self, _: &Function, asked: &mut Map<String, Value>, _: &Grants) -> Result<Question, String> {
        let control = case::control(asked.remove("control"))?;
        Ok(Question::decide(control, case::context(asked.remove("context"))?))
    }

    fn guide(&self) -> Guide {
        Guide { questions: "A question is a `control` in a `context`.", grants: "", is_replayable: true }
    }
}

impl Question {
    /// May this happen?
    pub(crate) fn decide(control: Control, context: Context) -> Self {
        Self::new(Decide { control, context })
    }
}

impl Guest for Policy {
    /// A policy may answer as it likes.
    fn probe<'a>(&'a self, plugin: &'a Plugin) -> Boxed<'a, Result<(), Rejection>> {
        Box::pin(async move {
            let context = samples::context();
            for control in samples::controls(&self.kinds) {
                let question = track::Question::new(control, &context);
                let inquiry = question.inquiry();
                let asked = decide::ask(&plugin.sandbox, self, &question, &inquiry).await;
                let _verdict = asked.map_err(in_stage(Stage::Probe))?;
            }
            Ok(())
        })
    }

    fn probed(&self, _: &Plugin) -> Vec<String> {
        self.kinds.iter().map(|kind| format!("decide about a {}", kind.as_str())).collect()
    }

    fn abilities(&self) -> Value {
        json!({"kinds": self.kinds})
    }

    fn ask<'a>(&'a self, plugin: &'a Plugin, question: &'a Question) -> Boxed<'a, Asked> {
        Box::pin(async move {
            let Some(Decide { control, context }) = question.get() else {
                return Asked { answer: json!({"error": "a policy decides, and does nothing else"}), asked: false };
            };
            if !self.kinds.contains(&control.kind()) {
                return Asked { answer: json!("allow"), asked: false };
            }
            Asked { answer: self.answer(&plugin.sandbox, control, context).await, asked: true }
        })
    }

    fn instantiate<'a>(&'a self, sandbox: &'a Sandbox) -> Boxed<'a, Result<u64, CallError>> {
        Box::pin(async move {
            let started = Instant::now();
            instantiate(&self.track, sandbox).await?;
            Ok(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
        })
    }
}

impl Policy {
    /// What it answers, as an author is shown it.
    async fn answer(&self, sandbox: &Sandbox, control: &Control, context: &Context) -> Value {
        let question = track::Question::new(control.clone(), context);
        let inquiry = question.inquiry();
        match decide::ask(sandbox, self, &question, &inquiry).await {
            Ok(Ok(Verdict::Allow)) => json!("allow"),
            Ok(Ok(Verdict::Deny { code, reason })) => json!({"deny": {"code": code, "reason": reason}}),
            Ok(Ok(Verdict::Amend { cwd, approval_mode, reason })) => {
                let amendment = Amendment { cwd: cwd.clone(), approval_mode };
                // The paths of a case need not exist on the author's machine, so the narrowing is
                // judged as for another host: by components.
                let mut control = control.clone();
                if let Control::Spawn(spawn) = &mut control {
                    spawn.cwd.resolved = None;
                }
                match narrow(&control, amendment).await {
                    Ok(_) => json!({"amend": {"cwd": cwd, "approvalMode": approval_mode, "reason": reason}}),
                    Err(problem) => sandbox.reject_answer("decide", &inquiry, &problem).to_answer(),
                }
            }
            Ok(Err(reason)) => json!({"error": format!("cannot tell: {reason}"), "code": "cannot_tell"}),
            Err(error) => error.to_answer(),
        }
    }
}

async fn instantiate(track: &PolicyTrack, sandbox: &Sandbox) -> Result<(), CallError> {
    sandbox.call("instantiate", &Inquiry::of_nothing(), async |store| track.instantiate(store).await, Ok).await
}

async fn describe(track: &PolicyTrack, sandbox: &Sandbox) -> Result<Description, Rejection> {
    let described =
        sandbox.call("describe", &Inquiry::of_nothing(), async |store| track.describe(store).await, Ok).await;
    described.map_err(in_stage(Stage::Describe))
}
