//! Messages: what is sent, to whom, and who holds the work in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::refusal::Refusal;
use super::text;

/// How long a claim lasts unless its holder asks otherwise, in milliseconds.
pub const LEASE_MS_DEFAULT: i64 = 5 * 60 * 1000;
/// The shortest lease: below it a holder could not renew in time.
pub const LEASE_MS_MIN: i64 = 1_000;
/// The longest lease: what a dead holder can block at most.
pub const LEASE_MS_MAX: i64 = 60 * 60 * 1000;

/// `meta` keys by which the relay tells control messages from others; nobody else may set them.
pub const RESERVED_META: [&str; 3] = ["agentControl", "orchestratorControl", "commandId"];

/// What kind of message it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// From one participant to others.
    #[default]
    Message,
    /// From the relay or an administrator.
    System,
}

impl MessageType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::System => "system",
        }
    }

    /// The type of this name.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "message" => Ok(Self::Message),
            "system" => Ok(Self::System),
            _ => Err(Refusal::invalid("type must be one of: message, system")),
        }
    }
}

/// A stored message as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Increases with every message. It is the number of its `message.new` event too, so there are gaps.
    pub id: i64,
    /// Who sent it.
    pub from: String,
    /// An agent id, `broadcast`, `tag:T`, `cap:C`, `label:L` or `channel:NAME`.
    pub to: String,
    /// What kind of message it is.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// At most 256 KiB.
    pub body: String,
    /// The channel it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<i64>,
    /// The first message of the conversation.
    pub thread_id: i64,
    /// Whether it is work that exactly one agent takes.
    pub claimable: bool,
    /// Who holds the claim, or completed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<i64>,
    /// When the lease ends; absent once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_expires_at: Option<i64>,
    /// The fencing token: raised by every new claim, 0 before the first.
    pub claim_generation: i64,
    /// When the work was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<i64>,
    /// The key under which it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Object)]
    pub meta: Map<String, Value>,
    /// When it was stored, in milliseconds since the epoch.
    pub created_at: i64,
    /// After this it is no longer delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The agents that marked it read.
    pub read_by: Vec<String>,
}

impl Message {
    /// The message as it was when it was stored: claimed and read by nobody.
    #[must_use]
    pub fn as_sent(self) -> Self {
        Self {
            claimed_by: None,
            claimed_at: None,
            claim_expires_at: None,
            claim_generation: 0,
            completed_at: None,
            read_by: Vec::new(),
            ..self
        }
    }
}

/// A message as a client sends it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// Who sends it; the credential's agent when left out.
    pub from: Option<String>,
    /// Whom it is for.
    pub to: Option<String>,
    /// `message` (default) or `system`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// At most 200 characters.
    pub subject: Option<String>,
    /// At most 256 KiB; kept as it is.
    pub body: Option<String>,
    /// The channel it belongs to.
    pub channel: Option<String>,
    /// The message it answers.
    pub reply_to: Option<i64>,
    /// Whether it is work that exactly one agent takes.
    pub claimable: Option<bool>,
    /// The same key with the same body sends only once.
    pub idempotency_key: Option<String>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    /// After this it is no longer delivered; must lie in the future.
    pub expires_at: Option<i64>,
}

/// A message that passed every check and waits to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Who sends it.
    pub from: String,
    /// A valid target.
    pub to: String,
    /// What kind of message it is.
    pub kind: MessageType,
    /// At most 200 characters.
    pub subject: Option<String>,
    /// At most 256 KiB.
    pub body: String,
    /// The channel it belongs to.
    pub channel: Option<String>,
    /// The message it answers.
    pub reply_to: Option<i64>,
    /// Whether it is work that exactly one agent takes.
    pub claimable: bool,
    /// The client's key.
    pub idempotency_key: Option<String>,
    /// Anything else.
    pub meta: Map<String, Value>,
    /// After this it is no longer delivered.
    pub expires_at: Option<i64>,
}

