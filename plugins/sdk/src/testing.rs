//! Questions to put to a plugin in its own tests: an ordinary `cargo test`, without any WebAssembly.
//!
//! With `agent-relay-plugin = { path = "sdk", features = ["testing"] }` below `[dev-dependencies]`:
//!
//! ```
//! use agent_relay_plugin::policy::{Context, Control, Policy, Spawn, Verdict, deny};
//! use agent_relay_plugin::{ApprovalMode, NoSettings, testing};
//!
//! struct AskFirst;
//!
//! impl Policy for AskFirst {
//!     type Settings = NoSettings;
//!
//!     fn decide(_: &NoSettings, control: &Control, context: &Context) -> Result<Verdict, String> {
//!         Ok(match control {
//!             Control::Spawn(spawn) if spawn.approval_mode == ApprovalMode::Open && !context.caller.administrator => {
//!                 deny("ask_first", "ask for approval mode guarded")
//!             }
//!             _ => Verdict::Allow,
//!         })
//!     }
//! }
//!
//! let open = Spawn::sample().in_mode(ApprovalMode::Open).in_directory("/code/b");
//! let verdict = testing::decide::<AskFirst>("{}", open.clone(), &Context::sample().by_agent("a1"));
//! assert!(matches!(verdict, Ok(Verdict::Deny(denial)) if denial.code == "ask_first"));
//! assert_eq!(testing::decide::<AskFirst>("{}", open, &Context::sample()), Ok(Verdict::Allow));
//! ```
//!
//! Samples are those with which `agent-relay plugin test` completes a case. Every value of a question or an answer can be
//! written as JSON and read from it, with the names of cases, so that what a running relay recorded becomes a test:
//!
//! ```
//! use agent_relay_plugin::{policy::Control, testing};
//!
//! let recorded = r#"{"shutdown": {"everyAgentOf": {"orchestrator": null, "hostname": "host",
//!     "baseDir": {"given": "/code", "normalised": "/code", "resolved": "/code"}}}}"#;
//! let control: Control = testing::from_json(recorded).unwrap();
//! assert!(testing::to_json(&control).contains("everyAgentOf"));
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::policy::{AgentFacts, Context, Control, Policy, RunningAgent, Spawn, Target, Verdict};
use crate::provider::{
    LaunchPlan, LaunchSite, Message, PlanError, Presentation, Provider, SpawnRequest, StopPlan, StopReason,
};
use crate::session::{
    Attempt, Courier, Cursor, GrantedFile, Notice, Observation, Observer, RunningSession, Screen,
};
use crate::{ApprovalMode, Caller, PathFacts, Settings, Site};

/// Asks a policy as a relay does: under these settings, a JSON object.
///
/// # Errors
/// What it does not take of its settings, or "cannot tell" in its own words.
pub fn decide<P: Policy>(settings: &str, control: impl Into<Control>, context: &Context) -> Result<Verdict, String> {
    P::decide(&P::Settings::read(settings)?, &control.into(), context)
}

/// Asks a provider for a plan as a relay does. What the relay checks afterwards against the grants is for cases.
///
/// # Errors
/// What it does not take of its settings, or why there is no plan.
pub fn plan<P: Provider>(settings: &str, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
    P::plan(&P::Settings::read(settings).map_err(PlanError::Invalid)?, request, site)
}

/// Asks a provider how a message is typed.
///
/// # Errors
/// What it does not take of its settings.
pub fn present<P: Provider>(settings: &str, message: &Message) -> Result<Presentation, String> {
    Ok(P::present(&P::Settings::read(settings)?, message))
}

/// Asks a provider how a session is ended.
///
/// # Errors
/// What it does not take of its settings.
pub fn stop<P: Provider>(settings: &str, reason: StopReason) -> Result<StopPlan, String> {
    Ok(P::stop(&P::Settings::read(settings)?, reason))
}

/// Asks a provider what it sees in a session.
///
/// # Errors
/// What it does not take of its settings.
pub fn observe<P: Observer>(settings: &str, session: &RunningSession, screen: &Screen) -> Result<Observation, String> {
    Ok(P::observe(&P::Settings::read(settings)?, session, screen))
}

