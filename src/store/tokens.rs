//! Tokens: who holds them, making and ending them. Those of sessions come and go with their agent.

mod cache;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::control::commands;
use super::engine::{ToSql, stored};
use super::tx::{self, Tx};
use super::{Created, Idempotency, Json, Store, StoreError, activity};
use crate::domain::audit;
use crate::domain::caller::Caller;
use crate::domain::caller::token::{Token, TokenCard, TokenHash, TokenKind};
use crate::domain::control::command::CommandStatus;
use crate::domain::id::{AgentId, TokenId};
use crate::domain::page::{Filling, Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

pub(super) use self::cache::TokenCache;

/// A token with its place in the table.
pub(super) struct Numbered {
    id: TokenId,
    token: Token,
    created_at: Timestamp,
}

stored! { stored Token in tokens { name, hash, scopes, agent_id, kind, expires_at } }
stored! { stored Numbered in tokens { id, token as part Token, created_at } }
stored! {
    read TokenCard in tokens { id, name, scopes, agent_id, kind, expires_at, created_at }
    // Nobody knows it any more.
    beside { token: None, next: None }
}

/// Who has a token made.
#[derive(Clone, Debug)]
pub enum TokenMaker {
    /// An administrator, of any.
    Administrator,
    /// An orchestrator, for an agent that it was told to start: the one of this agent, or whichever was told.
    Orchestrator(Option<AgentId>),
}

impl Store {
    /// Whoever holds the token with this hash.
    pub async fn token_holder(&self, hash: TokenHash, loopback: bool) -> Result<Option<Caller>, StoreError> {
        let Some(mut found) = self.token(hash).await? else { return Ok(None) };
        if found.token.expires_at.is_none() {
            return Ok(Some(found.token.holder(found.id, loopback)));
        }
        // Time passes without a commit, so it is looked at each time.
        let moment = self.inner.clock.look();
        if moment.stepped_ms != self.inner.writer.followed_steps_ms() {
            // The clock was set. What had expired by then is ended first.
            self.write(|_| Ok(())).await?;
            let Some(still) = self.token(hash).await? else { return Ok(None) };
            found = still;
        }
        if found.token.is_good(moment.now) {
            return Ok(Some(found.token.holder(found.id, loopback)));
        }
        // What has expired has done so for good, whoever sets the clock back.
        let id = found.id;
        let ended = self.write(move |tx| expire_those(tx, "WHERE id = $1", &[&id])).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "an expired token could not be removed; it is refused all the same");
        }
        Ok(None)
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Arc<Numbered>>, StoreError> {
        match self.inner.tokens.look_up(&hash) {
            Ok(token) => Ok(Some(token)),
            Err(generation) => {
                let found: Option<Numbered> =
                    self.read(move |snapshot| snapshot.row("WHERE hash = $1", &[&hash])).await?;
                Ok(found.map(|token| self.inner.tokens.remember(token, generation)))
            }
        }
    }

    /// Whoever holds the latest token of this name, or that of the agent of this id.
    pub async fn token_holder_named(&self, name: String, loopback: bool) -> Result<Option<Caller>, StoreError> {
        let now = self.now();
        let latest = move |column| format!("WHERE {column} = $1 ORDER BY id DESC LIMIT 1");
        let found: Option<Numbered> = self
            .read(move |snapshot| {
                let of_name: Option<Numbered> = snapshot.row(&latest("name"), &[&name])?;
                let of_agent: Option<Numbered> = snapshot.row(&latest("agent_id"), &[&name])?;
                Ok([of_name, of_agent].into_iter().flatten().max_by_key(|found| found.id))
            })
            .await?;
        Ok(found.filter(|found| found.token.is_good(now)).map(|found| found.token.holder(found.id, loopback)))
    }

    /// What is cancelled with `root`, or by the commit that ends this token, and when it expires. None when it has
    /// ended.
    pub async fn watch_token(
        &self,
        id: TokenId,
        root: &CancellationToken,
    ) -> Result<Option<(CancellationToken, Option<Timestamp>)>, StoreError> {
        // Watched first: an end that comes before the read is seen by it, and one that comes after by the watch.
        let until = self.inner.tokens.end_of(id, root);
        let found = self.read(move |snapshot| snapshot.row::<TokenCard>("WHERE id = $1", &[&id])).await?;
        let Some(card) = found else {
            self.inner.tokens.end(&[id]);
            return Ok(None);
        };
        Ok(Some((until, card.expires_at)))
    }

    /// Stores a token and answers its card with `secret`, once. A repeat is answered without. `by` is who is said to
    /// have made it.
    pub async fn create_token(
        &self,
        token: Token,
        secret: String,
        maker: TokenMaker,
        by: String,
        key: Option<Idempotency>,
    ) -> Result<Created<TokenCard>, StoreError> {
        self.write(move |tx| {
            if let Some(key) = &key
                && let Some(earlier) = tx::earlier_answer(tx, key)?
            {
                return Ok(earlier);
            }
            if let TokenMaker::Orchestrator(orchestrator) = &maker {
                require_spawn(tx, &token.agent_id, orchestrator.as_ref())?;
            }
            if let Some(agent) = token.agent_id.as_ref().filter(|_| token.kind == TokenKind::Managed) {
                end_managed_of(tx, agent, "another was made in its place")?;
            }
            let mut numbered = Numbered { id: TokenId::default(), token, created_at: tx.now };
            numbered.id = tx.insert_numbered(&numbered)?.into();
            let card = card_of(numbered);
            activity::insert(tx, audit::token_created(&card, &by))?;
            if let Some(key) = &key {
                tx.bind(key, Some(&tx::json(&card.told_before())), None)?;
            }
            Ok(Created::new(Json::of(&TokenCard { token: Some(secret), ..card })))
        })
        .await
    }

    /// Tokens with a greater id than `after`, in the order in which they were made.
    pub async fn tokens(&self, after: TokenId, limit: Limit) -> Result<Page<TokenCard, TokenId>, StoreError> {
        self.read_page(move |snapshot| {
            let mut page = Filling::new(limit);
            snapshot.each("WHERE id > $1 ORDER BY id LIMIT $2", &[&after, &limit], |card| page.take(card))?;
            Ok(page.finish(|last: &TokenCard| last.id))
        })
        .await
    }

    /// Ends a token: it opens nothing once this is answered. `by` is who is said to have done it.
    pub async fn revoke_token(&self, id: TokenId, by: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            let ended = end(tx, "WHERE id = $1", &[&id])?;
            let card = ended.first().ok_or(Refusal::NotFound("token"))?;
            activity::insert(tx, audit::token_revoked(card, &by))?;
            Ok(())
        })
        .await
    }
}

