//! Tokens: what each credential may do. Only their hashes are kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::agent::imitation::{imitates_one_of, refuse_imitation};
use crate::domain::agent::refuse_reserved;
use crate::domain::caller::{Caller, Scope};
use crate::domain::id::{AgentId, TokenId};
use crate::domain::message::Sender;
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

/// The most scopes one token is given: all there are.
pub const SCOPES_MAX: usize = Scope::ALL.len();

/// What [`Sender::via`] says of those who have no such token: no token is called so, or so that a reader takes it for one.
const RESERVED_NAMES: [&str; 4] = [Sender::ADMIN, Sender::LOOPBACK, Sender::RELAY, Sender::UNKNOWN];

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

words! {
    /// What a token lives as long as.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum TokenKind {
        /// Nothing: until it is revoked or expires.
        Named = "named",
        /// The session of its agent on the relay's own host.
        Session = "session",
        /// Its agent, which an orchestrator runs.
        Managed = "managed",
    }
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What is recorded for its holder.
    pub name: String,
    /// Its hash; the look-up is by it, so its timing tells nothing about the token.
    pub hash: TokenHash,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The agent it is bound to.
    pub agent_id: Option<AgentId>,
    /// What it lives as long as.
    pub kind: TokenKind,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it works at this moment.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    /// Whoever presents it, stored under this id.
    pub fn holder(&self, id: TokenId, loopback: bool) -> Caller {
        Caller {
            name: self.name.clone(),
            agent_id: self.agent_id.clone(),
            scopes: self.scopes.clone(),
            loopback,
            token: Some(id),
        }
    }
}

/// A token as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenCard {
    /// Never given to another.
    #[schema(value_type = i64)]
    pub id: TokenId,
    /// What is recorded for its holder.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The agent it is bound to, and can only act as.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent_id: Option<AgentId>,
    /// What it lives as long as.
    pub kind: TokenKind,
    /// When it stops working, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub expires_at: Option<Timestamp>,
    /// When it was made, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// The token itself: told once, to whoever makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What to do now, when it was told before and nobody knows it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl TokenCard {
    /// What a repeat of the request that made it is answered: a token is told once.
    #[must_use]
    pub fn told_before(&self) -> Self {
        let id = self.id;
        let next = format!(
            "The token was told once and is kept only as a hash. If nobody has it, revoke it with DELETE \
             /api/tokens/{id} and make another with a new key."
        );
        Self { token: None, next: Some(next), ..self.clone() }
    }
}

/// A token that is asked for. A misspelt member must not make one that is bound to nobody, or that never expires.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenDraft {
    /// What is recorded for its holder.
    #[schema(value_type = String, max_length = 120, pattern = r"\S")]
    pub name: Option<String>,
    /// What it may do; at least one.
    #[schema(value_type = Vec<Scope>, min_items = 1, max_items = 8)]
    pub scopes: Option<Vec<String>>,
    /// The agent it is bound to, and can only act as; `orchestrator-ID` for an orchestrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 240)]
    pub agent_id: Option<String>,
    /// When it stops working, in milliseconds since the epoch; must lie in the future.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// A token within its bounds, still without a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What is recorded for its holder.
    pub name: String,
    /// What it may do: at least one, each once.
    pub scopes: Vec<Scope>,
    /// The agent it is bound to; not one that belongs to the relay.
    pub agent_id: Option<AgentId>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

impl TokenDraft {
    /// Checks bounds and trims.
    pub fn parse(self, now: Timestamp) -> Result<NewToken, Refusal> {
        let name = text::required("name", self.name, text::WORD_MAX)?;
        if imitates_one_of(&name, &RESERVED_NAMES) {
            let names = RESERVED_NAMES.join(", ");
            return Err(Refusal::invalid(format!(
                "name must not be or look like one of: {names}; by these the relay says how a sender is known"
            )));
        }
        let asked = self.scopes.unwrap_or_default();
        if asked.len() > SCOPES_MAX {
            return Err(Refusal::invalid(format!("scopes must have at most {SCOPES_MAX} entries")));
        }
        let mut scopes = Vec::with_capacity(asked.len());
        for scope in &asked {
            let scope = Scope::named("scopes", scope.trim())?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        if scopes.is_empty() {
            return Err(Refusal::invalid("scopes required"));
        }
        refuse_imitation(self.agent_id.as_deref())?;
        let agent_id = AgentId::optional("agentId", self.agent_id)?;
        if let Some(agent) = &agent_id {
            refuse_reserved(agent)?;
        }
        let expires_at = self.expires_at.map(Timestamp::from_ms);
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::invalid("expiresAt must lie in the future"));
        }
        Ok(NewToken { name, scopes, agent_id, expires_at })
    }
}

impl NewToken {
    /// The token with this hash.
    pub fn stored(self, hash: TokenHash, kind: TokenKind) -> Token {
        let Self { name, scopes, agent_id, expires_at } = self;
        Token { name, hash, scopes, agent_id, kind, expires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<NewToken, String> {
        let draft: TokenDraft = serde_json::from_str(json).map_err(|error| error.to_string())?;
        draft.parse(Timestamp::from_ms(1_000)).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_token_says_what_it_opens_and_for_how_long() {
        let token = parse(r#"{"name": " ci ", "scopes": ["send", "send", "read"], "expiresAt": 1001}"#).unwrap();
        assert_eq!((token.name.as_str(), token.scopes.as_slice()), ("ci", [Scope::Send, Scope::Read].as_slice()));
        for (wrong, problem) in [
            (r#"{"scopes": ["send"]}"#, "name required"),
            (r#"{"name": "n"}"#, "scopes required"),
            (r#"{"name": "n", "scopes": []}"#, "scopes required"),
            (r#"{"name": "n", "scopes": ["sned"]}"#, "scopes must be one of: admin, read, send, agent"),
            (r#"{"name": "n", "scopes": ["send"], "expiresAt": 1000}"#, "expiresAt must lie in the future"),
            (r#"{"name": "n", "scopes": ["agent"], "agentId": "system"}"#, "id \"system\" is reserved"),
            (r#"{"name": "n", "scopes": ["agent"], "agentId": "UsEr"}"#, "id \"UsEr\" is reserved"),
            (
                r#"{"name": "admin", "scopes": ["send"]}"#,
                "name must not be or look like one of: admin, loopback, relay",
            ),
            (r#"{"name": " Loopback ", "scopes": ["send"]}"#, "name must not be or look like"),
            (r#"{"name": "r\u0435lay", "scopes": ["send"]}"#, "name must not be or look like"),
            (r#"{"name": "UNKNOWN", "scopes": ["send"]}"#, "name must not be or look like"),
            (r#"{"name": "n", "scopes": ["agent"], "agentid": "a"}"#, "unknown field `agentid`"),
        ] {
            let refused = parse(wrong).unwrap_err();
            assert!(refused.starts_with(problem), "{wrong}: {refused}");
        }
    }
}
