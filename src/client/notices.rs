//! Notices: what whoever runs a session asks the relay to show to it, and reports of that.

use reqwest::Method;
use serde_json::json;

use super::agents::path;
use super::{Client, Pages, Request};
use crate::domain::agent::{Agent, NewCondition};
use crate::domain::id::MessageId;
use crate::domain::message::delivery::{Delivery, DeliveryNews};
use crate::domain::message::notice::{Due, NoticeReport};

/// Requests about notices and deliveries. See [`Client::notices`].
#[derive(Clone, Copy, Debug)]
pub struct Notices<'a>(pub(super) &'a Client);

impl Notices<'_> {
    /// What to show to the session of an agent now; with `interrupting`, what may be shown while a turn runs.
    pub fn due(&self, agent: &str, interrupting: bool) -> Request<Due> {
        let request = self.0.request(Method::GET, &path(agent, "/notice"));
        request.query("interrupting", interrupting.then_some(true))
    }

    /// Reports what became of a notice. Answers the deliveries that changed by it.
    pub fn report(&self, agent: &str, report: &NoticeReport) -> Request<Vec<DeliveryNews>> {
        self.0.request(Method::POST, &path(agent, "/notice")).json(report)
    }

    /// Says what is seen to keep an agent from working, or that nothing is.
    pub fn observed(&self, agent: &str, condition: Option<&NewCondition>) -> Request<Agent> {
        let body = match condition {
            None => json!({"kind": null}),
            Some(condition) => {
                json!({"kind": condition.kind, "until": condition.until, "detail": condition.detail})
            }
        };
        self.0.request(Method::PATCH, &path(agent, "/condition")).json(&body)
    }

    /// How far a message has come into the sessions that it is for.
    pub fn deliveries(&self, message: MessageId) -> Pages<Delivery> {
        Pages::from(self.0.request(Method::GET, &format!("/api/messages/{message}/deliveries")))
    }
}
