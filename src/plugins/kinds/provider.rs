//! Providers: what exactly would be run, how is it spoken to, and how does it end?
//!
//! - `bindings` is the world, `guest` a loaded provider, `call` asks it.
//! - `beside` is what it may export beside that: what it sees in a running session, and the ways into one.
//! - `plan_check` holds its plans to what it was granted, `presentation` what is to be typed to what may be; `error` is why there is no answer.
//! - `samples` are the questions of the probe.

mod beside;
mod bindings;
mod call;
mod error;
mod guest;
mod plan_check;
mod presentation;
mod samples;

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use wasmtime::Store;

use crate::domain::control::courier::Notice;
use crate::domain::control::observation::{Observation, RunningSession, ScreenView};
use crate::domain::control::plan::{IncomingMessage, LaunchSite, SpawnRequest, StopReason};

use super::super::package::{Grants, Terms};
use super::super::runtime::{CallError, Host, Inquiry, Measured, Sandbox};
use super::kind::{Described, Guide, Introduction, Kind, Linked};
use super::overlay::{only, over};
use super::plugin::{Asked, Boxed, Guest, Plugin};
use super::question::{Function, Question};
use super::rejection::{Rejection, Stage, in_stage, not_linked};
use super::stages::{check_description, check_executables, settings_taken};
use beside::Beside;
use bindings::{ProviderPluginPre, provider_wit};

pub use error::{PlanRefusal, PluginError};
pub use plan_check::CheckedPlan;

pub(crate) use call::{deliver, observe, plan, present, stop};
pub(crate) use guest::Provider;

/// The kind `provider`.
pub(crate) struct Providers;

/// What an author asks a provider.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// What exactly would be run?
    Plan {
        /// Who is to be started.
        request: SpawnRequest,
        /// Where.
        site: LaunchSite,
    },
    /// How is this message typed into a running session?
    Present(IncomingMessage),
    /// How is a running session asked to end?
    Stop(StopReason),
    /// What is seen in a running session?
    Observe {
        /// The session.
        session: RunningSession,
        /// What it shows.
        screen: ScreenView,
    },
    /// Which ways lead into it?
    Deliver {
        /// What is to be shown.
        notice: Notice,
        /// Where.
        session: RunningSession,
        /// What was seen there.
        seen: Observation,
    },
}

const FUNCTIONS: [Function; 5] = [
    Function {
        name: "plan",
        arguments: &["request", "site"],
        word: None,
        answers: &[("plan", &["program", "args", "env", "cwd", "files", "prompt", "ready"])],
    },
    Function {
        name: "present",
        arguments: &["message"],
        word: None,
        answers: &[("presentation", &["keysBefore", "text", "submit"])],
    },
    Function { name: "stop", arguments: &["reason"], word: None, answers: &[("stopPlan", &["keys", "graceMs"])] },
    Function {
        name: "observe",
        arguments: &["observe"],
        word: None,
        answers: &[("observation", &["state", "hasDraft", "conversation", "version"])],
    },
    Function { name: "deliver", arguments: &["deliver"], word: None, answers: &[("attempts", &[])] },
];

