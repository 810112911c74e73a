//! Channels: named streams that outside adapters carry in and out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::CHANNEL_MAX;
use crate::domain::page::{Limit, Query};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

words! {
    /// Which way messages of a channel are carried. It tells adapters and people; the relay takes messages either way.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Direction {
        /// From outside to agents.
        Inbound = "inbound",
        /// From agents to outside.
        Outbound = "outbound",
        /// Either way.
        Both = "both",
    }
}

/// A channel as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// At most 120 characters.
    pub name: String,
    /// Which way messages are carried.
    pub direction: Direction,
    /// How many messages of it are stored.
    pub messages: i64,
    /// How many agents are subscribed to it, by `meta.channels` or a tag `channel:NAME`.
    pub subscribers: i64,
    /// When the latest message came, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub last_message_at: Option<Timestamp>,
}

impl Channel {
    /// The target of messages to the channel of this name.
    pub fn target(name: &str) -> String {
        format!("{TARGET_PREFIX}{name}")
    }

    /// The name of the channel that is this target, if it is one.
    pub fn of_target(target: &str) -> Option<&str> {
        target.strip_prefix(TARGET_PREFIX)
    }
}

const TARGET_PREFIX: &str = "channel:";

/// A channel as a client declares it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ChannelDeclaration {
    /// At most 120 characters.
    #[schema(value_type = String, max_length = 120, pattern = r"\S")]
    pub name: Option<String>,
    /// Which way messages are carried: as it is when left out, and `both` for a new channel.
    #[schema(value_type = Option<Direction>)]
    pub direction: Option<String>,
}

impl ChannelDeclaration {
    /// Checks bounds and trims: the name, and the direction if one was said.
    pub fn parse(self) -> Result<(String, Option<Direction>), Refusal> {
        let name = text::required("name", self.name, CHANNEL_MAX)?;
        let direction = text::optional("direction", self.direction, text::WORD_MAX)?;
        let direction = direction.as_deref().map(|direction| Direction::named("direction", direction));
        Ok((name, direction.transpose()?))
    }
}

/// Which channels to list, by name.
#[derive(Clone, Debug, Default)]
pub struct ChannelFilter {
    /// Only those after this name: the next page.
    pub after: Option<String>,
    /// At most this many.
    pub limit: Limit,
}

impl ChannelFilter {
    /// The query of the page after this channel.
    pub fn page_after(&self, last: &str) -> Query {
        Query::default().with("limit", Some(self.limit)).with("after", Some(last))
    }
}
