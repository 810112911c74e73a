//! Tokens remembered, so that a request costs no read of its own; and who has to hear that one ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Numbered;
use crate::domain::caller::token::TokenHash;
use crate::domain::id::TokenId;

/// Tokens remembered: more than there are agents, and some hundred bytes each.
const TOKENS_MAX: usize = 4_096;

/// The tokens that were presented since the last change of any.
///
/// All of them are forgotten by each commit that changed tokens, before anybody is answered: a token that
/// was revoked works no more once whoever revoked it knows. Hashes that belong to no token are not
/// remembered, so a stranger who guesses fills no memory.
#[derive(Default)]
pub(in crate::store) struct TokenCache {
    remembered: Mutex<Remembered>,
    /// One for each token with which somebody listens, or has. A token that ended has none.
    ends: Mutex<HashMap<TokenId, CancellationToken>>,
}

#[derive(Default)]
struct Remembered {
    tokens: HashMap<TokenHash, Arc<Numbered>>,
    /// Raised by every forgetting. What was read before one may be gone by now.
    generation: u64,
}

impl TokenCache {
    /// The token with this hash; or else the generation that [`Self::remember`] wants, to be taken before
    /// the database is read.
    pub(super) fn look_up(&self, hash: &TokenHash) -> Result<Arc<Numbered>, u64> {
        let remembered = self.remembered();
        remembered.tokens.get(hash).cloned().ok_or(remembered.generation)
    }

    /// Remembers a token that was read after this generation was taken, unless tokens changed since.
    pub(super) fn remember(&self, token: Numbered, generation: u64) -> Arc<Numbered> {
        let token = Arc::new(token);
        let mut remembered = self.remembered();
        if remembered.generation == generation {
            if remembered.tokens.len() >= TOKENS_MAX {
                remembered.tokens.clear();
            }
            remembered.tokens.insert(token.token.hash, token.clone());
        }
        token
    }

    /// Forgets everything, also what is being read just now.
    pub(in crate::store) fn forget(&self) {
        let mut remembered = self.remembered();
        remembered.generation += 1;
        remembered.tokens.clear();
    }

    /// What is cancelled with `root`, or when this token ends.
    pub(super) fn end_of(&self, id: TokenId, root: &CancellationToken) -> CancellationToken {
        self.ends().entry(id).or_insert_with(|| root.child_token()).clone()
    }

    /// Tells whoever listens with these tokens that they ended.
    pub(in crate::store) fn end(&self, ended: &[TokenId]) {
        if ended.is_empty() {
            return;
        }
        let mut ends = self.ends();
        let ended: Vec<_> = ended.iter().filter_map(|id| ends.remove(id)).collect();
        drop(ends);
        for end in ended {
            end.cancel();
        }
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<TokenId, CancellationToken>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::token::{Token, TokenKind};
    use crate::domain::time::Timestamp;

    fn token(byte: u8) -> Numbered {
        let token = Token {
            name: "t".to_owned(),
            hash: [byte; 32],
            scopes: Vec::new(),
            agent_id: None,
            kind: TokenKind::Named,
            expires_at: None,
        };
        Numbered { id: TokenId::new(byte.into()), token, created_at: Timestamp::from_ms(1) }
    }

    #[test]
    fn what_was_read_before_a_forgetting_is_not_remembered_after_it() {
        let cache = TokenCache::default();
        let known = |cache: &TokenCache| cache.look_up(&[1; 32]).map(|token| token.id);
        let generation = known(&cache).unwrap_err();
        cache.forget();
        cache.remember(token(1), generation);
        let generation = known(&cache).expect_err("it may have been revoked meanwhile");
        cache.remember(token(1), generation);
        assert_eq!(known(&cache).unwrap(), 1);
        cache.forget();
        assert!(known(&cache).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = TokenCache::default();
        for number in 0..2 * TOKENS_MAX + 1 {
            let mut token = token(0);
            token.token.hash[..8].copy_from_slice(&number.to_le_bytes());
            cache.remember(token, 0);
            assert!(cache.remembered().tokens.len() <= TOKENS_MAX);
        }
    }

    #[test]
    fn an_end_is_told_to_those_of_the_token_alone() {
        let (cache, root) = (TokenCache::default(), CancellationToken::new());
        let (one, other) = (TokenId::new(1), TokenId::new(2));
        let (first, second, unharmed) =
            (cache.end_of(one, &root), cache.end_of(one, &root), cache.end_of(other, &root));
        cache.end(&[one]);
        assert!(first.is_cancelled() && second.is_cancelled() && !unharmed.is_cancelled() && !root.is_cancelled());
        assert_eq!(cache.ends().len(), 1);
        root.cancel();
        assert!(unharmed.is_cancelled());
    }
}