/// Asks a provider for the ways into a session.
///
/// # Errors
/// What it does not take of its settings.
pub fn deliver<P: Courier>(
    settings: &str,
    notice: &Notice,
    session: &RunningSession,
    seen: &Observation,
) -> Result<Vec<Attempt>, String> {
    Ok(P::deliver(&P::Settings::read(settings)?, notice, session, seen))
}

/// A value of a question or an answer as JSON, with the names of cases.
///
/// # Panics
/// Never with the values of this crate.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and lists can be written as JSON")
}

/// A value of a question or an answer from JSON.
///
/// # Errors
/// The place that does not fit, and what is expected there.
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let mut text = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut text).map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

impl PathFacts {
    /// A path of the relay's own host that is no symlink and needs no normalising.
    pub fn sample(path: &str) -> Self {
        Self { given: path.to_owned(), normalised: path.to_owned(), resolved: Some(path.to_owned()) }
    }

    /// A path of another host, of which nobody here knows where it leads.
    pub fn elsewhere(path: &str) -> Self {
        Self { resolved: None, ..Self::sample(path) }
    }
}

impl Site {
    /// The relay's own host, with the base directory `/code`.
    pub fn sample() -> Self {
        Self { orchestrator: None, hostname: "host".to_owned(), base_dir: PathFacts::sample("/code") }
    }

    /// The host of this orchestrator, with the base directory `/code`.
    pub fn of_orchestrator(id: &str) -> Self {
        Self { orchestrator: Some(id.to_owned()), base_dir: PathFacts::elsewhere("/code"), ..Self::sample() }
    }
}

impl Caller {
    /// The administrator, over loopback.
    pub fn sample() -> Self {
        Self {
            name: "admin".to_owned(),
            agent_id: None,
            administrator: true,
            scopes: vec!["admin".to_owned()],
            loopback: true,
        }
    }

    /// The holder of a token of this name, with these scopes.
    pub fn with_token(name: &str, scopes: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            administrator: scopes.contains(&"admin"),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..Self::sample()
        }
    }

    /// The agent of this id, with the token that the relay gave it.
    pub fn agent(id: &str) -> Self {
        Self { agent_id: Some(id.to_owned()), ..Self::with_token(id, &["agent"]) }
    }
}

impl Context {
    /// The administrator asks on 14 November 2023, and nothing is running.
    pub fn sample() -> Self {
        Self { caller: Caller::sample(), now_ms: 1_700_000_000_000, running: Vec::new(), extensions: Vec::new() }
    }

    /// The same, asked by somebody else.
    #[must_use]
    pub fn by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// The same, asked by this agent.
    #[must_use]
    pub fn by_agent(self, id: &str) -> Self {
        self.by(Caller::agent(id))
    }

    /// The same at another time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at_ms(self, now_ms: u64) -> Self {
        Self { now_ms, ..self }
    }

    /// The same while one more agent is running.
    #[must_use]
    pub fn while_running(mut self, agent: RunningAgent) -> Self {
        self.running.push(agent);
        self
    }
}

impl RunningAgent {
    /// An agent of the relay's own host in `/code/a`, started by `claude` in guarded mode.
    pub fn sample(id: &str) -> Self {
        Self {
            agent_id: id.to_owned(),
            provider: "claude".to_owned(),
            cwd: "/code/a".to_owned(),
            label: None,
            approval_mode: ApprovalMode::Guarded,
            orchestrator: None,
            started_at_ms: 1_700_000_000_000,
        }
    }
}

impl AgentFacts {
    /// An agent that is online on the relay's own host.
    pub fn sample(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            label: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            machine: None,
            status: "online".to_owned(),
            site: Some(Site::sample()),
        }
    }

    /// Its restart.
    pub fn restart(self) -> Control {
        Control::Restart(Target::Agent(self))
    }

    /// Its shutdown.
    pub fn shutdown(self) -> Control {
        Control::Shutdown(Target::Agent(self))
    }
}

impl Spawn {
    /// `claude` is to be started in guarded mode in `/code/a` on the relay's own host.
    pub fn sample() -> Self {
        Self {
            provider: "claude".to_owned(),
            approval_mode: ApprovalMode::Guarded,
            cwd: PathFacts::sample("/code/a"),
            label: None,
            prompt: None,
            site: Site::sample(),
            extensions: Vec::new(),
        }
    }

