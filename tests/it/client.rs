//! The library's own client: each noun through the real relay, what it says when it cannot, and a stream
//! that outlives its relay.

mod control;
mod failures;
pub(crate) mod forwarder;
mod nouns;
mod plugins;
mod resume;
mod work;

use agent_relay::domain::agent::Registration;
use agent_relay::domain::message::Draft;

/// A registration of which only the id and the tags matter.
fn agent(id: &str, tags: &[&str]) -> Registration {
    Registration {
        id: Some(id.to_owned()),
        tags: Some(Some(tags.iter().map(|&tag| tag.to_owned()).collect())),
        ..Registration::default()
    }
}

/// A message of which only sender, target and text matter.
fn draft(from: &str, to: &str, body: &str) -> Draft {
    let text = |text: &str| Some(text.to_owned());
    Draft { from: text(from), to: text(to), body: text(body), ..Draft::default() }
}