impl Draft {
    /// Checks bounds, trims, and fills in the sender of a bound credential.
    pub fn checked(self, bound_to: Option<&str>, now: i64) -> Result<NewMessage, Refusal> {
        let from = text::optional("from", self.from, text::ID_MAX)?
            .or_else(|| bound_to.map(str::to_owned))
            .ok_or_else(|| Refusal::invalid("from required"))?;
        let to = text::required("to", self.to, text::TARGET_MAX)?;
        let channel_of_target = check_target(&to)?;
        let channel = text::optional("channel", self.channel, CHANNEL_MAX)?;
        let meta = self.meta.unwrap_or_default();
        text::object("meta", &meta, text::META_BYTES_MAX)?;
        if let Some(key) = RESERVED_META.into_iter().find(|key| meta.contains_key(*key)) {
            return Err(Refusal::ReservedMeta(key));
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::invalid("expiresAt must lie in the future"));
        }
        Ok(NewMessage {
            from,
            kind: text::optional("type", self.kind, text::WORD_MAX)?
                .map_or(Ok(MessageType::Message), |kind| MessageType::parse(&kind))?,
            subject: text::optional("subject", self.subject, SUBJECT_MAX)?,
            body: text::long("body", self.body, text::BODY_BYTES_MAX)?
                .ok_or_else(|| Refusal::invalid("body required"))?,
            channel: channel.or(channel_of_target),
            reply_to: self.reply_to,
            claimable: self.claimable.unwrap_or(false),
            idempotency_key: text::optional("idempotencyKey", self.idempotency_key, text::KEY_MAX)?,
            meta,
            expires_at: self.expires_at,
            to,
        })
    }
}

/// The longest subject.
pub const SUBJECT_MAX: usize = 200;
/// The longest name of a channel.
pub const CHANNEL_MAX: usize = 120;

/// Checks a target's form and answers the channel it names, if it names one.
pub fn check_target(to: &str) -> Result<Option<String>, Refusal> {
    let Some((prefix, name)) = to.split_once(':') else { return Ok(None) };
    if !matches!(prefix, "tag" | "cap" | "label" | "channel") {
        return Ok(None);
    }
    if name.trim().is_empty() {
        return Err(Refusal::invalid(format!("to must name something after \"{prefix}:\"")));
    }
    if prefix != "channel" {
        return Ok(None);
    }
    text::optional("channel", Some(name.to_owned()), CHANNEL_MAX)
}

/// Whether a target names a group, so that it may reach several agents.
pub fn is_group(to: &str) -> bool {
    to == "broadcast" || ["tag:", "cap:", "label:", "channel:"].iter().any(|prefix| to.starts_with(prefix))
}

/// The lease length a caller asked for, or the default.
pub fn lease_ms(asked: Option<i64>, default: i64) -> Result<i64, Refusal> {
    match asked {
        None => Ok(default),
        Some(lease) if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease) => Ok(lease),
        Some(_) => Err(Refusal::invalid(format!("leaseMs must be between {LEASE_MS_MIN} and {LEASE_MS_MAX}"))),
    }
}

/// The claim of a message: one holder at a time, each holder with its own generation.
///
/// The functions are the whole state machine. They change nothing when they refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it, or completed it.
    pub by: Option<String>,
    /// Since when.
    pub at: Option<i64>,
    /// When the lease ends; `None` when free or completed.
    pub expires_at: Option<i64>,
    /// The length of the lease, for renewals that do not name one.
    pub lease_ms: i64,
    /// Raised by every new claim.
    pub generation: i64,
    /// When the work was done.
    pub completed_at: Option<i64>,
}

impl Claim {
    /// Takes the claim. `Ok(false)`: the caller holds it already, and nothing changed.
    pub fn take(&mut self, id: i64, agent: &str, lease_ms: i64, now: i64) -> Result<bool, Refusal> {
        if self.completed_at.is_some() {
            return Err(Refusal::AlreadyCompleted(id));
        }
        if let (Some(by), Some(until)) = (&self.by, self.expires_at)
            && until > now
        {
            if by == agent {
                return Ok(false);
            }
            return Err(Refusal::AlreadyClaimed { id, by: by.clone(), until });
        }
        *self = Self {
            by: Some(agent.to_owned()),
            at: Some(now),
            expires_at: Some(now + lease_ms),
            lease_ms,
            generation: self.generation + 1,
            completed_at: None,
        };
        Ok(true)
    }

    /// Prolongs the lease from now on.
    pub fn renew(&mut self, id: i64, agent: &str, generation: i64, lease_ms: i64, now: i64) -> Result<(), Refusal> {
        self.require_live(id, agent, generation, now)?;
        self.expires_at = Some(now + lease_ms);
        self.lease_ms = lease_ms;
        Ok(())
    }

    /// Gives the claim back.
    pub fn release(&mut self, id: i64, agent: &str, generation: i64, now: i64) -> Result<(), Refusal> {
        self.require_live(id, agent, generation, now)?;
        self.free();
        Ok(())
    }