impl Kind for Providers {
    fn load<'a>(
        &'a self,
        component: Linked<'a>,
        sandbox: &'a Sandbox,
        terms: &'a Terms,
    ) -> Boxed<'a, Result<Described, Rejection>> {
        Box::pin(async move {
            let beside = Beside::of(&component.pre, component.exports).map_err(|error| not_linked(&error))?;
            let pre = ProviderPluginPre::new(component.pre).map_err(|error| not_linked(&error))?;
            instantiate(&pre, sandbox).await.map_err(in_stage(Stage::World))?;
            beside.instantiate(sandbox).await.map_err(in_stage(Stage::World))?;
            let description = describe(&pre, sandbox).await?;
            check_description(&description.id, &description.version, terms)?;
            check_executables(&description.executables)?;
            let settings = &terms.settings;
            let check_settings = async |store: &mut Store<Host>| {
                let guest = pre.instantiate_async(&mut *store).await?;
                guest.agent_relay_plugin_provider().call_check_settings(store, settings).await
            };
            settings_taken(
                sandbox.call("check-settings", &Inquiry::of(Measured::of(settings)), check_settings, Ok).await,
            )?;
            let guest = Arc::new(Provider {
                pre,
                beside,
                executables: description.executables,
                approval_modes: description.approval_modes.into_iter().map(Into::into).collect(),
                takes_prompt: description.takes_prompt,
            });
            Ok(Described { version: description.version, guest })
        })
    }

    fn introduce<'a>(
        &'a self,
        component: Linked<'a>,
        sandbox: &'a Sandbox,
    ) -> Boxed<'a, Result<Introduction, Rejection>> {
        Box::pin(async move {
            let pre = ProviderPluginPre::new(component.pre).map_err(|error| not_linked(&error))?;
            let description = describe(&pre, sandbox).await?;
            Ok(Introduction { id: description.id, executables: description.executables })
        })
    }

    fn functions(&self) -> &'static [Function] {
        &FUNCTIONS
    }

    fn question(
        &self,
        function: &Function,
        case: &mut Map<String, Value>,
        grants: &Grants,
    ) -> Result<Question, String> {
        Ok(Question::new(match function.name {
            "present" => Ask::Present(over("message", &samples::message(), case.remove("message"))?),
            "stop" => Ask::Stop(reason(case.remove("reason"))?),
            "observe" => {
                let mut asked = parts("observe", case.remove("observe"), &["session", "screen"])?;
                Ask::Observe {
                    session: over("observe.session", &samples::session(), asked.remove("session"))?,
                    screen: over("observe.screen", &samples::screen(), asked.remove("screen"))?,
                }
            }
            "deliver" => {
                let mut asked = parts("deliver", case.remove("deliver"), &["notice", "session", "seen"])?;
                Ask::Deliver {
                    notice: over("deliver.notice", &samples::notice(), asked.remove("notice"))?,
                    session: over("deliver.session", &samples::session(), asked.remove("session"))?,
                    seen: over("deliver.seen", &samples::seen(), asked.remove("seen"))?,
                }
            }
            _ => {
                let request = samples::request(Default::default(), false);
                Ask::Plan {
                    request: over("request", &request, case.remove("request"))?,
                    site: over("site", &samples::site(grants), case.remove("site"))?,
                }
            }
        }))
    }

    fn guide(&self) -> Guide {
        Guide {
            questions: "A question is a `request` at a `site` (plan), a `message` (present), a `reason` (stop), or, of a provider \
                        with these interfaces, `observe` with a `session` and a `screen`, or `deliver` with a `notice`, a \
                        `session` and what was `seen`.",
            grants: "\n[grants]\n# What a plan may run.\nexecutables = [\"PLUGIN_ID\"]\n\
                     # What a plan may set or pass on from the host, by name.\nenv = []\n\
                     # Which files of a running session are read for its observer, such as \"{home}/.PLUGIN_ID/{pid}.json\".\n\
                     reads = []\n",
            is_replayable: false,
        }
    }
}

impl Guest for Provider {
    /// It must make an acceptable plan for each approval mode it lists, present a message and end a session
    /// acceptably.
    fn probe<'a>(&'a self, plugin: &'a Plugin) -> Boxed<'a, Result<(), Rejection>> {
        Box::pin(async move {
            let in_probe = in_stage(Stage::Probe);
            let site = samples::site(&plugin.terms.grants);
            for &mode in &self.approval_modes {
                let request = samples::request(mode, self.takes_prompt);
                let answer = plan(plugin, self, None, &request, &site).await.map_err(&in_probe)?;
                answer.map_err(|refusal| {
                    Rejection::new(
                        Stage::Probe,
                        format!("lists approval mode {}, but refuses a plan for it: {refusal}", mode.as_str()),
                    )
                })?;
            }
            // On a host that has none of what it may pass on it may refuse, and must not fail.
            let bare = LaunchSite { host_variables: Vec::new(), ..site };
            if !plugin.terms.grants.env.is_empty()
                && let Some(&mode) = self.approval_modes.first()
            {
                let request = samples::request(mode, self.takes_prompt);
                let _plan_or_refusal = plan(plugin, self, None, &request, &bare).await.map_err(&in_probe)?;
            }
            present(plugin, self, None, &samples::message()).await.map_err(&in_probe)?;
            stop(plugin, self, StopReason::Shutdown).await.map_err(&in_probe)?;
            let session = samples::session();
            observe(plugin, self, &session, &samples::screen()).await.map_err(&in_probe)?;
            deliver(plugin, self, &samples::notice(), &session, &samples::seen()).await.map_err(&in_probe)?;
            Ok(())
        })
    }