fn card_of(numbered: Numbered) -> TokenCard {
    let Numbered { id, token, created_at } = numbered;
    let Token { name, scopes, agent_id, kind, expires_at, .. } = token;
    TokenCard { id, name, scopes, agent_id, kind, expires_at, created_at, token: None, next: None }
}

/// Who was told to start an agent, and what came of it.
struct Told {
    target: AgentId,
    status: CommandStatus,
}

stored! { read Told in commands { target, status } }

impl Told {
    fn may_come_up(&self) -> bool {
        use CommandStatus::{Accepted, Pending, Running, Succeeded};
        matches!(self.status, Pending | Accepted | Running | Succeeded)
    }
}

/// An orchestrator has tokens made for the agents that it was told to start, and for no others.
fn require_spawn(tx: &Tx<'_>, agent: &Option<AgentId>, orchestrator: Option<&AgentId>) -> Result<(), StoreError> {
    let told: Option<Told> = tx.row("WHERE agent_id = $1 ORDER BY id DESC LIMIT 1", &[agent])?;
    if let (Some(told), Some(agent)) = (told, agent)
        && orchestrator.is_none_or(|orchestrator| told.target == *orchestrator)
        && (told.may_come_up() || commands::runs(tx, &told.target, agent)? || commands::is_restarting(tx, agent)?)
    {
        return Ok(());
    }
    let text = "an orchestrator makes tokens for agents that it was told to start: agentId must be request.agentId of \
                a spawn command that is addressed to it";
    Err(Refusal::NotAllowed(text.to_owned()).into())
}

/// Stores the token of a session in place of those of its agent's earlier ones.
pub(super) fn replace(tx: &mut Tx<'_>, token: Token) -> Result<(), StoreError> {
    if let Some(agent) = &token.agent_id {
        end_session_of(tx, agent)?;
    }
    tx.insert_numbered(&Numbered { id: TokenId::default(), token, created_at: tx.now })?;
    tx.tokens_changed();
    Ok(())
}

/// Ends the tokens of an agent's session.
pub(super) fn end_session_of(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    end(tx, "WHERE agent_id = $1 AND kind = 'session'", &[agent]).map(drop)
}

/// Ends the tokens that an orchestrator had made for an agent.
pub(super) fn end_managed_of(tx: &mut Tx<'_>, agent: &AgentId, why: &str) -> Result<(), StoreError> {
    for card in end(tx, "WHERE agent_id = $1 AND kind = 'managed'", &[agent])? {
        activity::insert(tx, audit::token_ended(&card, why))?;
    }
    Ok(())
}

/// The same for one that this orchestrator, by its own agent, was told to start: what another lists is no matter.
pub(super) fn end_managed_by(tx: &mut Tx<'_>, orchestrator: &AgentId, agent: &AgentId) -> Result<(), StoreError> {
    let sql = "SELECT count(*) FROM commands WHERE agent_id = $1 AND target = $2";
    if tx.count(sql, &[agent, orchestrator])? > 0 {
        end_managed_of(tx, agent, "its orchestrator does not run its agent any more")?;
    }
    Ok(())
}

/// Ends what has expired at this moment, at most so many.
pub(super) fn expire(tx: &mut Tx<'_>, at: Timestamp, limit: i64) -> Result<(), StoreError> {
    expire_those(tx, "WHERE expires_at <= $1 LIMIT $2", &[&at, &limit])
}

/// Ends what had expired when the clock was set back by so much; a clock that was set forward is no matter here.
pub(super) fn expire_before_step(tx: &mut Tx<'_>, stepped_ms: i64) -> Result<(), StoreError> {
    if stepped_ms < 0 { expire(tx, tx.now - stepped_ms, i64::MAX) } else { Ok(()) }
}

fn expire_those(tx: &mut Tx<'_>, tail: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
    for card in end(tx, tail, values)? {
        activity::insert(tx, audit::token_expired(&card))?;
    }
    Ok(())
}

/// Removes the tokens that this end of a `SELECT` leaves, and has whoever listens with them told.
fn end(tx: &mut Tx<'_>, tail: &str, values: &[&dyn ToSql]) -> Result<Vec<TokenCard>, StoreError> {
    let ended: Vec<TokenCard> = tx.rows(tail, values)?;
    for card in &ended {
        tx.execute("DELETE FROM tokens WHERE id = $1", &[&card.id])?;
        tx.token_ended(card.id);
    }
    Ok(ended)
}
