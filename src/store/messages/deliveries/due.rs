//! What is due: what whoever runs a session shows to it now, and what it reports of that.

use std::collections::BTreeMap;

use super::{MOST, Row, change, hosts, mode_of, take_step};
use crate::domain::control::courier::Carrier;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::{DeliveryNews, DeliveryState, HoldReason, Step, WAITS_MS};
use crate::domain::message::notice::{self, Belongings, Due, DueNotice, Headline, NoticeOutcome, TriedNotice};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::engine::stored;
use crate::store::tx::Snapshot;
use crate::store::{Store, StoreError};

/// Of the claims of an agent, so many are looked at.
const CLAIMS_MAX: i64 = 100;

/// A delivery of which something is left to do.
struct Open {
    row: Row,
    expires_at: Option<Timestamp>,
}

stored! {
    read Open in deliveries {
        row as part Row,
        expires_at = "(SELECT expires_at FROM messages WHERE messages.id = deliveries.message_id)",
    }
}

stored! { read Headline in messages { id, from = "sender", subject } }

impl Store {
    /// What to show to the session of an agent now: at an idle prompt, or, `interrupting`, in a turn that runs. `host` is
    /// the orchestrator's agent that asks; without one nobody is asked whose session it is.
    pub async fn due_notice(
        &self,
        agent: AgentId,
        host: Option<AgentId>,
        interrupting: bool,
    ) -> Result<Due, StoreError> {
        if !self.inner.writer.has_followed(self.inner.clock.look()) {
            // The clock was set, or nobody was here: a commit moves along what is dated.
            self.write(|_| Ok(())).await?;
        }
        let now = self.now();
        self.read(move |snapshot| {
            let session = session_of(snapshot, &agent, host.as_ref())?;
            due(snapshot, &agent, &session, interrupting, now)
        })
        .await
    }

    /// Writes down what became of a notice, as far as that is a step. Answers the deliveries that it changed.
    pub async fn report_notice(
        &self,
        agent: AgentId,
        host: Option<AgentId>,
        outcome: NoticeOutcome,
    ) -> Result<Vec<DeliveryNews>, StoreError> {
        self.write(move |tx| {
            let session = session_of(tx, &agent, host.as_ref())?;
            if outcome.start && session.greets > 0 {
                let (greets, at) = match outcome.step {
                    Step::Present(..) | Step::Offer(_) => (0, session.greets_at),
                    Step::Fail(_) => (session.greets - 1, tx.now + wait_after(session.greets)),
                    _ => (session.greets, session.greets_at),
                };
                tx.execute(
                    "UPDATE hosted SET greets = $1, greets_at = $2 WHERE agent_id = $3",
                    &[&greets, &at, &agent],
                )?;
            }
            let mut news = Vec::new();
            for id in outcome.message_ids {
                let row: Option<Row> = tx.row("WHERE message_id = $1 AND agent_id = $2", &[&id, &agent])?;
                if let Some(row) = row {
                    news.extend(take_step(tx, row, outcome.step.clone())?);
                }
            }
            Ok(news)
        })
        .await
    }
}

impl Store {
    /// Writes down that an agent was told of these messages by a tool that it called. Those of whose deliveries nothing
    /// is left to do, or that were handed over before, stay as they are, and where all do nothing is written.
    pub async fn told_by_tool(&self, agent: AgentId, ids: Vec<MessageId>) -> Result<(), StoreError> {
        let is_news = move |row: &Row| ids.contains(&row.message_id) && row.delivery.state != DeliveryState::Offered;
        let (of_agent, is_still) = (agent.clone(), is_news.clone());
        let has_news = self.read(move |snapshot| Ok(open_of(snapshot, &of_agent)?.iter().any(is_news))).await?;
        if !has_news {
            return Ok(());
        }
        self.write(move |tx| {
            for row in open_of(tx, &agent)?.into_iter().filter(is_still) {
                change(tx, row, Step::Offer(Carrier::Mcp))?;
            }
            Ok(())
        })
        .await
    }
}

/// The deliveries of an agent of which something is left to do.
fn open_of(snapshot: &Snapshot<'_>, agent: &AgentId) -> Result<Vec<Row>, StoreError> {
    super::of_agent(snapshot, agent, "next_at IS NOT NULL")
}

/// How long is waited after a start notice that could not be shown, of which so many tries were left.
fn wait_after(greets: i64) -> i64 {
    let place = usize::try_from(WAITS_MS.len() as i64 - greets).unwrap_or(0);
    WAITS_MS[place.min(WAITS_MS.len() - 1)]
}

