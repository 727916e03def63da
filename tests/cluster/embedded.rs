//! A node that is embedded in a program: what its caches refuse, and a cache that is made anew with other
//! settings.

use crate::rig::{Authorities, TestNode, listeners, settings, wait_until};
use embergrid::error::{Error, ErrorKind};
use embergrid::types::{AtomicityMode, CacheSettings, Condition, Execute, KeyPlace};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const CACHE: &str = "sessions";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn cache(partitions: u32) -> CacheSettings {
    CacheSettings {
        partitions,
        entry_bytes_max: 16,
        atomicity: AtomicityMode::Transactional,
        ..CacheSettings::named(CACHE)
    }
}

fn started(authorities: &Authorities) -> TestNode {
    let (mut ports, list) = listeners(1);
    let mut settings = settings(&list, authorities.node("node"));
    settings.caches = vec![cache(16)];
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    wait_until("it serves", || node.handle().serving());
    node
}

#[test]
fn what_no_other_node_would_take_is_refused_where_it_comes_in() {
    let authorities = Authorities::new("authority");
    let node = started(&authorities);
    let handle = node.handle();
    let sessions = handle.cache(CACHE).expect("it is there");
    let runtime = Runtime::new().expect("a runtime");
    let refused = |error: Error| (error.kind, error.reason.into_owned());
    let invalid = |reason: &str| (ErrorKind::InvalidArgument, reason.to_owned());
    for key in [&[][..], &[1; 65_536]] {
        let put = runtime.block_on(sessions.put(key, b"value"));
        assert_eq!(refused(put.expect_err("no key")), invalid("KEY_LENGTH"));
        let got = runtime.block_on(sessions.get(key));
        assert_eq!(refused(got.expect_err("no key")), invalid("KEY_LENGTH"));
        let place = KeyPlace {
            cache: cache(16).id(),
            partition: 0,
            key: key.into(),
        };
        let execute = Execute {
            conditions: vec![(place, Condition::Any)],
            ..Execute::default()
        };
        let executed = runtime.block_on(handle.transact(execute, None, soon()));
        assert_eq!(
            refused(executed.expect_err("no key")),
            invalid("KEY_LENGTH")
        );
    }
    let put = runtime.block_on(sessions.put(b"k", &[0; 17]));
    assert_eq!(
        refused(put.expect_err("too long")),
        invalid("VALUE_TOO_LARGE")
    );
    let terms = (Duration::MAX, 1_000_000);
    let lock = runtime.block_on(handle.lock(b"lock", terms, None, soon()));
    assert_eq!(
        refused(lock.expect_err("no such wait")),
        invalid("BAD_WAIT")
    );
    let put = runtime.block_on(sessions.put(&[1; 65_535], b"value"));
    put.expect("the longest key is one");
}

#[test]
fn a_cache_that_is_made_anew_in_other_partitions_is_read_in_those() {
    let authorities = Authorities::new("authority");
    let node = started(&authorities);
    let handle = node.handle();
    let runtime = Runtime::new().expect("a runtime");
    let old = handle.cache(CACHE).expect("it is there");
    for partitions in [64, 4] {
        let dropped = runtime.block_on(handle.drop_cache(CACHE, soon()));
        dropped.expect("it goes");
        let gone = runtime.block_on(old.put(b"k", b"v"));
        assert_eq!(gone.expect_err("no cache").kind, ErrorKind::NotFound);
        let made = runtime.block_on(handle.create_cache(cache(partitions), soon()));
        made.expect("it is made");
        let new = handle.cache(CACHE).expect("it is there");
        for number in 0..64u8 {
            let key = [number];
            runtime.block_on(old.put(&key, b"old")).expect("stored");
            let read = runtime.block_on(new.get(&key)).expect("an answer");
            assert!(read.is_some_and(|entry| &*entry.value == b"old"));
            runtime.block_on(new.put(&key, b"new")).expect("stored");
            let read = runtime.block_on(old.get(&key)).expect("an answer");
            assert!(read.is_some_and(|entry| &*entry.value == b"new"));
        }
    }
}
