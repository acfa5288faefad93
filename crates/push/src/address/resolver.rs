//! Resolving names under the address rule.
//!
//! Filters rather than refuses a whole name: a push service that answers with a private address besides its public
//! ones is still reached at the public ones, and at nothing else. With none left the connect fails.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::AddressRule;

/// Turns a name into addresses.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of `name`.
    ///
    /// # Errors
    /// If there are none or the question failed.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Names that are looked up at once. Whoever chooses a name chooses how long its servers take to answer.
const LOOKUPS: usize = 32;

/// The system's resolver, for names that devices choose: at most 32 lookups at once, and no waiting for one.
///
/// The system's lookup cannot be cancelled: it holds a thread until the name's servers answer or the system gives up,
/// also when nobody waits for it any more. So its permit is given back when the lookup has really ended. Names that the
/// operator chooses are not looked up here: a device's cannot keep them waiting.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        limited(&self.lookups, move || Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
            .await
    }
}

/// Does `work`, which blocks, unless too many do. The permit moves into the thread that works.
async fn limited<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = Arc::clone(permits).try_acquire_owned().map_err(|_| io::Error::other(ResolverBusy))?;
    let working = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(permit);
        result
    });
    working.await.map_err(io::Error::other)?
}

/// Too many names are being looked up. Nobody was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverBusy;

impl fmt::Display for ResolverBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many names are being looked up")
    }
}

impl std::error::Error for ResolverBusy {}

/// Every address of the name is refused. Names neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressForbidden;

impl fmt::Display for AddressForbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to no address that is allowed")
    }
}

impl std::error::Error for AddressForbidden {}

/// A resolver for `reqwest` that returns allowed addresses only. The connector uses nothing but what it returns, and
/// asks at each connect.
pub struct GuardedResolver {
    inner: Arc<dyn Resolver>,
    rule: Arc<AddressRule>,
}

impl GuardedResolver {
    /// Guards `inner` by `rule`.
    pub fn new(inner: Arc<dyn Resolver>, rule: Arc<AddressRule>) -> Self {
        Self { inner, rule }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (inner, rule) = (Arc::clone(&self.inner), Arc::clone(&self.rule));
        Box::pin(async move {
            let found = inner.resolve(name.as_str()).await?;
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|ip| rule.allows(*ip)).map(|ip| SocketAddr::new(ip, 0)).collect();
            if allowed.is_empty() {
                return Err(AddressForbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_counts_until_it_has_ended() {
        let permits = Arc::new(Semaphore::new(1));
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let given_up = tokio::time::timeout(
            std::time::Duration::from_millis(1),
            limited(&permits, move || ended.recv().map_err(io::Error::other)),
        );
        assert!(given_up.await.is_err());
        let refused = limited(&permits, || Ok(())).await.unwrap_err();
        assert!(refused.get_ref().is_some_and(|cause| cause.is::<ResolverBusy>()), "{refused:?}");
        end.send(()).unwrap();
        // Its thread gives the permit back.
        let permit = tokio::time::timeout(std::time::Duration::from_secs(20), permits.acquire());
        assert!(permit.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn names_are_looked_up_by_the_system() {
        let found = SystemResolver::default().resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    }
}
