//! Partitions that lost all of their owners, on real nodes, where `partition-loss = reset`: refused
//! first, empty after a while, counted; what others own is not touched.

use crate::rig::{Authorities, TestNode, listeners, settings, wait_until};
use embergrid::config::Settings;
use embergrid::types::{CacheMode, CacheSettings, PartitionLoss};
use std::time::Duration;
use tokio::runtime::Runtime;

const CACHE: &str = "kept";
const KEYS: usize = 64;

/// A cache with one copy of everything, whose lost partitions begin anew after six seconds.
fn resetting(settings: Settings) -> Settings {
    let mut settings = settings;
    settings.discovery.network_timeout = Duration::from_secs(3);
    settings.caches = vec![CacheSettings {
        mode: CacheMode::Partitioned,
        backups: 0,
        partition_loss: PartitionLoss::Reset,
        partitions: 16,
        ..CacheSettings::named(CACHE)
    }];
    settings
}

fn key(number: usize) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

#[test]
fn what_is_lost_is_refused_and_begins_anew_after_a_while() {
    let authorities = Authorities::new("authority");
    let (mut sockets, list) = listeners(2);
    let second_socket = sockets.pop().expect("two sockets");
    let made = |name: &str| resetting(settings(&list, authorities.node(name)));
    let first = TestNode::start(&made("first"), sockets.remove(0)).expect("it starts");
    let mut second = TestNode::start(&made("second"), second_socket).expect("it starts");
    wait_until("both own half of the partitions", || {
        let view = first.handle().view();
        let cache = view.cache_named(CACHE);
        let settled = |place| {
            cache.is_some_and(|cache| {
                let table = &cache.table;
                let still = table.iter().all(|owners| owners.loading.is_empty());
                still && table.iter().any(|owners| owners.owners == [place])
            })
        };
        view.nodes.len() == 2 && settled(0) && settled(1)
    });
    let runtime = Runtime::new().expect("a runtime");
    let cache = first.handle().cache(CACHE).expect("it is there");
    for number in 0..KEYS {
        let stored = runtime.block_on(cache.put(&key(number), b"value"));
        stored.expect("it is stored");
    }
    second.kill();
    // They are counted one by one before the view is shown.
    wait_until("its partitions are lost", || {
        first.handle().view().nodes.len() == 1 && first.handle().stats().partitions_lost > 0
    });
    let lost = first.handle().stats().partitions_lost;
    let mut refused = 0;
    for number in 0..KEYS {
        match runtime.block_on(cache.get(&key(number))) {
            Ok(found) => assert!(found.is_some(), "a miss in place of what is lost"),
            Err(error) => {
                assert_eq!(&*error.reason, "PARTITION_LOST", "{error}");
                refused += 1;
            }
        }
    }
    assert!((1..KEYS).contains(&refused), "{refused} of {KEYS} are lost");

    wait_until("they begin anew", || {
        first.handle().stats().partitions_reset > 0
    });
    assert_eq!(first.handle().stats().partitions_reset, lost);
    let mut kept = 0;
    for number in 0..KEYS {
        let found = runtime.block_on(cache.get(&key(number)));
        kept += usize::from(found.expect("it is answered").is_some());
    }
    assert_eq!(kept + refused, KEYS, "what others own is not touched");
    for number in 0..KEYS {
        let stored = runtime.block_on(cache.put(&key(number), b"again"));
        stored.expect("it is stored");
    }
}
