//! How a message is brought into the sessions that it is for, shown while it happens. A message that is on disk stays
//! there, however this ends.

use std::collections::HashMap;
use std::time::Duration;

use agent_relay::client::Error;
use agent_relay::client::events::EventFilter;
use agent_relay::client::stream::{EventStream, Received};
use agent_relay::domain::event::EventName;
use agent_relay::domain::id::{AgentId, MessageId};
use agent_relay::domain::message::Message;
use agent_relay::domain::message::delivery::{Delivery, DeliveryNews, DeliveryState};
use tokio::time::sleep;

use crate::cli::connection::Connection;
use crate::cli::show::{BAD, DIM, GOOD, WARN, painted, visible_line};

/// Of so many agents it is shown how a message is brought to them.
pub(super) const FOLLOWED_MAX: usize = 100;
/// Of so many agents it is said how far it came.
const NAMED_MAX: usize = 20;
/// The pause between two questions where the relay is away, or its events cannot be followed.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a message came into the sessions that it is for, where that can be asked.
pub(super) fn deliveries(connection: &Connection, id: MessageId) -> Vec<Delivery> {
    let pages = connection.client.messages().deliveries(id, Some(NAMED_MAX as u32));
    connection.ask_all(pages, NAMED_MAX).unwrap_or_default()
}

/// `bob: waiting, busy`: how far, by which way or why.
pub(super) fn brought(delivery: &Delivery) -> String {
    let style = match delivery.state {
        DeliveryState::Presented | DeliveryState::Read => GOOD,
        DeliveryState::Parked => BAD,
        DeliveryState::Waiting | DeliveryState::Offered => WARN,
        DeliveryState::Stored | DeliveryState::Dropped => DIM,
    };
    let how = delivery.how.map(|how| format!(" by {how}")).unwrap_or_default();
    let why = delivery.reason.as_deref().map(|reason| format!(", {}", visible_line(reason))).unwrap_or_default();
    format!("{}: {}{how}{why}", visible_line(&delivery.agent_id), painted(style, delivery.state))
}

/// What was seen so far of how a message is brought.
#[derive(Default)]
pub(super) struct Seen {
    /// As it was last, by agent; none before the first look.
    pub(super) last: Option<Vec<Delivery>>,
    /// What was told of each agent last.
    said: HashMap<AgentId, String>,
}

impl Seen {
    /// Those of which more is to come.
    pub(super) fn open(&self) -> impl Iterator<Item = &Delivery> {
        self.last.iter().flatten().filter(|delivery| !delivery.is_settled())
    }

    /// Follows a message until nothing more is to come of it in any session. `changed` is called with each delivery that
    /// is not as it was told last.
    ///
    /// # Errors
    ///
    /// Where it cannot be asked how far it has come, and that does not pass.
    pub(super) async fn follow(
        &mut self,
        connection: &Connection,
        message: &Message,
        mut changed: impl FnMut(&Delivery),
    ) -> Result<(), Error> {
        let client = &connection.client;
        // It connects once something is waited for, and what happened up to then is looked at after that.
        let mut stream = client.events().follow(EventFilter {
            types: vec![EventName::MessageDelivery],
            ..EventFilter::agent(message.from.to_string())
        });
        loop {
            match client.messages().deliveries(message.id, Some(FOLLOWED_MAX as u32)).collect(FOLLOWED_MAX).await {
                Ok(rows) => {
                    self.take(rows, &mut changed);
                    if self.open().next().is_none() {
                        return Ok(());
                    }
                }
                Err(error) if error.is_transient() => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            news(&mut stream, message.id).await;
        }
    }

    fn take(&mut self, rows: Vec<Delivery>, changed: &mut impl FnMut(&Delivery)) {
        for delivery in &rows {
            let text = brought(delivery);
            if self.said.get(&delivery.agent_id) != Some(&text) {
                changed(delivery);
                self.said.insert(delivery.agent_id.clone(), text);
            }
        }
        self.last = Some(rows);
    }
}

/// Waits until something may have changed.
async fn news(stream: &mut EventStream, id: MessageId) {
    loop {
        match stream.next().await {
            Ok(Received::Event(event)) => {
                if event.parse::<DeliveryNews>().is_ok_and(|news| news.message_id == id) {
                    return;
                }
            }
            Ok(Received::Ready { .. } | Received::Reset { .. }) => return,
            Ok(Received::Disconnected { .. }) => {}
            // Whoever may not follow what happens asks now and then.
            Err(_) => return sleep(PAUSE).await,
        }
    }
}
