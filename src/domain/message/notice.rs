//! Notices: the one line that a session is shown. It names sender and number and never has the body; what others
//! wrote in it is made harmless.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::{DeliveryState, HoldReason, SAID_MAX, Step, TOGETHER_MAX};
use crate::domain::control::courier::Carrier;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::word::words;

/// The longest notice, in characters.
pub const NOTICE_MAX: usize = 300;
/// With what every notice begins, so that no program takes it for a command of its own.
pub const PREFIX: &str = "[agent-relay]";
/// Of an id, so much is shown.
const ID_SHOWN: usize = 80;
/// Of the claims that an agent holds, so many are named.
const CLAIMS_NAMED: usize = 5;

/// A message as a notice tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// The message.
    pub id: MessageId,
    /// Who sent it.
    pub from: AgentId,
    /// What it is about.
    pub subject: Option<String>,
}

/// The line about messages that an agent has not been told of: how many, and the newest.
pub fn of_messages(count: usize, newest: &Headline) -> String {
    let (id, from) = (newest.id, harmless(&newest.from, ID_SHOWN));
    let line = match (count, &newest.subject) {
        (0 | 1, Some(subject)) => format!("{PREFIX} message {id} from {from}: {}", harmless(subject, NOTICE_MAX)),
        (0 | 1, None) => format!("{PREFIX} message {id} from {from}"),
        _ => format!("{PREFIX} {count} messages, newest {id} from {from}"),
    };
    harmless(&line, NOTICE_MAX)
}

/// What an agent has that begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Messages that it holds the claim of, oldest first.
    pub claims: Vec<MessageId>,
    /// Messages that it has not read, as far as they were counted.
    pub unread: usize,
    /// Whether there are more than were counted.
    pub more: bool,
    /// The newest of them.
    pub newest: Option<Headline>,
}

impl Belongings {
    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.newest.is_none()
    }
}

/// The line for an agent that begins anew: who it is, its open claims, and what is unread. None where there is
/// nothing of either.
pub fn of_beginning(agent: &AgentId, has: &Belongings) -> Option<String> {
    let mut parts = Vec::new();
    if !has.claims.is_empty() {
        let named: Vec<_> = has.claims.iter().take(CLAIMS_NAMED).map(MessageId::to_string).collect();
        let (count, more) = (has.claims.len(), has.claims.len() > CLAIMS_NAMED);
        let noun = if count == 1 { "open claim" } else { "open claims" };
        parts.push(format!("{count} {noun} ({}{})", named.join(", "), if more { ", ..." } else { "" }));
    }
    if let Some(newest) = &has.newest {
        let noun = if has.unread == 1 { "unread message" } else { "unread messages" };
        let (more, from) = (if has.more { " or more" } else { "" }, harmless(&newest.from, ID_SHOWN));
        parts.push(format!("{}{more} {noun}, newest {} from {from}", has.unread.max(1), newest.id));
    }
    if parts.is_empty() {
        return None;
    }
    let line = format!("{PREFIX} you are {}: {}", harmless(agent, ID_SHOWN), parts.join("; "));
    Some(harmless(&line, NOTICE_MAX))
}

/// Text of others as a part of one line: without control, invisible and bidirectional characters, and cut where it is
/// too long.
fn harmless(value: &str, max: usize) -> String {
    let plain: String = value.chars().map(|c| if c.is_control() || text::is_invisible(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(max) {
        None => line,
        Some(_) => line.chars().take(max - 1).collect::<String>().trim_end().to_owned() + "…",
    }
}

/// What is to be shown to a session now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DueNotice {
    /// The newest message that it tells of; 0 for one that tells of claims alone.
    #[schema(value_type = i64)]
    pub id: MessageId,
    /// The messages that it tells of, oldest first.
    #[schema(value_type = Vec<i64>, max_items = 1000)]
    pub message_ids: Vec<MessageId>,
    /// The line, at most 300 characters.
    pub text: String,
    /// Whether it may break into a running turn.
    pub interrupt: bool,
    /// Whether it is the one with which a session begins.
    pub start: bool,
}

/// What may have been shown, and nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriedNotice {
    /// The messages that it tells of.
    #[schema(value_type = Vec<i64>, max_items = 1000)]
    pub message_ids: Vec<MessageId>,
    /// The line.
    pub text: String,
}

