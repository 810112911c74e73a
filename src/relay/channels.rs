//! Channels: named streams that outside adapters carry in and out.

use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::message::{Channel, ChannelDeclaration, ChannelFilter};
use crate::domain::page::Page;
use crate::store::{Created, Idempotency};

impl Relay {
    /// A page of channels, by name.
    pub async fn list_channels(&self, caller: &Caller, filter: ChannelFilter) -> Result<Page<Channel, String>, Error> {
        caller.require(scopes::READ_CHANNELS)?;
        Ok(self.store.channels(filter).await?)
    }

    /// Declares a channel, or says which way one that is there carries messages.
    pub async fn declare_channel(
        &self,
        caller: &Caller,
        declaration: ChannelDeclaration,
        key: Option<Idempotency>,
    ) -> Result<Created<Channel>, Error> {
        caller.require(scopes::DECLARE_CHANNEL)?;
        let (name, direction) = declaration.parse()?;
        Ok(self.store.declare_channel(name, direction, key).await?)
    }
}