    /// The same with another provider.
    #[must_use]
    pub fn by_provider(self, provider: &str) -> Self {
        Self { provider: provider.to_owned(), ..self }
    }

    /// The same in another mode.
    #[must_use]
    pub fn in_mode(self, approval_mode: ApprovalMode) -> Self {
        Self { approval_mode, ..self }
    }

    /// The same in another directory: absolute, normalised and without symlinks. Another kind of path is
    /// `Spawn { cwd, ..spawn }`.
    #[must_use]
    pub fn in_directory(self, cwd: &str) -> Self {
        let elsewhere = self.site.orchestrator.is_some();
        Self { cwd: if elsewhere { PathFacts::elsewhere(cwd) } else { PathFacts::sample(cwd) }, ..self }
    }

    /// The same by this orchestrator.
    #[must_use]
    pub fn at_orchestrator(self, id: &str) -> Self {
        let cwd = PathFacts { resolved: None, ..self.cwd };
        Self { site: Site::of_orchestrator(id), cwd, ..self }
    }

    /// The same with a label.
    #[must_use]
    pub fn labelled(self, label: &str) -> Self {
        Self { label: Some(label.to_owned()), ..self }
    }

    /// The same with a prompt.
    #[must_use]
    pub fn told(self, prompt: &str) -> Self {
        Self { prompt: Some(prompt.to_owned()), ..self }
    }
}

impl From<Spawn> for Control {
    fn from(spawn: Spawn) -> Self {
        Self::Spawn(spawn)
    }
}

impl SpawnRequest {
    /// The agent `a1` is to be started in guarded mode, without a prompt.
    pub fn sample() -> Self {
        Self {
            agent_id: "a1".to_owned(),
            approval_mode: ApprovalMode::Guarded,
            label: None,
            prompt: None,
            extensions: Vec::new(),
        }
    }

    /// The same in another mode.
    #[must_use]
    pub fn in_mode(self, approval_mode: ApprovalMode) -> Self {
        Self { approval_mode, ..self }
    }

    /// The same with a prompt.
    #[must_use]
    pub fn told(self, prompt: &str) -> Self {
        Self { prompt: Some(prompt.to_owned()), ..self }
    }
}

impl LaunchSite {
    /// `/code/a` on a host that has none of the variables that may be passed on.
    pub fn sample() -> Self {
        Self {
            cwd: "/code/a".to_owned(),
            home: "/home/me".to_owned(),
            hostname: "host".to_owned(),
            session_dir: "/data/sessions/a1".to_owned(),
            relay_url: "http://127.0.0.1:4850".to_owned(),
            token_variable: "AGENT_RELAY_TOKEN".to_owned(),
            mcp_url: Some("http://127.0.0.1:4850/mcp".to_owned()),
            host_variables: Vec::new(),
            root: false,
            extensions: Vec::new(),
        }
    }

    /// The same on a host that has this variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str) -> Self {
        self.host_variables.push(name.to_owned());
        self
    }
}

impl Message {
    /// Message 1 from `alice`, which disturbs nobody.
    pub fn sample(body: &str) -> Self {
        Self { id: 1, sender: "alice".to_owned(), subject: None, body: body.to_owned(), interrupt: false }
    }
}

