//! The public messages: what clients send is understood as it was meant, or refused by name.

use crate::random::{Random, for_each_seed};
use crate::values::{change, condition, expiry, key, request_id, value};
use bytes::Bytes;
use embergrid::error::ErrorKind;
use embergrid::rpc::proto::{self, condition::Condition as SentCondition};
use embergrid::service::decode::{DURATION_SECONDS_MAX, SingleKey};
use embergrid::types::cache::partition_of;
use embergrid::types::{
    CacheSettings, Change, Condition, Expiry, KeyOperation, Operation, Request,
};
use prost_types::Duration;
use proto::modify_request::{Change as SentChange, Increment};

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// A put, and what it means.
fn put(random: &mut Random, settings: &CacheSettings) -> (proto::PutRequest, Request) {
    let (key, value, flags) = (key(random), value(random), random.small());
    let (expiry, condition) = (bounded(expiry(random)), condition(random));
    let (return_previous, request_id) = (random.coin(), random.maybe(request_id));
    let affinity_key = random.bytes(8);
    let placed_by = if affinity_key.is_empty() {
        key.as_slice()
    } else {
        &affinity_key
    };
    let partition = partition_of(placed_by, settings.partitions);
    let sent = proto::PutRequest {
        cache: settings.name.clone(),
        key: bytes(&key),
        value: bytes(&value),
        flags,
        expiry: sent_expiry(expiry),
        condition: sent_condition(&condition),
        return_previous,
        affinity_key: affinity_key.into(),
        transaction: String::new(),
        request_id: request_id.map_or_else(Bytes::new, |id| bytes(&id)),
    };
    let operation = KeyOperation::Put {
        value,
        flags,
        expiry,
        condition,
        return_previous,
    };
    let operation = Operation::Key { key, operation };
    (
        sent,
        Request {
            cache: settings.id(),
            partition,
            operation,
            request_id,
        },
    )
}

/// Durations as a client may name them.
fn bounded(expiry: Expiry) -> Expiry {
    let most = DURATION_SECONDS_MAX.unsigned_abs() * 1_000_000;
    let bound = |span: Option<u64>| span.map(|span| span.clamp(1, most));
    match expiry {
        Expiry::Set {
            time_to_live,
            time_to_idle,
        } => Expiry::Set {
            time_to_live: bound(time_to_live),
            time_to_idle: bound(time_to_idle),
        },
        other => other,
    }
}

fn sent_expiry(expiry: Expiry) -> Option<proto::Expiry> {
    let span = |micros: u64| Duration {
        seconds: i64::try_from(micros / 1_000_000).unwrap(),
        nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap(),
    };
    match expiry {
        Expiry::Default => None,
        Expiry::Keep => Some(proto::Expiry {
            keep: true,
            ..proto::Expiry::default()
        }),
        Expiry::Set {
            time_to_live,
            time_to_idle,
        } => Some(proto::Expiry {
            time_to_live: time_to_live.map(span),
            time_to_idle: time_to_idle.map(span),
            keep: false,
        }),
    }
}

fn sent_condition(condition: &Condition) -> Option<proto::Condition> {
    let condition = match condition {
        Condition::Any => return None,
        Condition::Absent => SentCondition::Absent(true),
        Condition::Present => SentCondition::Present(true),
        Condition::Version(version) => SentCondition::Version(*version),
        Condition::Value(value) => SentCondition::Value(bytes(value)),
    };
    Some(proto::Condition {
        condition: Some(condition),
    })
}

#[test]
fn a_put_means_what_it_says() {
    let settings = CacheSettings::named("c");
    for_each_seed("public puts", |_, random| {
        let (sent, meant) = put(random, &settings);
        assert_eq!(sent.request(&settings), Ok(meant));
    });
}

#[test]
fn a_modify_means_what_it_says() {
    let settings = CacheSettings::named("c");
    for_each_seed("public modifies", |_, random| {
        let (change, condition) = (change(random), condition(random));
        let sent = proto::ModifyRequest {
            cache: settings.name.clone(),
            key: Bytes::from_static(b"k"),
            change: Some(match &change {
                Change::Append(value) => SentChange::Append(bytes(value)),
                Change::Prepend(value) => SentChange::Prepend(bytes(value)),
                Change::Increment {
                    delta,
                    initial,
                    at_least_zero,
                    wrap,
                } => SentChange::Increment(Increment {
                    delta: *delta,
                    initial: *initial,
                    at_least_zero: *at_least_zero,
                    wrap: *wrap,
                }),
            }),
            condition: sent_condition(&condition),
            ..proto::ModifyRequest::default()
        };
        let operation = KeyOperation::Modify {
            change,
            expiry: Expiry::Default,
            condition,
        };
        let meant = Operation::Key {
            key: b"k"[..].into(),
            operation,
        };
        assert_eq!(sent.request(&settings).unwrap().operation, meant);
    });
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    type Spoil = fn(&mut proto::PutRequest);
    fn lives(put: &mut proto::PutRequest, seconds: i64, nanos: i32) {
        let time_to_live = Some(Duration { seconds, nanos });
        put.expiry = Some(proto::Expiry {
            time_to_live,
            ..proto::Expiry::default()
        });
    }
    let settings = CacheSettings::named("c");
    let good = || put(&mut Random::new(7), &settings).0;
    let spoiled: [(&str, Spoil); 13] = [
        ("empty key", |put| put.key = Bytes::new()),
        ("64 KiB key", |put| put.key = vec![0; 65_536].into()),
        ("one byte over the limit", |put| {
            put.value = vec![0; (1 << 20) + 1].into()
        }),
        ("long affinity key", |put| {
            put.affinity_key = vec![0; 65_536].into()
        }),
        ("short request id", |put| {
            put.request_id = vec![0; 15].into()
        }),
        ("denied condition", |put| {
            let condition = Some(SentCondition::Absent(false));
            put.condition = Some(proto::Condition { condition });
        }),
        ("zero", |put| lives(put, 0, 0)),
        ("less than a microsecond", |put| lives(put, 0, 999)),
        ("negative", |put| lives(put, -1, 0)),
        ("negative part", |put| lives(put, 1, -1)),
        ("beyond range", |put| {
            lives(put, DURATION_SECONDS_MAX, 1_000)
        }),
        ("far below zero", |put| lives(put, i64::MIN, -999_999_999)),
        ("least of all", |put| lives(put, i64::MIN, i32::MIN)),
    ];
    for (what, spoil) in spoiled {
        let mut sent = good();
        spoil(&mut sent);
        let error = sent.request(&settings).expect_err(what);
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{what}");
    }
    let mut largest = good();
    largest.key = vec![0; 65_535].into();
    largest.value = vec![0; 1 << 20].into();
    assert!(largest.request(&settings).is_ok());
    let mut empty = good();
    empty.value = Bytes::new();
    assert!(empty.request(&settings).is_ok());
}
