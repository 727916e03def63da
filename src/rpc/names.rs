//! Resolves host names, anew at each probe, at most once per host at a time.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long an answer is shared by probes of other ports of the same host.
const SHARED_FOR: Duration = Duration::from_millis(150);

/// The most addresses of one name that are dialled.
const ADDRESSES_MAX: usize = 16;

/// The most names that are remembered; the settings bound the address list far below.
const NAMES_MAX: usize = 4_096;

type Shared = Arc<tokio::sync::Mutex<Option<(Instant, Vec<IpAddr>)>>>;

/// What names resolve to now.
#[derive(Default)]
pub struct Names {
    hosts: Mutex<BTreeMap<String, Shared>>,
}

impl Names {
    /// The addresses of a host, within `limit`.
    ///
    /// # Errors
    ///
    /// Why the name has no address now.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let shared = self.shared(host);
        let addresses = timeout(limit, look_up(&shared, host))
            .await
            .map_err(|_| format!("{host} was not resolved within {limit:?}"))?
            .map_err(|error| format!("{host} does not resolve: {error}"))?;
        Ok(addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    fn shared(&self, host: &str) -> Shared {
        let mut hosts = self.hosts.lock();
        if hosts.len() >= NAMES_MAX && !hosts.contains_key(host) {
            hosts.clear();
        }
        Arc::clone(hosts.entry(host.to_owned()).or_default())
    }
}

async fn look_up(shared: &Shared, host: &str) -> std::io::Result<Vec<IpAddr>> {
    let mut known = shared.lock().await;
    if let Some((at, addresses)) = &*known
        && at.elapsed() < SHARED_FOR
    {
        return Ok(addresses.clone());
    }
    *known = None;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in tokio::net::lookup_host((host, 0)).await? {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    *known = Some((Instant::now(), addresses.clone()));
    Ok(addresses)
}

/// The host and the port of `host:port`; IPv6 in brackets.
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    Some((host, port.parse().ok()?))
}

/// `host:port`, with brackets around IPv6.
pub fn join_address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_and_join() {
        for (host, port) in [("example.org", 1), ("127.0.0.1", 47500), ("::1", 65535)] {
            assert_eq!(split_address(&join_address(host, port)), Some((host, port)));
        }
        assert_eq!(split_address("no port"), None);
        assert_eq!(split_address("host:70000"), None);
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up_and_an_unknown_name_is_told() {
        let names = Names::default();
        let limit = Duration::from_secs(5);
        let found = names.resolve("::1", 7, limit).await.expect("an address");
        assert_eq!(found, ["[::1]:7".parse().expect("an address")]);
        let error = names
            .resolve("no name at all", 7, limit)
            .await
            .expect_err("no such name");
        assert!(error.contains("no name at all"), "{error}");
    }
}
