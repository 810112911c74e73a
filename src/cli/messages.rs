//! Messages from the command line: sending, reading, claiming, and watching what happens.

mod brought;
pub(super) mod claims;
mod follow;
pub(super) mod inbox;
pub(super) mod read;
pub(super) mod send;
pub(super) mod watch;

use crate::cli::show::visible_line;
use agent_relay::domain::message::Message;
use agent_relay::domain::message::delivery::Delivery;

use self::brought::brought;
use super::show::{DIM, GOOD, STRONG, WARN, ago, block, moment, painted, when};

/// What the relay says of a message, and then what its sender says, clearly inside.
fn drawn(message: &Message, deliveries: &[Delivery]) -> String {
    let mut lines = vec![first_line(message)];
    let mut also = |name: &str, value: String| lines.push(format!("{} {value}", painted(DIM, format!("{name}:"))));
    if let Some(subject) = &message.subject {
        also("subject", painted(STRONG, visible_line(subject)));
    }
    if let Some(channel) = &message.channel {
        also("channel", visible_line(channel).into_owned());
    }
    if let Some(answered) = message.reply_to {
        also("answers", format!("{answered}, in the thread of {}", message.thread_id));
    }
    if message.claimable {
        also("work", work(message));
    }
    if message.read_count > 0 {
        let names: Vec<_> = message.read_by.iter().take(NAMED_MAX).map(|agent| visible_line(agent)).collect();
        let more = message.read_count - i64::try_from(names.len()).unwrap_or_default();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        also("read by", format!("{}{more}", names.join(", ")));
    }
    for delivery in deliveries {
        also("brought to", format!("{} {}", brought(delivery), painted(DIM, ago(delivery.updated_at))));
    }
    if let Some(at) = message.expires_at {
        also("expires", when(at));
    }
    format!("{}\n\n{}", lines.join("\n"), block(&message.body))
}

/// Of those who read a message so many are named.
const NAMED_MAX: usize = 5;

/// `message 7 from "bob" (agent, verified) to ann, 2 min ago`: in the relay's words alone.
fn first_line(message: &Message) -> String {
    let at = painted(DIM, format!("{} ({})", ago(message.created_at), moment(message.created_at)));
    let to = visible_line(&message.to);
    format!("{} from {} to {to}, {at}", painted(STRONG, format!("message {}", message.id)), sender(message))
}

/// Who sent it, and how the relay knows that.
fn sender(message: &Message) -> String {
    let sender = &message.sender;
    let (style, known) = if sender.verified { (GOOD, "verified") } else { (WARN, "not verified") };
    format!("\"{}\" {}", visible_line(&message.from), painted(style, format!("({}, {known})", sender.r#as)))
}

/// Who holds the work in a message.
fn work(message: &Message) -> String {
    let Some(holder) = &message.claimed_by else { return "free to be claimed".to_owned() };
    let holder = visible_line(holder);
    match (message.completed_at, message.claim_expires_at) {
        (Some(at), _) => format!("done by {holder} {}", ago(at)),
        (None, Some(until)) => format!("claimed by {holder}, whose claim ends {}", when(until)),
        (None, None) => format!("claimed by {holder}"),
    }
}