    fn probed(&self, plugin: &Plugin) -> Vec<String> {
        let modes = self.approval_modes.iter().map(|mode| mode.as_str());
        let mut asked: Vec<String> = modes.map(|mode| format!("plan in mode {mode}")).collect();
        if !plugin.terms.grants.env.is_empty() {
            asked.push("plan on a host that has none of its variables".to_owned());
        }
        asked.extend(["present a message", "stop for a shutdown"].map(str::to_owned));
        asked.extend(self.beside.observes().then(|| "observe an empty screen".to_owned()));
        asked.extend(self.beside.delivers().then(|| "deliver a notice".to_owned()));
        asked
    }

    fn abilities(&self) -> Value {
        json!({
            "executables": self.executables,
            "approvalModes": self.approval_modes,
            "takesPrompt": self.takes_prompt,
            "observes": self.beside.observes(),
            "delivers": self.beside.delivers(),
        })
    }

    fn ask<'a>(&'a self, plugin: &'a Plugin, question: &'a Question) -> Boxed<'a, Asked> {
        Box::pin(async move {
            let Some(ask) = question.get() else {
                return Asked { answer: json!({"error": "a provider decides nothing"}), asked: false };
            };
            let answer = match ask {
                Ask::Plan { request, site } => match plan(plugin, self, None, request, site).await {
                    Ok(Ok(plan)) => Ok(json!({"plan": plan.plan()})),
                    Ok(Err(refusal)) => Ok(json!({"error": refusal.to_string()})),
                    Err(error) => Err(error),
                },
                Ask::Present(message) => {
                    let presentation = present(plugin, self, None, message).await;
                    presentation.map(|presentation| json!({"presentation": presentation}))
                }
                Ask::Stop(reason) => stop(plugin, self, *reason).await.map(|plan| json!({"stopPlan": plan})),
                Ask::Observe { session, screen } => {
                    let seen = observe(plugin, self, session, screen).await;
                    seen.map(|seen| seen.map_or_else(|| without("observer"), |seen| json!({"observation": seen})))
                }
                Ask::Deliver { notice, session, seen } => {
                    let attempts = deliver(plugin, self, notice, session, seen).await;
                    attempts.map(|attempts| attempts.map_or_else(|| without("courier"), |all| json!({"attempts": all})))
                }
            };
            Asked { answer: answer.unwrap_or_else(|error| error.to_answer()), asked: true }
        })
    }

    fn instantiate<'a>(&'a self, sandbox: &'a Sandbox) -> Boxed<'a, Result<u64, CallError>> {
        Box::pin(async move {
            let started = Instant::now();
            instantiate(&self.pre, sandbox).await?;
            Ok(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
        })
    }
}

async fn instantiate(pre: &ProviderPluginPre<Host>, sandbox: &Sandbox) -> Result<(), CallError> {
    let instantiate = async |store: &mut Store<Host>| pre.instantiate_async(store).await;
    sandbox.call("instantiate", &Inquiry::of_nothing(), instantiate, |_| Ok(())).await
}

async fn describe(pre: &ProviderPluginPre<Host>, sandbox: &Sandbox) -> Result<provider_wit::Description, Rejection> {
    let describe = async |store: &mut Store<Host>| {
        let guest = pre.instantiate_async(&mut *store).await?;
        guest.agent_relay_plugin_provider().call_describe(store).await
    };
    sandbox.call("describe", &Inquiry::of_nothing(), describe, Ok).await.map_err(in_stage(Stage::Describe))
}

/// The answer of a provider that does not have this interface.
fn without(interface: &str) -> Value {
    json!({"error": format!("it does not export `{interface}`")})
}

/// The parts of a question, which are all of these.
fn parts(what: &str, given: Option<Value>, known: &[&str]) -> Result<Map<String, Value>, String> {
    match given {
        Some(Value::Object(parts)) => only(what, &parts, known).map(|()| parts),
        _ => Err(format!("{what}: must be an object")),
    }
}

fn reason(given: Option<Value>) -> Result<StopReason, String> {
    match given.as_ref().and_then(Value::as_str) {
        Some("shutdown") => Ok(StopReason::Shutdown),
        Some("restart") => Ok(StopReason::Restart),
        Some("failed") => Ok(StopReason::Failed),
        _ => Err("reason: must be one of \"shutdown\", \"restart\" and \"failed\"".into()),
    }
}
