//! Names and the addresses behind them: whoever connects is given only those that may be called.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::domain::task::callback::address::{Allowed, Forbidden};

/// Names that are looked up at once, each on a thread of its own that cannot be ended.
const LOOKUPS_MAX: usize = 128;

/// Who knows the addresses of a name. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>);

impl Resolver {
    /// By this function.
    pub fn new(
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(look_up))
    }

    /// As this host resolves names.
    pub fn system() -> Self {
        let places = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self::new(move |name| {
            let places = places.clone();
            Box::pin(async move {
                let place = places.acquire_owned().await.map_err(io::Error::other)?;
                let looking = tokio::task::spawn_blocking(move || {
                    // Given back when the thread is done, which may be after nobody waits for it any more.
                    let _place = place;
                    Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
                });
                looking.await.map_err(io::Error::other)?
            })
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// Answers the addresses of a name that may be called. It is asked for every connection, and what it answers is what
/// is connected to.
pub(super) struct Checked {
    pub(super) resolver: Resolver,
    pub(super) allow: Allowed,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (looking, allow) = ((self.resolver.0)(name.as_str().to_owned()), self.allow.clone());
        Box::pin(async move { allowed(looking.await?, &allow) })
    }
}

fn allowed(addresses: Vec<IpAddr>, allow: &Allowed) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
    let mut refused: Option<Forbidden> = None;
    let mut good = Vec::with_capacity(addresses.len());
    for address in addresses {
        match allow.check(address) {
            // The port is that of the request.
            Ok(()) => good.push(SocketAddr::new(address, 0)),
            Err(forbidden) => refused = Some(forbidden),
        }
    }
    match refused {
        _ if !good.is_empty() => Ok(Box::new(good.into_iter())),
        Some(forbidden) => Err(forbidden.into()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_only_those_are_answered_that_may_be_called() {
        let of = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<Vec<IpAddr>>();
        let found = |list: &[&str]| {
            allowed(of(list), &Allowed::default()).map(|found| found.map(|address| address.ip()).collect::<Vec<_>>())
        };
        assert_eq!(found(&["10.0.0.1", "8.8.8.8", "::1"]).unwrap(), of(&["8.8.8.8"]));
        let none = found(&["10.0.0.1", "::ffff:127.0.0.1"]).unwrap_err();
        assert!(none.downcast_ref::<Forbidden>().is_some());
        let nothing = found(&[]).unwrap_err();
        assert!(nothing.downcast_ref::<Forbidden>().is_none(), "there may be one tomorrow");
    }
}