/// The session of an agent; one that another runs is not this host's to see to.
fn session_of(snapshot: &Snapshot<'_>, agent: &AgentId, host: Option<&AgentId>) -> Result<hosts::Host, StoreError> {
    let session = hosts::find(snapshot, agent)?.ok_or(Refusal::NotFound("managed agent"))?;
    match host {
        Some(host) if *host != session.host => {
            let problem = format!("the session of \"{agent}\" is run by another host");
            Err(Refusal::NotAllowed(problem).into())
        }
        _ => Ok(session),
    }
}

fn due(
    snapshot: &Snapshot<'_>,
    agent: &AgentId,
    session: &hosts::Host,
    interrupting: bool,
    now: Timestamp,
) -> Result<Due, StoreError> {
    let open: Vec<Open> =
        snapshot.rows("WHERE agent_id = $1 AND next_at IS NOT NULL ORDER BY message_id LIMIT $2", &[agent, &MOST])?;
    let open: Vec<Row> =
        open.into_iter().filter(|it| it.expires_at.is_none_or(|at| at > now)).map(|it| it.row).collect();
    let mut due = Due { tried: tried(&open), ..Due::default() };
    // What was tried often enough is only waited for.
    let (live, _): (Vec<Row>, Vec<Row>) = open.into_iter().partition(|row| !row.delivery.is_exhausted());
    let later = live.iter().filter_map(|row| row.delivery.next_at).filter(|at| *at > now).max();
    if let Some(later) = later {
        // One at a time, and all of it at one pace.
        due.reason = Some("it was tried a moment ago".to_owned());
        due.retry_in_ms = Some(later - now);
        return Ok(due);
    }
    let mode = mode_of(snapshot, agent)?;
    let is_wanted = |row: &&Row| mode.admits(row.direct, row.interrupts) && (row.interrupts || !interrupting);
    let wanted: Vec<&Row> = live.iter().filter(is_wanted).collect();
    let ids: Vec<MessageId> = wanted.iter().map(|row| row.message_id).collect();
    if session.greets > 0 && !interrupting && mode.admits(false, false) {
        if session.greets_at > now && ids.is_empty() {
            due.retry_in_ms = Some(session.greets_at - now);
            return Ok(due);
        }
        let has = belongings(snapshot, agent, now)?;
        if let Some(text) = notice::of_beginning(agent, &has) {
            let id = has.newest.map_or_else(MessageId::default, |newest| newest.id);
            due.notice = Some(DueNotice { id, message_ids: ids, text, interrupt: false, start: true });
            return Ok(due);
        }
    }
    match ids.last() {
        Some(newest) => {
            let newest = headline(snapshot, *newest)?;
            let text = notice::of_messages(ids.len(), &newest);
            let interrupt = wanted.iter().any(|row| row.interrupts);
            due.notice = Some(DueNotice { id: newest.id, message_ids: ids, text, interrupt, start: false });
        }
        None if !live.is_empty() && !interrupting => due.reason = Some(HoldReason::DoNotDisturb.as_str().to_owned()),
        None => {}
    }
    Ok(due)
}

/// What was shown, or may have been, line by line.
fn tried(open: &[Row]) -> Vec<TriedNotice> {
    let mut lines: BTreeMap<&str, Vec<MessageId>> = BTreeMap::new();
    for row in open {
        if let Some(line) = &row.delivery.tried {
            lines.entry(line).or_default().push(row.message_id);
        }
    }
    lines.into_iter().map(|(line, message_ids)| TriedNotice { message_ids, text: line.to_owned() }).collect()
}

/// What an agent has that begins anew.
pub(super) fn belongings(snapshot: &Snapshot<'_>, agent: &AgentId, now: Timestamp) -> Result<Belongings, StoreError> {
    let claims: Vec<MessageId> = snapshot.values(
        "SELECT id FROM messages WHERE claimed_by = $1 AND claim_expires_at IS NOT NULL AND claim_expires_at > $2
         ORDER BY id LIMIT $3",
        &[agent, &now, &CLAIMS_MAX],
    )?;
    let of_tasks: Vec<MessageId> = snapshot.values(
        "SELECT message_id FROM (SELECT id, message_id, claim_expires_at FROM tasks WHERE claimed_by = $1
             ORDER BY id DESC LIMIT $2) AS latest WHERE message_id IS NOT NULL AND claim_expires_at > $3",
        &[agent, &CLAIMS_MAX, &now],
    )?;
    let mut claims: Vec<MessageId> = claims.into_iter().chain(of_tasks).collect();
    claims.sort_unstable();
    claims.dedup();
    let (unread, more) = hosts::unread(snapshot, agent, now)?;
    let newest = unread.last().map(|id| headline(snapshot, *id)).transpose()?;
    Ok(Belongings { claims, unread: unread.len(), more, newest })
}

fn headline(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Headline, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("message"))?)
}
