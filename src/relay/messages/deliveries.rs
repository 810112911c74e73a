//! Deliveries: how far messages have come into sessions, and what whoever runs a session shows to it.

use crate::domain::caller::Caller;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::{Delivery, DeliveryFilter, DeliveryNews};
use crate::domain::message::notice::{Due, NoticeReport};
use crate::domain::page::Page;
use crate::domain::refusal::Refusal;
use crate::relay::{Error, Relay, scopes};

impl Relay {
    /// How far a message has come, by agent: all of it for its sender, and for another agent that it reaches its own.
    pub async fn list_message_deliveries(
        &self,
        caller: &Caller,
        id: MessageId,
        mut filter: DeliveryFilter,
    ) -> Result<Page<Delivery, AgentId>, Error> {
        caller.require(scopes::READ_DELIVERIES)?;
        if let Some(agent) = &caller.agent_id {
            let routes = self.store.routes(agent.clone()).await?;
            let message = self.store.message(id).await?;
            if message.from != *agent {
                if !routes.reach(&message.to, &message.from, message.id.into()) {
                    return Err(Refusal::NotAddressed { work: message.id.into(), agent: agent.clone() }.into());
                }
                filter.agent = Some(agent.clone());
            }
        }
        Ok(self.store.deliveries(id, filter).await?)
    }

    /// What to show to the session of an agent now; with `interrupting`, what may be shown while a turn runs.
    pub async fn get_notice(&self, caller: &Caller, agent: AgentId, interrupting: bool) -> Result<Due, Error> {
        caller.require(scopes::SHOW_NOTICES)?;
        Ok(self.store.due_notice(agent, caller.agent_id.clone(), interrupting).await?)
    }

    /// Takes down that the agent of this credential was told of these messages by a tool that it called.
    pub async fn note_told(&self, caller: &Caller, ids: Vec<MessageId>) -> Result<(), Error> {
        caller.require(scopes::READ_MESSAGES)?;
        let Some(agent) = caller.agent_id.clone().filter(|_| !ids.is_empty()) else { return Ok(()) };
        Ok(self.store.told_by_tool(agent, ids).await?)
    }

    /// Takes down what became of a notice. Answers the deliveries that changed by it.
    pub async fn report_notice(
        &self,
        caller: &Caller,
        agent: AgentId,
        report: NoticeReport,
    ) -> Result<Vec<DeliveryNews>, Error> {
        caller.require(scopes::SHOW_NOTICES)?;
        Ok(self.store.report_notice(agent, caller.agent_id.clone(), report.parse()?).await?)
    }
}
