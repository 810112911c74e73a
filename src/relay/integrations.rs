//! Integrations: taking what services outside send, and trying again what could not be read.

use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::id::DeliveryId;
use crate::domain::integration::{
    self, Delivery, DeliveryFilter, ID_HEADERS, IntegrationName, Integrations, KeptDelivery, Meaning, Source,
};
use crate::domain::message::{Sender, SenderKind};
use crate::domain::page::{Filling, Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::store::{StoreError, Taken};

/// By what an event was let in.
#[derive(Clone, Debug)]
pub enum Proof<'c> {
    /// Whoever sends it has this credential.
    Credential(&'c Caller),
    /// Whoever sends it knows the secret of the integration.
    Signature,
}

impl Relay {
    /// The integrations whose events are signed.
    pub fn integrations(&self) -> &Integrations {
        &self.settings.integrations
    }

    /// The place of the integration of this name whose secret signed this body, by the relay's clock. `header`
    /// answers a header that was sent once and is text.
    pub fn verify_event<'h>(&self, name: &str, header: impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Option<usize> {
        self.integrations().verify(name, header, body, self.store.now())
    }

    /// Takes an event: what it asks for is on disk once this is answered, unless its id came before. What cannot be
    /// read is refused, and kept.
    pub async fn take_event<'h>(
        &self,
        proof: Proof<'_>,
        name: &str,
        header: impl Fn(&str) -> Option<&'h str>,
        body: Vec<u8>,
    ) -> Result<Taken, Error> {
        let integration = IntegrationName::parse(name)?;
        let sender = match proof {
            Proof::Credential(caller) => {
                caller.require(scopes::SEND_EVENT)?;
                // Whoever has a token may send under any name that has no secret.
                Sender { r#as: SenderKind::Integration, verified: false, via: self.via(caller) }
            }
            Proof::Signature => Sender { r#as: SenderKind::Integration, verified: true, via: integration.to_string() },
        };
        let id = ID_HEADERS.iter().find_map(|name| Some((*name, header(name)?)));
        let id = id.map(|(name, id)| text::optional(name, Some(bare(id)), text::KEY_MAX)).transpose()?.flatten();
        let headers = integration::kept_headers(header);
        let delivery = Delivery { integration, id, sender, headers, body };
        let meaning = self.read_event(&delivery);
        readable(self.store.take_event(delivery, meaning, self.integrations().clone()).await)
    }

    /// Tries a delivery again that could not be read. Once it can be, it is kept no more.
    pub async fn retry_delivery(&self, caller: &Caller, name: &str, id: DeliveryId) -> Result<Taken, Error> {
        caller.require(scopes::RETRY_DELIVERY)?;
        let name = IntegrationName::parse(name)?;
        let meaning = self.read_event(&self.store.kept_delivery(id, name.clone()).await?);
        readable(self.store.retry_delivery(id, name, meaning, self.integrations().clone()).await)
    }

    /// What an event comes to. One whose task would be told where nobody may call is as good as one that nobody can read.
    fn read_event(&self, delivery: &Delivery) -> Meaning {
        match integration::read(delivery) {
            Meaning::Task(task) => match self.settings.callbacks_allow.check_callback(task.callback_url.as_deref()) {
                Ok(()) => Meaning::Task(task),
                Err(refusal) => Meaning::Unreadable(refusal.to_string()),
            },
            meaning => meaning,
        }
    }

    /// A page of the deliveries of an integration that could not be read, newest first.
    pub async fn list_deliveries(
        &self,
        caller: &Caller,
        filter: DeliveryFilter,
    ) -> Result<Page<KeptDelivery, DeliveryId>, Error> {
        caller.require(scopes::READ_INTEGRATIONS)?;
        Ok(self.store.kept_deliveries(filter).await?)
    }

    /// A page of integrations by name, after this one: those that are configured, and those that were heard from.
    pub async fn list_integrations(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: Limit,
    ) -> Result<Page<Source, String>, Error> {
        caller.require(scopes::READ_INTEGRATIONS)?;
        let mut sources = self.store.integrations().await?;
        for (name, scheme) in self.integrations().iter() {
            let known = sources.iter_mut().position(|source| source.name == name.as_str());
            let place = known.unwrap_or_else(|| {
                sources.push(Source::silent(name));
                sources.len() - 1
            });
            sources[place].configured = true;
            sources[place].scheme = Some(scheme.kind());
        }
        sources.sort_by(|one, other| one.name.cmp(&other.name));
        let mut page = Filling::new(limit);
        for source in sources.into_iter().filter(|source| after.is_none_or(|after| *source.name > *after)) {
            if page.take(source).is_break() {
                break;
            }
        }
        Ok(page.finish(|last| last.name.clone()))
    }
}

/// A structured-field string has quotes; most clients send the bare id.
fn bare(id: &str) -> String {
    id.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(id).to_owned()
}

/// What could not be read is refused; what is kept of it stays.
fn readable(taken: Result<Taken, StoreError>) -> Result<Taken, Error> {
    match taken? {
        Taken::Unreadable(delivery, reason) => Err(Refusal::Unreadable { reason, delivery }.into()),
        taken => Ok(taken),
    }
}
