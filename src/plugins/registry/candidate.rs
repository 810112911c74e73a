//! A candidate, as whoever loads it knows it.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::kinds::{Plugin, Rejection};
use super::super::package::{Fingerprint, RequestedGrants, Source, Terms};
use super::history::Progress;
use super::loader::Loader;
use super::slot::Ticket;

/// Something to be loaded. Dropped when nobody loads it any more and what followed from it is done.
pub(super) struct Candidate {
    pub(super) ticket: Ticket,
    pub(super) source: Source,
    pub(super) terms: Terms,
    pub(super) fingerprint: Fingerprint,
    pub(super) accepted: Option<RequestedGrants>,
    /// Whether an earlier generation is to be active if this one cannot be.
    pub(super) restores: bool,
    pub(super) progress: Arc<Progress>,
    pub(super) abandoned: CancellationToken,
    pub(super) _done: DropGuard,
}

impl Candidate {
    /// Takes it through every stage.
    pub(super) async fn build(&self, loader: &Loader) -> Result<Plugin, Rejection> {
        loader.build(&self.source, &self.terms, &self.fingerprint, self.accepted.as_ref(), &self.progress).await
    }
}