impl RunningSession {
    /// The agent `a1` in `/code/a`, in guarded mode, with the process 4711 and no file.
    pub fn sample() -> Self {
        Self {
            agent_id: "a1".to_owned(),
            label: None,
            approval_mode: ApprovalMode::Guarded,
            cwd: "/code/a".to_owned(),
            home: "/home/me".to_owned(),
            session_dir: "/data/sessions/a1".to_owned(),
            pids: vec![4711],
            conversation: None,
            now_ms: 1_700_000_000_000,
            utc_offset_minutes: 0,
            files: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The same with one more file, changed at the session's present moment.
    #[must_use]
    pub fn with_file(mut self, path: &str, contents: &str) -> Self {
        let (path, contents) = (path.to_owned(), contents.to_owned());
        self.files.push(GrantedFile { path, contents, cut: false, modified_ms: self.now_ms });
        self
    }

    /// The same, whose program was seen to name its conversation so.
    #[must_use]
    pub fn in_conversation(self, conversation: &str) -> Self {
        Self { conversation: Some(conversation.to_owned()), ..self }
    }

    /// The same at another time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at_ms(self, now_ms: u64) -> Self {
        Self { now_ms, ..self }
    }
}

impl Screen {
    /// These rows, unchanged for ten seconds, with the cursor at the end of the last.
    pub fn of(text: &str) -> Self {
        let rows: Vec<String> = text.lines().map(str::to_owned).collect();
        let cursor = rows.last().map(|last| Cursor { column: count(last.chars()), row: count(rows.iter()) - 1 });
        Self { rows, cursor, title: String::new(), still_ms: 10_000 }
    }

    /// The same with the cursor in this row, behind its last character.
    #[must_use]
    pub fn with_cursor_in_row(self, row: usize) -> Self {
        let column = self.rows.get(row).map_or(0, |text| count(text.chars()));
        Self { cursor: Some(Cursor { column, row: count(0..row) }), ..self }
    }

    /// The same with this title.
    #[must_use]
    pub fn titled(self, title: &str) -> Self {
        Self { title: title.to_owned(), ..self }
    }

    /// The same, on which nothing has changed for so many milliseconds.
    #[must_use]
    pub fn still_for_ms(self, still_ms: u64) -> Self {
        Self { still_ms, ..self }
    }
}

impl Notice {
    /// A notice of message 17 that breaks into nothing.
    pub fn sample() -> Self {
        Self {
            id: 17,
            text: "[agent-relay] message 17 from \"alice\"".to_owned(),
            interrupt: false,
            attempt_id: "0190163d-8694-739b-aea5-966c26f8ad91".to_owned(),
        }
    }
}

/// No screen has so many.
fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoSettings;
    use crate::policy::{Amendment, Denial};
    use crate::provider::{Abilities, EnvValue, PromptDelivery};
    use crate::session::{FileText, Seen, Sign, Typing, UsageLimit};

