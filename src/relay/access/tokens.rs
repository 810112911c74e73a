//! Tokens: made by administrators, and by orchestrators for the agents that they start.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::super::{Error, Relay, scopes};
use super::fresh_secret;
use crate::domain::caller::token::{NewToken, TokenCard, TokenDraft, TokenKind};
use crate::domain::caller::{Caller, Scope};
use crate::domain::id::TokenId;
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::store::{Created, Idempotency, TokenMaker};

/// For how long a caller may go on listening.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Cancelled when its token ends, and when the relay begins to drain.
    pub until: CancellationToken,
    /// When its token expires, from now on.
    pub expires_in: Option<Duration>,
    /// Whether it has a token that may end at all.
    pub may_end: bool,
}

impl Admission {
    /// Whether its token has ended, as against the relay.
    pub fn has_ended(&self, draining: &CancellationToken) -> bool {
        self.until.is_cancelled() && !draining.is_cancelled()
    }
}

impl Relay {
    /// Makes a token. The answer has it, once; a repeat under the same key has not. An orchestrator makes some with
    /// the scope `agent`, for agents of spawn commands that are addressed to it.
    pub async fn create_token(
        &self,
        caller: &Caller,
        draft: TokenDraft,
        key: Option<Idempotency>,
    ) -> Result<Created<TokenCard>, Error> {
        caller.require(scopes::CREATE_TOKEN)?;
        let new = draft.parse(self.store.now())?;
        let (maker, kind) = if caller.is_administrator() {
            (TokenMaker::Administrator, TokenKind::Named)
        } else {
            check_managed(&new)?;
            (TokenMaker::Orchestrator(caller.agent_id.clone()), TokenKind::Managed)
        };
        let secret = fresh_secret("ar_").map_err(Error::internal)?;
        let token = new.stored(Sha256::digest(secret.as_bytes()).into(), kind);
        Ok(self.store.create_token(token, secret, maker, caller.principal().to_owned(), key).await?)
    }

    /// A page of tokens in the order in which they were made: those with a greater id than `after`.
    pub async fn list_tokens(
        &self,
        caller: &Caller,
        after: TokenId,
        limit: Limit,
    ) -> Result<Page<TokenCard, TokenId>, Error> {
        caller.require(scopes::SEE_TO_TOKENS)?;
        Ok(self.store.tokens(after, limit).await?)
    }

    /// Revokes a token: it opens nothing once this is answered, and what it has open ends.
    pub async fn revoke_token(&self, caller: &Caller, id: TokenId) -> Result<(), Error> {
        caller.require(scopes::SEE_TO_TOKENS)?;
        Ok(self.store.revoke_token(id, caller.principal().to_owned()).await?)
    }

    /// For how long this caller may listen. Refused when its token has ended since it was looked at.
    pub async fn admission(&self, caller: &Caller) -> Result<Admission, Error> {
        let Some(token) = caller.token else {
            return Ok(Admission { until: self.draining.clone(), expires_in: None, may_end: false });
        };
        let watched = self.store.watch_token(token, &self.draining).await?;
        let (until, expires_at) = watched.ok_or(Refusal::CredentialEnded)?;
        let left = expires_at.map(|at| u64::try_from(at - self.store.now()).unwrap_or(0));
        Ok(Admission { until, expires_in: left.map(Duration::from_millis), may_end: true })
    }
}

/// What an orchestrator may ask for. It names no administrator, whom a reader would believe.
fn check_managed(new: &NewToken) -> Result<(), Refusal> {
    let refused = |text: &str| Err(Refusal::NotAllowed(text.to_owned()));
    if new.scopes != [Scope::Agent] || new.agent_id.is_none() {
        return refused("an orchestrator makes tokens with the scopes [\"agent\"] and an agentId alone");
    }
    let names = [Caller::administrator(true).name, Caller::administrator(true).at_command_line().name];
    if names.iter().any(|name| new.name.eq_ignore_ascii_case(name)) {
        return refused("that name is an administrator's");
    }
    Ok(())
}
