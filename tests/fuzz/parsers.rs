//! Cursors and resume tokens: they come back as they left, and damaged ones are refused.

use crate::damage::damaged;
use crate::random::for_each_seed;
use crate::values::{cache, key, partition, time, topology};
use embergrid::service::token::{ResumePoint, ScanIdentity, ScanPlace};
use embergrid::types::message::WatchPosition;

#[test]
fn cursors_come_back_and_damaged_ones_are_refused() {
    for_each_seed("cursors", |_, random| {
        let prefix = random.bytes(6);
        let identity = ScanIdentity {
            cache: cache(random),
            prefix: &prefix,
            partition: random.maybe(partition),
        };
        let place = ScanPlace {
            partition: partition(random),
            after: key(random),
        };
        let cursor = identity.cursor(place.partition, &place.after);
        assert_eq!(identity.place(&cursor), Ok(place));
        let spoiled = damaged(random, cursor.clone());
        assert!(spoiled == cursor || identity.place(&spoiled).is_err());
    });
}

#[test]
fn resume_tokens_come_back_and_damaged_ones_are_refused() {
    for_each_seed("resume tokens", |_, random| {
        let topologies = [topology(random), topology(random)];
        let point = ResumePoint {
            cache: cache(random),
            created_at: time(random),
            positions: random.several(16, |random| WatchPosition {
                counter: random.number(),
                topology: random.pick(&topologies),
            }),
        };
        let partitions = u32::try_from(point.positions.len()).unwrap();
        let decode =
            |token: &[u8]| ResumePoint::decode(token, point.cache, point.created_at, partitions);
        let token = point.encode();
        assert_eq!(decode(&token).as_ref(), Ok(&point));
        let spoiled = damaged(random, token.clone());
        assert!(spoiled == token || decode(&spoiled).is_err());
    });
}
