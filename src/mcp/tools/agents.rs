//! Who is there, and who one is.

use serde::Deserialize;

use super::text::{Writing, ago, lasting, name, said};
use super::{Answer, Nothing, Problem, Toolbox};
use crate::domain::agent::{
    Agent, AgentFilter, AgentPatch, AgentPlace, HELD_MAX, Registration, SessionGuard, Standing,
};
use crate::domain::id::AgentId;
use crate::domain::page::Limit;
use crate::domain::refusal::Refusal;
use crate::domain::text::{self, visible};
use crate::domain::time::Timestamp;
use crate::relay::Error;

/// Agents on a page.
const AGENTS: i64 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agents {
    q: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    #[serde(default, deserialize_with = "text::present")]
    label: Option<Option<String>>,
}

impl Toolbox<'_> {
    pub(super) fn problem(&self, error: impl Into<Error>) -> Problem {
        Problem::of(error.into(), self.relay.now())
    }

    pub(super) async fn whoami(&self, _: Nothing) -> Answer {
        let (me, now) = (self.me()?, self.relay.now());
        let standing = self.relay.own_standing(self.caller).await.map_err(|error| self.problem(error))?;
        let Standing { agent, unread, messages, tasks } = standing;
        let mut writing = Writing::new(format!("You are {}", name(me)));
        writing.take(&match &agent {
            Some(agent) => format!("{}.\n", described(agent, now)),
            None => ".\nNobody registered this id yet, so others do not find you: label registers you.\n".to_owned(),
        });
        writing
            .take(&format!("Unread messages: {unread}.{}\n", if unread.count > 0 { " inbox lists them." } else { "" }));
        let is_all = messages.len() < HELD_MAX && tasks.len() < HELD_MAX;
        let held: Vec<String> = messages
            .iter()
            .map(|message| {
                let subject =
                    message.subject.as_deref().map(|subject| format!(" {}", said(subject))).unwrap_or_default();
                let from = name(&message.from);
                (
                    format!("message {}{subject} from {from}", message.id),
                    message.claim_expires_at,
                    message.id.to_string(),
                )
            })
            .chain(tasks.iter().map(|task| {
                let of = format!("task {} {}, {}", task.id, said(&task.title), task.status);
                (of, task.claim_expires_at, task.message_id.map(|id| id.to_string()).unwrap_or_default())
            }))
            .map(|(of, until, id)| {
                let until = until.map(|until| format!(", for another {}", lasting(until - now))).unwrap_or_default();
                let next =
                    if id.is_empty() { String::new() } else { format!(": complete or release {{\"id\": {id}}}") };
                format!("- {of}{until}{next}\n")
            })
            .collect();
        if held.is_empty() {
            return Ok(writing.finish("You hold no claims."));
        }
        writing.take("You hold these claims; claim again prolongs one:\n");
        let shown = held.iter().take_while(|line| writing.take(line)).count();
        let rest = if shown == held.len() && is_all { "" } else { "There are more: complete or release some first." };
        Ok(writing.finish(rest))
    }

    pub(super) async fn agents(&self, args: Agents) -> Answer {
        let Agents { q, after } = args;
        let now = self.relay.now();
        let filter = AgentFilter {
            text: text::optional("q", q.clone(), text::WORD_MAX).map_err(|error| self.problem(error))?,
            live_first: true,
            limit: Limit::parse(Some(AGENTS)).map_err(|error| self.problem(error))?,
            ..AgentFilter::default()
        };
        // The place of the last one, as the page before told it.
        let after = after.as_deref().map(|after| (after.strip_prefix('-'), after.strip_prefix('+')));
        let filter = match after {
            None => filter,
            Some((Some(offline), _)) => AgentFilter { after: Some(offline.into()), after_offline: true, ..filter },
            Some((None, Some(live))) => AgentFilter { after: Some(live.into()), ..filter },
            Some((None, None)) => {
                return Err(Problem::new("`after` is not one that a page ended with", "Leave it out to begin anew."));
            }
        };
        let page = self.relay.list_agents(self.caller, filter).await.map_err(|error| self.problem(error))?;
        let mut writing = Writing::new("");
        let mut last = None;
        let mut shown = 0;
        for agent in &page.entries {
            let you = if self.caller.agent_id.as_ref() == Some(&agent.id) { " (you)" } else { "" };
            if !writing.take(&format!("{}{you}{}\n", name(&agent.id), described(agent, now))) {
                break;
            }
            (last, shown) = (Some(AgentPlace::from(agent)), shown + 1);
        }
        let next = if shown < page.entries.len() { last } else { page.next };
        Ok(match next {
            None if shown == 0 => writing.finish("No such agent. agents without arguments lists all."),
            None => writing.finish(&format!("{shown} agents.")),
            Some(AgentPlace { is_offline, id }) => {
                let after = format!("{}{id}", if is_offline { '-' } else { '+' });
                let arguments = match &q {
                    Some(q) => serde_json::json!({"q": q, "after": after}),
                    None => serde_json::json!({"after": after}),
                };
                writing.finish(&format!(
                    "{shown} agents, there are more, next: agents {}",
                    visible::line(&arguments.to_string())
                ))
            }
        })
    }

    pub(super) async fn label(&self, args: Label) -> Answer {
        let me = self.me()?;
        let Some(label) = args.label else {
            return Err(Problem::new("label required", "Say the name, or null for none."));
        };
        let label = label
            .map(|label| text::required("label", Some(label), text::WORD_MAX))
            .transpose()
            .map_err(|error| self.problem(error))?;
        let patch = AgentPatch::Label(label.clone());
        let changed = self.relay.change_agent(self.caller, me.clone(), SessionGuard::default(), patch).await;
        match changed {
            Ok(_) => {}
            Err(Error::Refused(Refusal::NotFound(_))) => {
                let new =
                    Registration { id: Some(me.to_string()), label: Some(label.clone()), ..Registration::default() };
                self.relay.register_agent(self.caller, new, None).await.map_err(|error| self.problem(error))?;
            }
            Err(error) => return Err(self.problem(error)),
        }
        Ok(match label {
            Some(label) => format!("You are {} with the label {}.", name(me), said(&label)),
            None => format!("You are {} without a label.", name(me)),
        })
    }

    /// The machine that an agent says it runs on.
    pub(super) async fn machine(&self, agent: &AgentId) -> Option<String> {
        self.relay.get_agent(self.caller, agent.clone()).await.ok()?.machine
    }
}

