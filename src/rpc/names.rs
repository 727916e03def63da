//! Resolves host names, anew at each probe, at most once per host at a time.
//!
//! The system's resolver blocks, for minutes where name servers are silent, and cannot be stopped.
//! So each look-up has a thread of its own that outlives whoever asked; all who ask for the host
//! meanwhile share it, each with its own time limit. A name that hangs holds up no other.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long an answer is shared by probes of other ports of the same host.
const SHARED_FOR: Duration = Duration::from_millis(150);

/// The most addresses of one name that are dialled.
const ADDRESSES_MAX: usize = 16;

/// The most names that are remembered, and the most look-ups at a time: there are no more endpoints
/// in an address list.
const NAMES_MAX: usize = crate::config::addresses::ENDPOINTS_MAX;

/// The stack of a look-up's thread.
const STACK_BYTES: usize = 512 << 10;

/// Looks a host up; may block for as long as it likes.
pub type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// What a look-up came to, and when.
type Answer = Option<(Instant, Result<Vec<IpAddr>, String>)>;

/// What names resolve to now.
pub struct Names {
    resolver: Resolver,
    hosts: Mutex<BTreeMap<String, watch::Receiver<Answer>>>,
    running: Arc<AtomicUsize>,
}

/// By the system's resolver.
impl Default for Names {
    fn default() -> Self {
        Self::by(Arc::new(|host| {
            let found = (host, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        }))
    }
}

/// One look-up that runs.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Names {
    /// By a resolver of one's own.
    pub fn by(resolver: Resolver) -> Self {
        Self {
            resolver,
            hosts: Mutex::default(),
            running: Arc::default(),
        }
    }

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
        let mut look_up = self.look_up(host)?;
        let answer = timeout(limit, look_up.wait_for(Option::is_some)).await;
        let answer = answer.map_err(|_| format!("{host} was not resolved within {limit:?}"))?;
        let found = match answer.as_deref() {
            Ok(Some((_, found))) => found.clone()?,
            _ => return Err(format!("{host} does not resolve: the look-up broke off")),
        };
        let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, port));
        Ok(addresses.collect())
    }

    /// The same, for those who must wait without a runtime: blocks, for `limit` at most.
    ///
    /// # Errors
    ///
    /// Why the name has no address now.
    pub fn resolve_blocking(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![ip]);
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        self.spawn(host, move |found| {
            let _ = sender.send(found);
        })?;
        let late = |_| format!("{host} was not resolved within {limit:?}");
        receiver.recv_timeout(limit).map_err(late)?
    }

    /// The look-up of a host that is under way, that ended a moment ago, or that begins now.
    fn look_up(&self, host: &str) -> Result<watch::Receiver<Answer>, String> {
        let mut hosts = self.hosts.lock();
        if let Some(known) = hosts.get(host) {
            let ended = known.borrow().as_ref().map(|(at, _)| *at);
            let good = match ended {
                Some(at) => at.elapsed() < SHARED_FOR,
                // Where it broke off, nobody is left to answer.
                None => known.has_changed().is_ok(),
            };
            if good {
                return Ok(known.clone());
            }
        }
        if hosts.len() >= NAMES_MAX {
            hosts.retain(|_, known| known.borrow().is_none());
        }
        let (sender, receiver) = watch::channel(None);
        self.spawn(host, move |found| {
            let _ = sender.send(Some((Instant::now(), found)));
        })?;
        hosts.insert(host.to_owned(), receiver.clone());
        Ok(receiver)
    }

    /// Looks a host up on a thread of its own.
    fn spawn(
        &self,
        host: &str,
        tell: impl FnOnce(Result<Vec<IpAddr>, String>) + Send + 'static,
    ) -> Result<(), String> {
        let running = Running(Arc::clone(&self.running));
        if running.0.fetch_add(1, Ordering::Relaxed) >= NAMES_MAX {
            return Err(format!("{host} is not resolved: too many look-ups hang"));
        }
        let resolver = Arc::clone(&self.resolver);
        let name = host.to_owned();
        let spawned = std::thread::Builder::new()
            .name("name".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _running = running;
                let found = match resolver(&name) {
                    Ok(found) => Ok(distinct(found)),
                    Err(error) => Err(format!("{name} does not resolve: {error}")),
                };
                tell(found);
            });
        let failed = |error| format!("{host} is not resolved: no thread: {error}");
        spawned.map(drop).map_err(failed)
    }
}

fn distinct(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
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

    /// Names that hang until the sender goes; all others are at 127.0.0.1, and each look-up counts.
    fn hanging() -> (Names, Arc<AtomicUsize>, std::sync::mpsc::Sender<()>) {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = Mutex::new(ended);
        let looked_up = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looked_up);
        let names = Names::by(Arc::new(move |host| {
            counted.fetch_add(1, Ordering::SeqCst);
            if host.starts_with("hangs") {
                let _ = ended.lock().recv();
            }
            Ok(vec![[127, 0, 0, 1].into(); 2])
        }));
        (names, looked_up, end)
    }

    #[tokio::test]
    async fn names_that_hang_hold_up_no_other_and_are_looked_up_once() {
        let (names, looked_up, end) = hanging();
        let short = Duration::from_millis(1);
        for _ in 0..3 {
            for number in 0..40 {
                let host = format!("hangs-{number}");
                let error = names.resolve(&host, 7, short).await.expect_err("it hangs");
                assert!(error.contains("was not resolved within 1ms"), "{error}");
            }
        }
        let long = Duration::from_secs(60);
        let found = names.resolve("other", 7, long).await.expect("an address");
        assert_eq!(found, ["127.0.0.1:7".parse().expect("an address")]);
        // Whoever asks again shares the look-up that was abandoned.
        let mut asked = Box::pin(names.resolve("hangs-0", 7, long));
        tokio::select! {
            biased;
            _ = &mut asked => panic!("it hangs still"),
            () = std::future::ready(()) => {}
        }
        drop(end);
        assert_eq!(asked.await, Ok(found));
        while names.running.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(looked_up.load(Ordering::SeqCst), 41);
    }

    #[test]
    fn who_blocks_waits_no_longer_than_its_limit() {
        let (names, _, end) = hanging();
        let error = names.resolve_blocking("hangs", Duration::from_millis(1));
        let error = error.expect_err("it hangs");
        assert!(
            error.contains("hangs was not resolved within 1ms"),
            "{error}"
        );
        let found = names.resolve_blocking("other", Duration::from_secs(60));
        assert_eq!(found, Ok(vec![[127, 0, 0, 1].into()]));
        drop(end);
    }
}
