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
use countersign_proto::ids::TenantId;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use super::{AddressRule, Askers};
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
/// Of these, on behalf of one organisation.
const LOOKUPS_OF_ONE: usize = 4;

/// The system's resolver, for names that devices and organisations choose: at most 32 lookups at once, and no waiting
/// for one.
///
/// The system's lookup cannot be cancelled: it holds a thread until the name's servers answer or the system gives up,
/// also when nobody waits for it any more. So it counts until it has really ended. Whoever asks for a name that is
/// being looked up gets that answer: neither a burst to one service nor a slow name takes more than one lookup. Nothing
/// is kept after it. Names that the operator chooses are not looked up here: a device's cannot keep them waiting.
/// Where it is known who asks, each has its share: one whose names are slow keeps no other waiting.
#[derive(Debug, Clone, Default)]
pub struct SystemResolver {
    lookups: Arc<Mutex<HashMap<String, Lookup>>>,
    /// `None`: nobody is told from anybody else.
    askers: Option<Askers>,
}

/// `None`: not yet.
type Answer = Option<Result<Vec<IpAddr>, io::ErrorKind>>;

/// A lookup under way.
#[derive(Debug, Clone)]
struct Lookup {
    answer: watch::Receiver<Answer>,
    /// In whose share it is.
    payer: Option<TenantId>,
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.ask(name, |name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())).await
    }
}

impl SystemResolver {
    /// One that looks a name up only for somebody who waits for it, in that one's share.
    pub(crate) fn shared(askers: Askers) -> Self {
        Self { askers: Some(askers), ..Self::default() }
    }

    /// Asks by `look_up`, which blocks, unless that is being done or too many names are.
    async fn ask(
        &self,
        name: &str,
        look_up: impl FnOnce(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> io::Result<Vec<IpAddr>> {
        let mut lookup = self.lookup(name, look_up)?;
        let answer = lookup.answer.wait_for(Option::is_some).await.map_err(io::Error::other)?;
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
        let has_room =
            |payer: &TenantId| lookups.values().filter(|lookup| lookup.payer == Some(*payer)).count() < LOOKUPS_OF_ONE;
        let payer = match &self.askers {
            None => None,
            Some(askers) => {
                let payer = askers.of(name).into_iter().find(has_room);
                Some(payer.ok_or_else(|| io::Error::other(ResolverBusy))?)
            }
        };
        let (answer, receiver) = watch::channel(None);
        let lookup = Lookup { answer: receiver, payer };
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

    fn tenant(number: usize) -> TenantId {
        format!("01890a5d-ac96-774b-bcce-{number:012x}").parse().unwrap()
    }

    #[tokio::test]
    async fn names_that_never_answer_use_up_the_share_of_their_own_organisation_only() {
        let askers = Askers::default();
        let resolver = SystemResolver::shared(askers.clone());
        let mut ends = Vec::new();
        let mut begin = async |name: String, number: usize| {
            let (end, ended) = mpsc::sync_channel::<()>(1);
            let hangs = move |_: &str| ended.recv().map(|()| Vec::new()).map_err(io::Error::other);
            ends.push(end);
            // Whoever sends gives up soon; its look-up goes on.
            let _asker = askers.begin(&name, tenant(number));
            tokio::time::timeout(Duration::from_millis(1), resolver.ask(&name, hangs)).await
        };
        for name in 0..LOOKUPS_OF_ONE {
            assert!(begin(format!("slow-{name}.example"), 1).await.is_err(), "it is looked up");
        }
        let refused = begin("slow-another.example".to_owned(), 1).await.unwrap();
        assert!(is_busy(&refused), "no more of its own");
        let _others = askers.begin("well.example", tenant(2));
        assert!(resolver.ask("well.example", |_| Ok(Vec::new())).await.is_ok(), "another's are looked up");
        // A name that both of them want is looked up in the share of the one who has room.
        let _both = [askers.begin("both.example", tenant(1)), askers.begin("both.example", tenant(2))];
        assert!(resolver.ask("both.example", |_| Ok(Vec::new())).await.is_ok());
        let nobodys = resolver.ask("nobodys.example", |_| Ok(Vec::new())).await;
        assert!(is_busy(&nobodys), "for nobody nothing is looked up");
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
