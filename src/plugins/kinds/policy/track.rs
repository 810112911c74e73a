//! Policies of different tracks, called in the same way.
//!
//! A track is the version of the interface that a component was built against. A published one never
//! changes, so the relay speaks all of them at once: each call goes through the arm of its track, which
//! turns the relay's own values into the track's and back.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::super::super::runtime::{Host, Inquiry, Measured};
#[cfg(test)]
use super::bindings::next;
use super::bindings::{PolicyPluginPre, policy_wit};
use crate::domain::control::{Context, Control, ControlKind, Verdict};

/// A policy that is linked, by the track it was built against.
pub(crate) enum PolicyTrack {
    /// 0.1.0
    Published(PolicyPluginPre<Host>),
    /// Only there to prove that two tracks live side by side.
    #[cfg(test)]
    Next(next::PolicyPluginPre<Host>),
}

/// What a policy says of itself.
pub(crate) struct Description {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) kinds: Vec<ControlKind>,
}

/// What policies are asked, made once for all of them.
pub(crate) struct Question<'a> {
    control: Control,
    context: &'a Context,
    measured_context: Measured,
    measured_caller: Measured,
    measured_control: Measured,
    published: policy_wit::Control,
    published_context: policy_wit::Context,
}

impl<'a> Question<'a> {
    pub(crate) fn new(control: Control, context: &'a Context) -> Self {
        let (published, published_context) = ((&control).into(), context.into());
        let [measured_context, measured_caller] = [Measured::of(context), Measured::of(&context.caller)];
        let measured_control = Measured::of(&control);
        Self { control, context, measured_context, measured_caller, measured_control, published, published_context }
    }

    /// What a call is about that asks this, for nobody in particular.
    pub(crate) fn inquiry(&self) -> Inquiry {
        Inquiry::of(self.measured_control.and(self.measured_context)).at_ms(self.context.now)
    }

    /// The same for its caller, who does not choose the time, nor what is running.
    pub(crate) fn inquiry_of_caller(&self) -> Inquiry {
        let caller = &self.context.caller;
        let about = self.measured_control.and(self.measured_caller).digest;
        self.inquiry().by(caller.agent_id.as_deref().unwrap_or(&caller.name), about)
    }

    /// What is asked for now.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Asks for less from here on.
    pub(crate) fn narrow(&mut self, control: Control) {
        self.published = (&control).into();
        self.measured_control = Measured::of(&control);
        self.control = control;
    }

    /// What is left of what was asked for.
    pub(crate) fn into_control(self) -> Control {
        self.control
    }
}

impl PolicyTrack {
    /// The arm for a component that exports this interface.
    pub(crate) fn new(pre: InstancePre<Host>, interface: &str) -> wasmtime::Result<Self> {
        #[cfg(test)]
        if interface.ends_with("@0.2.0") {
            return next::PolicyPluginPre::new(pre).map(Self::Next);
        }
        // Whether the version fits is found out by the linker, which names it.
        let _ = interface;
        PolicyPluginPre::new(pre).map(Self::Published)
    }

    /// Makes an instance, which is what shows whether the exports have the right types.
    pub(crate) async fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<()> {
        match self {
            Self::Published(pre) => pre.instantiate_async(store).await.map(drop),
            #[cfg(test)]
            Self::Next(pre) => pre.instantiate_async(store).await.map(drop),
        }
    }

    pub(crate) async fn describe(&self, store: &mut Store<Host>) -> wasmtime::Result<Description> {
        match self {
            Self::Published(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                let said = guest.agent_relay_plugin_policy().call_describe(store).await?;
                let kinds = said.kinds.into_iter().map(Into::into).collect();
                Ok(Description { id: said.id, version: said.version, kinds })
            }
            #[cfg(test)]
            Self::Next(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                let said = guest.agent_relay_plugin_policy().call_describe(store).await?;
                let kinds = vec![ControlKind::Spawn, ControlKind::Restart, ControlKind::Shutdown];
                Ok(Description { id: said.id, version: said.version, kinds })
            }
        }
    }

    pub(crate) async fn check_settings(
        &self,
        store: &mut Store<Host>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::Published(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                guest.agent_relay_plugin_policy().call_check_settings(store, settings).await
            }
            // That track has no settings.
            #[cfg(test)]
            Self::Next(_) => Ok(Ok(())),
        }
    }

    pub(crate) async fn decide(
        &self,
        store: &mut Store<Host>,
        question: &Question<'_>,
    ) -> wasmtime::Result<Result<Verdict, String>> {
        match self {
            Self::Published(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                store.data_mut().has_instance();
                let policy = guest.agent_relay_plugin_policy();
                let answer = policy.call_decide(store, &question.published, &question.published_context).await?;
                Ok(answer.map(Into::into))
            }
            #[cfg(test)]
            Self::Next(pre) => {
                use next::exports::agent_relay::plugin::policy as wit;

                let label = match &question.control {
                    Control::Spawn(spawn) => spawn.label.clone(),
                    Control::Restart(_) | Control::Shutdown(_) => None,
                };
                let asked = wit::Question {
                    kind: question.control.kind().as_str().to_owned(),
                    label,
                    now_ms: u64::try_from(question.context.now).unwrap_or_default(),
                };
                let guest = pre.instantiate_async(&mut *store).await?;
                store.data_mut().has_instance();
                let answer = guest.agent_relay_plugin_policy().call_decide(store, &asked).await?;
                Ok(Ok(match answer {
                    wit::Verdict::Allow => Verdict::Allow,
                    wit::Verdict::Deny(reason) => Verdict::Deny { code: "next".to_owned(), reason },
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