    /// Finishes the work for good. `Ok(false)`: it was finished before by the same claim.
    pub fn complete(&mut self, id: i64, agent: &str, generation: i64, now: i64) -> Result<bool, Refusal> {
        if self.completed_at.is_some() {
            let same = self.generation == generation && self.by.as_deref() == Some(agent);
            return if same { Ok(false) } else { Err(Refusal::AlreadyCompleted(id)) };
        }
        self.require_live(id, agent, generation, now)?;
        self.expires_at = None;
        self.completed_at = Some(now);
        Ok(true)
    }

    /// Frees a claim whose lease has ended. Answers whether there was one.
    pub fn expire(&mut self, now: i64) -> bool {
        let ended = self.completed_at.is_none() && self.expires_at.is_some_and(|until| until <= now);
        if ended {
            self.free();
        }
        ended
    }

    fn free(&mut self) {
        self.by = None;
        self.at = None;
        self.expires_at = None;
    }

    fn require_live(&self, id: i64, agent: &str, generation: i64, now: i64) -> Result<(), Refusal> {
        if self.completed_at.is_some() {
            return Err(Refusal::AlreadyCompleted(id));
        }
        let live = self.expires_at.is_some_and(|until| until > now);
        if live && self.generation == generation && self.by.as_deref() == Some(agent) {
            Ok(())
        } else {
            Err(Refusal::StaleClaim { id, generation })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Take(u8),
        Renew(u8, i64),
        Release(u8, i64),
        Complete(u8, i64),
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let agent = 0..3_u8;
        prop_oneof![
            agent.clone().prop_map(Step::Take),
            (agent.clone(), 0..4_i64).prop_map(|(a, g)| Step::Renew(a, g)),
            (agent.clone(), 0..4_i64).prop_map(|(a, g)| Step::Release(a, g)),
            (agent, 0..4_i64).prop_map(|(a, g)| Step::Complete(a, g)),
            (1..15_i64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: no two holders at once, an old generation never
        /// works again, and completed work stays completed by the one who completed it.
        #[test]
        fn at_most_one_live_holder_and_completion_is_final(steps in proptest::collection::vec(step(), 0..60)) {
            let mut claim = Claim::default();
            let mut now = 0;
            let mut holder: Option<(String, i64, i64)> = None; // who, generation, until
            let mut done_by: Option<String> = None;
            for step in steps {
                if let Step::Wait(ms) = step { now += ms; }
                if holder.as_ref().is_some_and(|(_, _, until)| *until <= now) { holder = None; }
                let holds = |agent: &str, generation: i64| {
                    holder.as_ref().is_some_and(|(who, held, _)| who == agent && *held == generation)
                };
                match step {
                    Step::Wait(_) => {}
                    Step::Take(a) => {
                        let agent = a.to_string();
                        let free = holder.is_none() && done_by.is_none();
                        let mine = holder.as_ref().is_some_and(|(who, _, _)| *who == agent);
                        let before = claim.generation;
                        match claim.take(1, &agent, 10, now) {
                            Ok(true) => {
                                prop_assert!(free);
                                prop_assert_eq!(claim.generation, before + 1);
                                holder = Some((agent, claim.generation, now + 10));
                            }
                            Ok(false) => prop_assert!(mine && claim.generation == before),
                            Err(_) => prop_assert!(!free && !mine),
                        }
                    }
                    Step::Renew(a, generation) => {
                        let expected = holds(&a.to_string(), generation);
                        prop_assert_eq!(claim.renew(1, &a.to_string(), generation, 10, now).is_ok(), expected);
                        if expected { holder = Some((a.to_string(), generation, now + 10)); }
                    }
                    Step::Release(a, generation) => {
                        let expected = holds(&a.to_string(), generation);
                        prop_assert_eq!(claim.release(1, &a.to_string(), generation, now).is_ok(), expected);
                        if expected { holder = None; }
                    }
                    Step::Complete(a, generation) => {
                        let agent = a.to_string();
                        let again = done_by.as_ref() == Some(&agent) && claim.generation == generation;
                        let expected = holds(&agent, generation);
                        prop_assert_eq!(claim.complete(1, &agent, generation, now).is_ok(), expected || again);
                        if expected { holder = None; done_by = Some(agent); }
                    }
                }
                if done_by.is_some() {
                    prop_assert_eq!(&claim.by, &done_by);
                    prop_assert!(claim.completed_at.is_some() && claim.expires_at.is_none());
                }
            }
        }
    }

    #[test]
    fn targets_with_nothing_after_the_prefix_are_refused() {
        for to in ["tag:", "cap: ", "label:", "channel:"] {
            assert!(check_target(to).is_err(), "{to}");
        }
        assert_eq!(check_target("channel:dev").unwrap().as_deref(), Some("dev"));
        assert_eq!(check_target("host:1").unwrap(), None);
    }
}
