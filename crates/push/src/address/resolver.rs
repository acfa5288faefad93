//! Resolving names under the address rule.
//!
//! Filters rather than refuses a whole name: a push service that answers with a private address besides its public
//! ones is still reached at the public ones, and at nothing else. With none left the connect fails.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use super::AddressRule;
use crate::destinations::lock;

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
/// also when nobody waits for it any more. So it counts until it has really ended. Whoever asks for a name that is
/// being looked up gets that answer: neither a burst to one service nor a slow name takes more than one lookup. Nothing
/// is kept after it. Names that the operator chooses are not looked up here: a device's cannot keep them waiting.
#[derive(Debug, Clone, Default)]
pub struct SystemResolver {
    lookups: Arc<Mutex<HashMap<String, Lookup>>>,
}

/// `None`: not yet.
type Answer = Option<Result<Vec<IpAddr>, io::ErrorKind>>;
type Lookup = watch::Receiver<Answer>;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.ask(name, |name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())).await
    }
}

impl SystemResolver {
    /// Asks by `look_up`, which blocks, unless that is being done or too many names are.
    async fn ask(
        &self,
        name: &str,
        look_up: impl FnOnce(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> io::Result<Vec<IpAddr>> {
        let mut lookup = self.lookup(name, look_up)?;
        let answer = lookup.wait_for(Option::is_some).await.map_err(io::Error::other)?;
        match answer.as_ref() {
            Some(Ok(found)) => Ok(found.clone()),
            Some(Err(kind)) => Err(io::Error::from(*kind)),
            None => Err(io::Error::from(io::ErrorKind::Other)),
        }
    }

    fn lookup(
        &self,
        name: &str,
        look_up: impl FnOnce(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> io::Result<Lookup> {
        let mut lookups = lock(&self.lookups);
        if let Some(lookup) = lookups.get(name) {
            return Ok(lookup.clone());
        }
        if lookups.len() >= LOOKUPS {
            return Err(io::Error::other(ResolverBusy));
        }
        let (answer, lookup) = watch::channel(None);
        lookups.insert(name.to_owned(), lookup.clone());
        let ended = Ended { lookups: Arc::clone(&self.lookups), name: name.to_owned() };
        tokio::task::spawn_blocking(move || {
            let found = look_up(&ended.name).map_err(|error| error.kind());
            // Whoever asks from now on asks anew.
            drop(ended);
            answer.send_replace(Some(found));
        });
        Ok(lookup)
    }
}

/// Takes a lookup off the list when its thread is done with it, whatever became of it.
struct Ended {
    lookups: Arc<Mutex<HashMap<String, Lookup>>>,
    name: String,
}

impl Drop for Ended {
    fn drop(&mut self) {
        lock(&self.lookups).remove(&self.name);
    }
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
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn is_busy(answer: &io::Result<Vec<IpAddr>>) -> bool {
        let cause = answer.as_ref().err().and_then(io::Error::get_ref);
        cause.is_some_and(|cause| cause.is::<ResolverBusy>())
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_counts_until_it_has_ended() {
        let resolver = SystemResolver::default();
        let mut ends = Vec::new();
        for number in 0..LOOKUPS {
            let (end, ended) = mpsc::sync_channel::<()>(1);
            let hangs = move |_: &str| ended.recv().map(|()| Vec::new()).map_err(io::Error::other);
            let name = number.to_string();
            let given_up = tokio::time::timeout(Duration::from_millis(1), resolver.ask(&name, hangs)).await;
            assert!(given_up.is_err());
            ends.push(end);
        }
        assert!(is_busy(&resolver.ask("another", |_| Ok(Vec::new())).await));
        // One that is being looked up takes no place more, and its answer is everybody's.
        let shared = resolver.ask("0", |_| panic!("asked already"));
        let (answer, ()) = tokio::join!(biased; shared, async { ends[0].send(()).unwrap() });
        assert_eq!(answer.unwrap(), Vec::<IpAddr>::new());
        assert!(resolver.ask("another", |_| Ok(Vec::new())).await.is_ok());
    }

    #[tokio::test]
    async fn a_lookup_that_fails_or_breaks_leaves_nothing_behind() {
        let resolver = SystemResolver::default();
        let failed = resolver.ask("a", |_| Err(io::Error::from(io::ErrorKind::TimedOut))).await;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let broken = tokio::time::timeout(DEADLINE, resolver.ask("a", |_| panic!("on purpose"))).await.unwrap();
        assert!(broken.is_err() && !is_busy(&broken));
        assert!(lock(&resolver.lookups).is_empty());
    }

    #[tokio::test]
    async fn names_are_looked_up_by_the_system() {
        let found = SystemResolver::default().resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    }
}