/// How an agent is, in what it and the relay say of it.
fn described(agent: &Agent, now: Timestamp) -> String {
    let mut words = String::new();
    if agent.name != *agent.id {
        words.push_str(&format!(" called {}", said(&agent.name)));
    }
    if let Some(label) = &agent.label {
        words.push_str(&format!(", label {}", said(label)));
    }
    words.push_str(&format!(", {}", agent.status));
    if agent.status == crate::domain::agent::AgentStatus::Offline {
        words.push_str(&format!(" (last heard from {})", ago(now, agent.last_seen)));
    } else if agent.ready {
        words.push_str(", takes work");
    }
    if let Some(condition) = &agent.condition {
        words.push_str(&format!(", condition {} since {}", condition.kind, lasting(now - condition.since)));
        if let Some(until) = condition.until {
            words.push_str(&format!(" for another {}", lasting(until - now)));
        }
    }
    if let Some(machine) = &agent.machine {
        words.push_str(&format!(", on host {}", said(machine)));
    }
    for (what, list) in [("tags", &agent.tags), ("can", &agent.capabilities)] {
        if list.is_empty() {
            continue;
        }
        let some: Vec<_> = list.iter().take(10).map(|word| visible::line(word)).collect();
        let more = if list.len() > 10 { ", ..." } else { "" };
        words.push_str(&format!(", {what}: {}{more}", some.join(", ")));
    }
    words
}