/// The answer to a host that asks what to show to one of its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Due {
    /// What to show; null where there is nothing, or nothing yet.
    #[schema(required)]
    pub notice: Option<DueNotice>,
    /// Why there is nothing yet, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// After how many milliseconds to ask again, where nothing tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub retry_in_ms: Option<i64>,
    /// Lines that were shown before, or may have been: each is looked for before anything is shown again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1000)]
    pub tried: Vec<TriedNotice>,
    /// Messages that nobody was told of and nothing holds back but the moment: what they wait for is to be reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<i64>, max_items = 1000)]
    pub open: Vec<MessageId>,
}

words! {
    /// What a host may say of a notice. That an agent read it is not for a host to say.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum NoticeState {
        /// It is about to be shown.
        Trying = "trying",
        /// It was not shown after all, and nothing was done.
        Undone = "undone",
        /// Now is not the moment; the reason is what the session does.
        Waiting = "waiting",
        /// It was handed over.
        Offered = "offered",
        /// It was taken.
        Presented = "presented",
        /// It could not be handed over.
        Failed = "failed",
    }
}

/// What a host reports of a notice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoticeReport {
    /// The messages that it tells of.
    #[schema(value_type = Vec<i64>, max_items = 1000)]
    pub message_ids: Vec<MessageId>,
    /// What became of it.
    #[schema(value_type = NoticeState)]
    pub state: Option<String>,
    /// With `trying`: the line, at most 300 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 300)]
    pub text: Option<String>,
    /// With `offered` and `presented`: by which kind of way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Carrier>)]
    pub how: Option<String>,
    /// With `presented`: by what that is seen, at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub evidence: Option<String>,
    /// With `waiting`: what the session does; with `failed`: why. At most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub reason: Option<String>,
    /// Whether it is the notice with which a session begins.
    #[serde(default)]
    pub start: bool,
}

/// A report that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeOutcome {
    /// The messages.
    pub message_ids: Vec<MessageId>,
    /// What happens to each delivery.
    pub step: Step,
    /// Whether it is the notice with which a session begins.
    pub start: bool,
}

impl NoticeOutcome {
    /// What happened to these messages.
    pub fn new(message_ids: Vec<MessageId>, step: Step) -> Self {
        Self { message_ids, step, start: false }
    }

    /// The report that says this, for whoever sends it; none for what is not a host's to say.
    pub fn report(&self) -> Option<NoticeReport> {
        let mut report =
            NoticeReport { message_ids: self.message_ids.clone(), start: self.start, ..NoticeReport::default() };
        let state = match &self.step {
            Step::Try(line) => {
                report.text = Some(line.clone());
                NoticeState::Trying
            }
            Step::Undo => NoticeState::Undone,
            Step::Hold(reason) => {
                report.reason = Some(reason.as_str().to_owned());
                NoticeState::Waiting
            }
            Step::Offer(how) => {
                report.how = Some(how.as_str().to_owned());
                NoticeState::Offered
            }
            Step::Present(how, evidence) => {
                report.how = how.map(|how| how.as_str().to_owned());
                report.evidence = Some(text::clipped(evidence, SAID_MAX));
                NoticeState::Presented
            }
            Step::Fail(reason) => {
                report.reason = Some(text::clipped(reason, SAID_MAX));
                NoticeState::Failed
            }
            Step::GiveUp | Step::Read | Step::Drop(_) | Step::Free | Step::Begin | Step::Welcome => return None,
        };
        report.state = Some(state.as_str().to_owned());
        Some(report)
    }
}

impl NoticeReport {
    /// Checks bounds and words.
    pub fn parse(self) -> Result<NoticeOutcome, Refusal> {
        let Self { message_ids, state, text, how, evidence, reason, start } = self;
        if message_ids.len() > TOGETHER_MAX {
            return Err(Refusal::invalid(format!("messageIds must have at most {TOGETHER_MAX} entries")));
        }
        let state = text::required("state", state, text::WORD_MAX)?;
        let how = text::optional("how", how, text::WORD_MAX)?;
        let how = how.map(|how| Carrier::named("how", &how)).transpose()?;
        let line = text::optional("text", text, NOTICE_MAX)?;
        let evidence = text::optional("evidence", evidence, SAID_MAX)?;
        let reason = text::optional("reason", reason, SAID_MAX)?;
        let needed = |field: &str| Refusal::invalid(format!("{field} required"));
        let step = match NoticeState::named("state", &state)? {
            NoticeState::Trying => Step::Try(line.ok_or_else(|| needed("text"))?),
            NoticeState::Undone => Step::Undo,
            NoticeState::Waiting => Step::Hold(HoldReason::named("reason", &reason.ok_or_else(|| needed("reason"))?)?),
            NoticeState::Offered => Step::Offer(how.ok_or_else(|| needed("how"))?),
            NoticeState::Presented => Step::Present(how, evidence.ok_or_else(|| needed("evidence"))?),
            NoticeState::Failed => Step::Fail(reason.ok_or_else(|| needed("reason"))?),
        };
        Ok(NoticeOutcome { message_ids, step, start })
    }
}

