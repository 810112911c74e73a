//! Events: what happened, and whom it concerns.

use std::sync::Arc;

use bytes::Bytes;

use super::agent::Routes;
use super::id::EventSeq;
use super::message::is_group;
use super::text::word::words;
use super::time::Timestamp;

words! {
    /// Every kind of event there is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[repr(u8)]
    pub enum EventName {
        /// A message was stored.
        MessageNew = "message.new",
        /// A message's claim was taken.
        MessageClaimed = "message.claimed",
        /// A message's claim is free again.
        MessageClaimReleased = "message.claim_released",
        /// A message's work is done.
        MessageCompleted = "message.completed",
        /// A message was marked read.
        MessageRead = "message.read",
        /// A message was deleted.
        MessageDeleted = "message.deleted",
        /// A message came further into a session, or not at all.
        MessageDelivery = "message.delivery",
        /// An agent's card changed.
        AgentStatus = "agent.status",
        /// An agent is gone.
        AgentRemoved = "agent.removed",
        /// A pair changed.
        PairUpdated = "pair.updated",
        /// A task was made.
        TaskCreated = "task.created",
        /// A task changed.
        TaskUpdated = "task.updated",
        /// An orchestrator changed.
        OrchestratorStatus = "orchestrator.status",
        /// An orchestrator is gone.
        OrchestratorRemoved = "orchestrator.removed",
        /// A command changed.
        CommandUpdated = "command.updated",
        /// A callback changed.
        CallbackUpdated = "callback.updated",
        /// A plugin changed.
        PluginUpdated = "plugin.updated",
        /// An activity entry was written.
        ActivityNew = "activity.new",
        /// Something waits for a person.
        AttentionAdded = "attention.added",
        /// It does not wait any more.
        AttentionRemoved = "attention.removed",
    }
}

/// Which kinds of events a stream wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTypes(u32);

impl EventTypes {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Adds one kind.
    #[must_use]
    pub fn with(self, name: EventName) -> Self {
        Self(self.0 | 1 << name as u8)
    }

    /// The wanted kinds; `None` when that is all.
    pub fn names(self) -> Option<Vec<EventName>> {
        let wanted = || EventName::ALL.into_iter().filter(|name| self.contains(*name));
        (wanted().count() < EventName::ALL.len()).then(|| wanted().collect())
    }

    /// Whether this kind is wanted.
    pub fn contains(self, name: EventName) -> bool {
        self.0 & (1 << name as u8) != 0
    }
}

/// Whom an event concerns: at most two targets, because no event has more than an addressee and
/// somebody it is about; and whoever runs the session in which it comes about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// A message target: an agent id or a group.
    pub to: Option<Arc<str>>,
    /// An agent that is concerned as well.
    pub also: Option<Arc<str>>,
    /// Who caused it; a group event does not come back to its sender.
    pub from: Option<Arc<str>>,
    /// The orchestrator's agent that runs the session concerned.
    pub host: Option<Arc<str>>,
}

impl Audience {
    /// Nobody in particular: only streams that listen to everything.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// One agent, or one group.
    pub fn only(to: &str) -> Self {
        Self { to: Some(to.into()), ..Self::default() }
    }

    /// Whether an agent with these routes is concerned by the event with this number.
    pub fn concerns(&self, routes: &Routes, seq: EventSeq) -> bool {
        let is_named = |agent: &Option<Arc<str>>| agent.as_deref() == Some(routes.agent.as_str());
        is_named(&self.also)
            || is_named(&self.host)
            || self.to.as_deref().is_some_and(|to| routes.reach(to, self.from.as_deref().unwrap_or(""), seq))
    }

    /// Whether the addressee is a group.
    pub fn is_group(&self) -> bool {
        self.to.as_deref().is_some_and(is_group)
    }
}

/// A committed event. Its frame is made once and shared by every stream it goes to.
#[derive(Clone, Debug)]
pub struct Event {
    /// The place in commit order.
    pub seq: EventSeq,
    /// When it was committed, in milliseconds since the epoch.
    pub at: Timestamp,
    /// What kind it is.
    pub name: EventName,
    /// Whom it concerns.
    pub audience: Audience,
    /// After this it is delivered no more, live or in a replay.
    pub expires_at: Option<Timestamp>,
    /// The whole frame of the event stream: `id`, `event`, `data` and the empty line.
    pub frame: Bytes,
}

impl Event {
    /// Makes the frame. `data` must be one line of JSON, as `serde_json` writes it.
    pub fn new(epoch: &str, seq: EventSeq, at: Timestamp, name: EventName, audience: Audience, data: &str) -> Self {
        debug_assert!(!data.contains(['\n', '\r']), "an event's data is one line");
        let mut frame = String::with_capacity(data.len() + 64);
        frame.push_str("id: ");
        frame.push_str(epoch);
        frame.push('-');
        frame.push_str(&seq.to_string());
        frame.push_str("\nevent: ");
        frame.push_str(name.as_str());
        frame.push_str("\ndata: ");
        frame.push_str(data);
        frame.push_str("\n\n");
        Self { seq, at, name, audience, expires_at: None, frame: Bytes::from(frame) }
    }

    /// Whether it may still be delivered at `now`.
    pub fn is_deliverable(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    /// The JSON of the event.
    pub fn data(&self) -> &str {
        let text = std::str::from_utf8(&self.frame).unwrap_or_default();
        text.split_once("\ndata: ").map_or("", |(_, data)| data.trim_end())
    }
}

/// A position in the stream as clients hold it: `EPOCH-SEQ`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Changed by a restore, so that an old position cannot be taken for a new one.
    pub epoch: String,
    /// The last event seen.
    pub seq: EventSeq,
}

impl Cursor {
    /// Reads a cursor, or answers `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.rsplit_once('-')?;
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let word = !epoch.is_empty() && epoch.len() <= 32 && epoch.bytes().all(|b| b.is_ascii_alphanumeric());
        if !digits || !word {
            return None;
        }
        Some(Self { epoch: epoch.to_owned(), seq: EventSeq::new(seq.parse().ok()?) })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_fit_the_mask() {
        for (index, name) in EventName::ALL.into_iter().enumerate() {
            assert_eq!(name as usize, index);
            assert_eq!(EventName::parse(name.as_str()), Some(name));
            assert!(EventTypes::NONE.with(name).contains(name));
        }
        assert_eq!(EventName::parse("message.old"), None);
    }

    #[test]
    fn a_cursor_is_an_epoch_and_a_number_or_nothing() {
        assert_eq!(Cursor::parse("ab12-7").map(|c| c.to_string()).as_deref(), Some("ab12-7"));
        for wrong in ["", "7", "-7", "ab-", "ab-+7", "ab--7", "a\nb-7", "ab-99999999999999999999"] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_frame_holds_its_data() {
        let event = Event::new(
            "e",
            EventSeq::new(3),
            Timestamp::default(),
            EventName::AgentRemoved,
            Audience::nobody(),
            r#"{"id":"a"}"#,
        );
        assert_eq!(event.data(), r#"{"id":"a"}"#);
        assert_eq!(&event.frame[..], b"id: e-3\nevent: agent.removed\ndata: {\"id\":\"a\"}\n\n");
    }
}