    /// Whatever is asked or answered comes back as it was, in the words of a case.
    #[test]
    fn every_value_is_read_as_it_was_written() {
        fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
            let json = to_json(value);
            assert!(json.contains(expected), "{json} does not say {expected}");
            assert_eq!(&from_json::<T>(&json).expect("it was written by this crate"), value);
        }
        let spawn = Spawn::sample().in_mode(ApprovalMode::ReadOnly).labelled("x").told("go").at_orchestrator("far");
        there_and_back(
            &Control::from(spawn),
            r#"{"spawn":{"provider":"claude","approvalMode":"read-only","cwd":{"given":"#,
        );
        there_and_back(&AgentFacts::sample("a1").restart(), r#"{"restart":{"agent":{"id":"a1","#);
        let context = Context::sample().by_agent("a1").while_running(RunningAgent::sample("a2"));
        there_and_back(&context, r#""nowMs":1700000000000"#);
        there_and_back(&Verdict::Allow, r#""allow""#);
        there_and_back(
            &Verdict::Deny(Denial { code: "no".into(), reason: "never".into() }),
            r#"{"deny":{"code":"no","#,
        );
        let amendment = Amendment { cwd: None, approval_mode: Some(ApprovalMode::ReadOnly), reason: "less".into() };
        there_and_back(&Verdict::Amend(amendment), r#""approvalMode":"read-only""#);
        there_and_back(&SpawnRequest::sample(), r#""agentId":"a1""#);
        there_and_back(&LaunchSite::sample().with_variable("TERM"), r#""hostVariables":["TERM"]"#);
        there_and_back(&PromptDelivery::InFile("p.txt".into()), r#"{"inFile":"p.txt"}"#);
        there_and_back(&EnvValue::FromHost("TERM".into()), r#"{"fromHost":"TERM"}"#);
        there_and_back(&Message::sample("hi"), r#""interrupt":false"#);
        there_and_back(&StopReason::Restart, r#""restart""#);
        there_and_back(&PlanError::PromptNotSupported, r#""promptNotSupported""#);
        let seen = Observation::of(Seen::Limit(UsageLimit { until_ms: Some(1), text: "at 5pm".into() }));
        there_and_back(&seen, r#"{"state":{"limit":{"untilMs":1,"text":"at 5pm"}},"hasDraft":false,"#);
        there_and_back(&Observation::of(Seen::Dialog("trust?".into())), r#"{"dialog":"trust?"}"#);
        there_and_back(&Screen::of("a\nbc"), r#""cursor":{"column":2,"row":1}"#);
        there_and_back(&RunningSession::sample().with_file("/x", "y"), r#""files":[{"path":"/x","contents":"y","#);
        let typed = Attempt::typed(present::<Anything>("{}", &Message::sample("hi")).expect("typed"), vec![Sign::Turn]);
        there_and_back(&typed, r#""carrier":"typed","way":{"typing":{"keysBefore":[],"#);
        let file = Sign::File(FileText { path: "/x".into(), text: "17".into() });
        there_and_back(&file, r#"{"file":{"path":"/x","text":"17"}}"#);
        there_and_back(&Notice::sample(), r#""attemptId":"0190163d-"#);
        let error = from_json::<Context>(r#"{"caller": {"name": 7}}"#).expect_err("no name");
        assert!(error.starts_with("caller.name: invalid type: integer `7`"), "{error}");
    }

    struct Anything;

    impl Provider for Anything {
        type Settings = NoSettings;

        fn abilities(_: &NoSettings) -> Abilities {
            Abilities { executables: Vec::new(), approval_modes: Vec::new(), takes_prompt: false }
        }

        fn plan(_: &NoSettings, _: &SpawnRequest, _: &LaunchSite) -> Result<LaunchPlan, PlanError> {
            Err(PlanError::PromptNotSupported)
        }
    }

    impl Observer for Anything {
        fn observe(_: &NoSettings, session: &RunningSession, screen: &Screen) -> Observation {
            let waits = session.file("status").is_some_and(|file| file.contents == "idle");
            let has_draft = screen.cursor.is_some_and(|cursor| cursor.column > 0);
            Observation { has_draft, ..Observation::of(if waits { Seen::Idle } else { Seen::Unknown }) }
        }
    }

    impl Courier for Anything {
        fn deliver(_: &NoSettings, notice: &Notice, _: &RunningSession, seen: &Observation) -> Vec<Attempt> {
            let shown = Sign::Screen(notice.text.clone());
            let typing = Typing { keys_before: Vec::new(), text: notice.text.clone(), submit: true };
            if seen.state == Seen::Idle { vec![Attempt::typed(typing, vec![shown])] } else { Vec::new() }
        }
    }

    #[test]
    fn a_provider_that_observes_and_delivers_is_asked_like_any_other() {
        let session = RunningSession::sample().with_file("/run/status", "busy");
        let screen = Screen::of("draft").with_cursor_in_row(0);
        let busy = observe::<Anything>("{}", &session, &screen).expect("observed");
        assert_eq!((busy.has_draft, &busy.state), (true, &Seen::Unknown));
        assert_eq!(deliver::<Anything>("{}", &Notice::sample(), &session, &busy), Ok(Vec::new()));
        let later = session.at_ms(1_700_000_000_001).with_file("/run/status", "idle");
        let idle = observe::<Anything>("{}", &later, &screen).expect("observed");
        assert_eq!(idle.state, Seen::Idle);
        assert_eq!(deliver::<Anything>("{}", &Notice::sample(), &later, &idle).expect("delivered").len(), 1);
    }

    struct Nobody;

    impl Policy for Nobody {
        type Settings = NoSettings;

        fn decide(_: &NoSettings, _: &Control, _: &Context) -> Result<Verdict, String> {
            Err("the stars are not right".to_owned())
        }
    }

    #[test]
    fn settings_are_read_before_anything_is_asked() {
        let ask = |settings| decide::<Nobody>(settings, Spawn::sample(), &Context::sample());
        assert_eq!(ask("{}"), Err("the stars are not right".to_owned()));
        assert!(ask(r#"{"x": 1}"#).is_err_and(|error| error.contains("there are no settings")));
    }
}