/// The state that a message has reached, of those of its deliveries.
pub fn furthest(states: impl IntoIterator<Item = DeliveryState>) -> Option<DeliveryState> {
    use DeliveryState::{Dropped, Offered, Parked, Presented, Read, Stored, Waiting};
    let order = [Dropped, Stored, Waiting, Parked, Offered, Presented, Read];
    states.into_iter().max_by_key(|state| order.iter().position(|other| other == state))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headline(from: &str, subject: Option<&str>) -> Headline {
        Headline { id: MessageId::new(17), from: from.into(), subject: subject.map(str::to_owned) }
    }

    #[test]
    fn a_notice_names_the_newest_message() {
        let bob = headline("bob", Some("tests are red"));
        assert_eq!(of_messages(1, &bob), "[agent-relay] message 17 from bob: tests are red");
        assert_eq!(of_messages(1, &headline("bob", None)), "[agent-relay] message 17 from bob");
        assert_eq!(of_messages(3, &bob), "[agent-relay] 3 messages, newest 17 from bob");
    }

    #[test]
    fn who_begins_anew_is_told_who_it_is_and_what_it_has() {
        let claims: Vec<_> = (1..=7).map(MessageId::new).collect();
        let mut has = Belongings { claims, unread: 3, more: false, newest: Some(headline("bob", None)) };
        assert_eq!(
            of_beginning(&"ada".into(), &has).as_deref(),
            Some(
                "[agent-relay] you are ada: 7 open claims (1, 2, 3, 4, 5, ...); 3 unread messages, newest 17 from bob"
            )
        );
        has.claims.truncate(1);
        (has.unread, has.newest) = (0, None);
        assert_eq!(of_beginning(&"ada".into(), &has).as_deref(), Some("[agent-relay] you are ada: 1 open claim (1)"));
        assert_eq!(of_beginning(&"ada".into(), &Belongings::default()), None);
    }

    #[test]
    fn what_others_write_stays_in_its_line() {
        let subject = "!touch /tmp/x\r\n\u{1b}[31m/exit\u{202e}gnp\u{200b}.exe\tnow";
        assert_eq!(
            of_messages(1, &headline("b\nob", Some(subject))),
            "[agent-relay] message 17 from b ob: !touch /tmp/x [31m/exit gnp .exe now"
        );
    }

    proptest! {
        #[test]
        fn a_notice_is_one_short_line_whatever_it_tells_of(from in any::<String>(), subject in any::<Option<String>>(), count in 0..5_usize) {
            let newest = Headline { id: MessageId::new(i64::MAX), from: from.as_str().into(), subject };
            let has = Belongings { claims: vec![MessageId::new(i64::MAX); count], unread: count, more: true, newest: Some(newest.clone()) };
            for line in [of_messages(count, &newest), of_beginning(&from.as_str().into(), &has).expect("a line")] {
                prop_assert!(line.starts_with("[agent-relay] "), "{line:?}");
                prop_assert!(line.chars().count() <= NOTICE_MAX);
                prop_assert!(!line.chars().any(|c| c.is_control() || text::is_invisible(c)), "{line:?}");
            }
        }
    }

    #[test]
    fn a_report_comes_back_as_it_was_said_and_a_host_cannot_say_that_somebody_read() {
        let ids = vec![MessageId::new(1), MessageId::new(2)];
        for step in [
            Step::Try("[agent-relay] message 1 from a".to_owned()),
            Step::Undo,
            Step::Hold(HoldReason::DoNotDisturb),
            Step::Offer(Carrier::Queue),
            Step::Present(Some(Carrier::Typed), "a turn began".to_owned()),
            Step::Fail("nothing took it".to_owned()),
        ] {
            let outcome = NoticeOutcome::new(ids.clone(), step);
            assert_eq!(outcome.report().expect("a report").parse(), Ok(outcome));
        }
        assert_eq!(NoticeOutcome::new(ids, Step::Read).report(), None);
        let read = NoticeReport { state: Some("read".to_owned()), ..NoticeReport::default() };
        assert!(read.parse().is_err());
    }
}
