//! Tokens: whose they are, remembered so that a request costs no read of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::stored;
use super::tx::Tx;
use super::{Store, StoreError};
use crate::domain::caller::Caller;
use crate::domain::caller::token::{Token, TokenHash};
use crate::domain::id::AgentId;
use crate::domain::time::Timestamp;

/// A token with its place in the table.
struct Numbered {
    id: i64,
    token: Token,
    created_at: Timestamp,
}

stored! { stored Token in tokens { name, hash, scopes, agent_id, expires_at } }
stored! { stored Numbered in tokens { id, token as part Token, created_at } }

impl Store {
    /// Whoever holds the token with this hash.
    pub async fn token_holder(&self, hash: TokenHash, loopback: bool) -> Result<Option<Caller>, StoreError> {
        let token = match self.inner.tokens.look_up(&hash) {
            Ok(token) => Some(token),
            Err(generation) => {
                let found: Option<Token> = self.read(move |snapshot| snapshot.row("WHERE hash = $1", &[&hash])).await?;
                found.map(|token| self.inner.tokens.remember(token, generation))
            }
        };
        // Time passes without a commit, so it is looked at each time.
        let good = token.filter(|token| token.is_good(self.now()));
        Ok(good.map(|token| token.holder(loopback)))
    }
}

impl Store {
    /// Whoever holds the latest token of this name, or that of the agent of this id.
    pub async fn token_holder_named(&self, name: String, loopback: bool) -> Result<Option<Caller>, StoreError> {
        let sql = "WHERE name = $1 OR agent_id = $1 ORDER BY id DESC LIMIT 1";
        let found: Option<Token> = self.read(move |snapshot| snapshot.row(sql, &[&name])).await?;
        Ok(found.filter(|token| token.is_good(Timestamp::now())).map(|token| token.holder(loopback)))
    }
}

/// Stores the token of an agent in place of its earlier ones.
pub(super) fn replace(tx: &mut Tx<'_>, token: Token) -> Result<(), StoreError> {
    if let Some(agent) = &token.agent_id {
        remove_of(tx, agent)?;
    }
    tx.insert_numbered(&Numbered { id: 0, token, created_at: tx.now })?;
    tx.tokens_changed();
    Ok(())
}

/// Removes the tokens of an agent.
pub(super) fn remove_of(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    if tx.execute("DELETE FROM tokens WHERE agent_id = $1", &[agent])? > 0 {
        tx.tokens_changed();
    }
    Ok(())
}

/// Tokens remembered: more than there are agents, and some hundred bytes each.
const TOKENS_MAX: usize = 4_096;

/// The tokens that were presented since the last change of any.
///
/// All of them are forgotten by each commit that changed tokens, before anybody is answered: a token that
/// was revoked works no more once whoever revoked it knows. Hashes that belong to no token are not
/// remembered, so a stranger who guesses fills no memory.
#[derive(Default)]
pub(super) struct TokenCache(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    tokens: HashMap<TokenHash, Arc<Token>>,
    /// Raised by every forgetting. What was read before one may be gone by now.
    generation: u64,
}

impl TokenCache {
    /// The token with this hash; or else the generation that [`Self::remember`] wants, to be taken before
    /// the database is read.
    fn look_up(&self, hash: &TokenHash) -> Result<Arc<Token>, u64> {
        let remembered = self.remembered();
        remembered.tokens.get(hash).cloned().ok_or(remembered.generation)
    }

    /// Remembers a token that was read after this generation was taken, unless tokens changed since.
    fn remember(&self, token: Token, generation: u64) -> Arc<Token> {
        let token = Arc::new(token);
        let mut remembered = self.remembered();
        if remembered.generation == generation {
            if remembered.tokens.len() >= TOKENS_MAX {
                remembered.tokens.clear();
            }
            remembered.tokens.insert(token.hash, token.clone());
        }
        token
    }

    /// Forgets everything, also what is being read just now.
    pub(super) fn forget(&self) {
        let mut remembered = self.remembered();
        remembered.generation += 1;
        remembered.tokens.clear();
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8) -> Token {
        Token { name: "t".to_owned(), hash: [byte; 32], scopes: Vec::new(), agent_id: None, expires_at: None }
    }

    #[test]
    fn what_was_read_before_a_forgetting_is_not_remembered_after_it() {
        let cache = TokenCache::default();
        let generation = cache.look_up(&[1; 32]).unwrap_err();
        cache.forget();
        cache.remember(token(1), generation);
        let generation = cache.look_up(&[1; 32]).expect_err("it may have been revoked meanwhile");
        cache.remember(token(1), generation);
        assert_eq!(*cache.look_up(&[1; 32]).unwrap(), token(1));
        cache.forget();
        assert!(cache.look_up(&[1; 32]).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = TokenCache::default();
        for number in 0..2 * TOKENS_MAX + 1 {
            let mut token = token(0);
            token.hash[..8].copy_from_slice(&number.to_le_bytes());
            cache.remember(token, 0);
            assert!(cache.remembered().tokens.len() <= TOKENS_MAX);
        }
    }
}
