//! Resolving names under the address rule.
//!
//! Filters rather than refuses a whole name: a push service that answers with a private address besides its public
//! ones is still reached at the public ones, and at nothing else. With none left the connect fails.

use std::{fmt, io, net::IpAddr, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

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

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

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
