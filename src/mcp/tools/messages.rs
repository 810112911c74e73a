//! Sending, finding and reading messages, and waiting for them.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::text::{EXCERPT_BYTES, Writing, ago, marked, name, opening};
use super::waits::length;
use super::{Answer, Problem, Toolbox, number};
use crate::domain::agent::AgentStatus;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Draft, Message, MessageFilter, Outcome, Sent};
use crate::domain::page::{Limit, Page};
use crate::relay::messages::Claimant;

/// Messages on a page.
const MESSAGES: i64 = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Send {
    to: Option<String>,
    subject: Option<String>,
    body: Option<String>,
    #[serde(default, deserialize_with = "number")]
    reply_to: Option<i64>,
    claimable: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inbox {
    #[serde(default, deserialize_with = "number")]
    since: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    #[serde(default, deserialize_with = "number")]
    id: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    offset: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(default, deserialize_with = "number")]
    seconds: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    since: Option<i64>,
}

impl Toolbox<'_> {
    pub(super) async fn send(&self, args: Send) -> Answer {
        let Send { mut to, subject, body, reply_to, claimable } = args;
        if let (None, Some(answered)) = (&to, reply_to) {
            let answered = self.relay.get_message(self.caller, MessageId::new(answered)).await;
            to = Some(answered.map_err(|error| self.problem(error))?.from.into_string());
        }
        let draft = Draft { to, subject, body, reply_to, claimable, ..Draft::default() };
        let sent = self.relay.send_message(self.caller, draft, None, Duration::ZERO).await;
        let sent: Option<Sent> = sent.map_err(|error| self.problem(error))?.json.value().ok();
        let Some(Sent { message, outcome: Outcome { recipients, similar, .. } }) = sent else {
            return Ok("Sent.".to_owned());
        };
        let mut text = format!("Sent message {} to {}", message.id, name(&message.to));
        text.push_str(&match recipients {
            Some(0) => {
                ", which reaches nobody now: it waits until somebody has that id or belongs to that group".to_owned()
            }
            Some(1) => self.reached(&message.to).await,
            Some(count) => format!(": it reaches {count} agents"),
            None => String::new(),
        });
        if let Some(similar) = similar.filter(|similar| !similar.is_empty()) {
            let names: Vec<_> = similar.iter().map(|target| name(target)).collect();
            text.push_str(&format!(". Did you mean {}?", names.join(" or ")));
        } else {
            text.push('.');
        }
        Ok(text)
    }

    /// How the one agent is that a message reaches.
    async fn reached(&self, to: &str) -> String {
        match self.relay.get_agent(self.caller, AgentId::from(to)).await {
            Ok(agent) if agent.status == AgentStatus::Offline => {
                let silent = ago(self.relay.now(), agent.last_seen);
                format!(": it is kept for it, but it is offline, last heard from {silent}")
            }
            _ => ": it reaches 1 agent".to_owned(),
        }
    }

    pub(super) async fn inbox(&self, args: Inbox) -> Answer {
        let since = MessageId::new(args.since.unwrap_or_default());
        let page = self.unread(since, Duration::ZERO).await?;
        if page.entries.is_empty() && page.next.is_none() {
            let after = if since.get() > 0 { format!(" after message {since}") } else { String::new() };
            return Ok(format!("Nothing unread{after}. wait waits for the next message."));
        }
        self.told(since, &page).await
    }

    /// Unread messages after one, oldest first.
    async fn unread(&self, since: MessageId, wait: Duration) -> Result<Page<Message, MessageId>, Problem> {
        let limit = Limit::parse(Some(MESSAGES)).map_err(|error| self.problem(error))?;
        let filter = MessageFilter {
            reaching: Some(self.me()?.clone()),
            unread: true,
            since,
            limit,
            ..MessageFilter::default()
        };
        self.relay.list_messages(self.caller, filter, wait).await.map_err(|error| self.problem(error))
    }

    /// A page of unread messages as it is told: as many as find room, and how to get the others.
    async fn told(&self, since: MessageId, page: &Page<Message, MessageId>) -> Answer {
        let now = self.relay.now();
        let me = self.me()?;
        let mut machines: HashMap<&AgentId, Option<String>> = HashMap::new();
        let mut writing = Writing::new("");
        let (mut shown, mut last) = (0, since);
        let mut told = Vec::new();
        for message in &page.entries {
            if !machines.contains_key(&message.from) {
                machines.insert(&message.from, self.machine(&message.from).await);
            }
            let mut entry = opening(message, machines[&message.from].as_deref(), Some(me), now);
            let (body, cut) = marked(&message.body, 0, EXCERPT_BYTES);
            entry.push_str(&body);
            if cut.is_some() {
                entry.push_str(&format!("(cut; read {{\"id\": {}}} shows it whole)\n", message.id));
            }
            entry.push('\n');
            if !writing.take(&entry) {
                break;
            }
            (shown, last) = (shown + 1, message.id);
            told.push(message.id);
        }
        // That it is told does not hang on whether that is written down.
        if let Err(error) = self.relay.note_told(self.caller, told).await {
            tracing::warn!(%error, "what an agent was told by a tool was not noted");
        }
        let next = if shown < page.entries.len() { Some(last) } else { page.next };
        Ok(match next {
            None => writing.finish(&format!("{shown} unread. read {{\"id\": ...}} marks one as read.")),
            Some(next) => {
                let all = self.relay.count_unread(self.caller, since).await.map_err(|error| self.problem(error))?;
                writing.finish(&format!("{shown} of {all}, next: inbox {{\"since\": {next}}}"))
            }
        })
    }

    pub(super) async fn read(&self, args: Read) -> Answer {
        let now = self.relay.now();
        let id = MessageId::new(args.id.ok_or_else(|| Problem::new("id required", "inbox lists your messages."))?);
        let message = self.relay.read_message(self.caller, id, Claimant::default()).await;
        let message = message.map_err(|error| self.problem(error))?;
        let offset = usize::try_from(args.offset.unwrap_or_default()).unwrap_or_default();
        Ok(self.whole(&message, offset, now).await)
    }

    /// A message as a whole, or as much of it as finds room.
    pub(super) async fn whole(&self, message: &Message, offset: usize, now: crate::domain::time::Timestamp) -> String {
        let machine = self.machine(&message.from).await;
        let mut writing = Writing::new(opening(message, machine.as_deref(), self.caller.agent_id.as_ref(), now));
        let (body, cut) = marked(&message.body, offset, writing.room());
        writing.take(&body);
        let all = message.body.chars().count();
        match cut {
            Some(next) => writing.finish(&format!(
                "(characters {offset} to {next} of {all}, next: read {{\"id\": {}, \"offset\": {next}}})",
                message.id
            )),
            None if offset > 0 => writing.finish(&format!("(characters {offset} to {all} of {all}: the end)")),
            None => writing.finish(""),
        }
    }

    pub(super) async fn wait(&self, args: Wait) -> Answer {
        let me = self.me()?;
        let _waiting = self.waits.begin(me)?;
        let deadline = Instant::now() + length(args.seconds);
        let mut since = MessageId::new(args.since.unwrap_or_default());
        loop {
            let page = self.unread(since, deadline.saturating_duration_since(Instant::now())).await?;
            // Work that somebody holds is not waited for.
            let is_news = |message: &Message| message.claimed_by.is_none() || !message.claimable;
            if page.entries.iter().any(is_news) {
                return self.told(since, &page).await;
            }
            match page.next.or(page.entries.last().map(|last| last.id)) {
                Some(next) if Instant::now() < deadline => since = next,
                _ => return Ok("Nothing yet. Call wait again.".to_owned()),
            }
        }
    }
}
