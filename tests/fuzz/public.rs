//! The public messages: what clients send is understood or refused by name.

use crate::random::{Random, for_each_seed};
use crate::values::{change, condition, expiry, key, request_id, value, view_of_entry};
use bytes::Bytes;
use embergrid::error::ErrorKind;
use embergrid::rpc::codec::{call, entry, expiry as codec, limits};
use embergrid::rpc::proto::{self, modify_request::Change as SentChange};
use embergrid::types::{Change, ClusterTime, Expiry, KeyOperation};

fn put(random: &mut Random) -> proto::PutRequest {
    proto::PutRequest {
        cache: random.text(10),
        key: Bytes::copy_from_slice(&key(random)),
        value: Bytes::copy_from_slice(&value(random)),
        flags: random.small(),
        expiry: codec::encode(&bounded(expiry(random))),
        condition: codec::encode_condition(&condition(random)),
        return_previous: random.coin(),
        affinity_key: Bytes::from(random.bytes(8)),
        transaction: String::new(),
        request_id: random.maybe(request_id).map_or_else(Bytes::new, |id| id.to_vec().into()),
    }
}

/// Durations as a client may name them.
fn bounded(expiry: Expiry) -> Expiry {
    let bound = |span: Option<u64>| span.map(|span| span.clamp(1, limits::DURATION_MAX));
    match expiry {
        Expiry::Set { time_to_live, time_to_idle } => Expiry::Set {
            time_to_live: bound(time_to_live),
            time_to_idle: bound(time_to_idle),
        },
        other => other,
    }
}

#[test]
fn a_put_says_what_it_says() {
    for_each_seed("public puts", |_, random| {
        let sent = put(random);
        let call = call::put(&sent).unwrap();
        assert_eq!((call.cache.as_str(), call.key.as_ref()), (sent.cache.as_str(), &sent.key[..]));
        assert_eq!(call.affinity_key.is_some(), !sent.affinity_key.is_empty());
        assert_eq!(call.request_id.is_some(), !sent.request_id.is_empty());
        let KeyOperation::Put { value, flags, expiry, condition, return_previous } = call.operation
        else {
            panic!("not a put");
        };
        assert_eq!((value.as_ref(), flags), (&sent.value[..], sent.flags));
        assert_eq!(codec::encode(&expiry), sent.expiry);
        assert_eq!(codec::encode_condition(&condition), sent.condition);
        assert_eq!(return_previous, sent.return_previous);
    });
}

#[test]
fn a_modify_says_what_it_says() {
    for_each_seed("public modifies", |_, random| {
        let wanted = change(random);
        let bytes = |value: &[u8]| Bytes::copy_from_slice(value);
        let sent = proto::ModifyRequest {
            cache: "c".to_owned(),
            key: Bytes::from_static(b"k"),
            change: Some(match &wanted {
                Change::Append(value) => SentChange::Append(bytes(value)),
                Change::Prepend(value) => SentChange::Prepend(bytes(value)),
                Change::Increment { delta, initial, at_least_zero, wrap } => {
                    SentChange::Increment(proto::modify_request::Increment {
                        delta: *delta,
                        initial: *initial,
                        at_least_zero: *at_least_zero,
                        wrap: *wrap,
                    })
                }
            }),
            ..proto::ModifyRequest::default()
        };
        let KeyOperation::Modify { change, expiry, .. } = call::modify(&sent).unwrap().operation
        else {
            panic!("not a modify");
        };
        assert_eq!((change, expiry), (wanted, Expiry::Default));
    });
}

#[test]
fn entries_survive() {
    for_each_seed("public entries", |_, random| {
        let mut original = view_of_entry(random);
        let within = |point: ClusterTime| ClusterTime(point.0 % 253_402_300_800_000_000);
        original.created_at = within(original.created_at);
        original.last_access_at = within(original.last_access_at);
        original.expires_at = original.expires_at.map(within);
        original.idle_expires_at = original.idle_expires_at.map(within);
        assert_eq!(entry::decode(&entry::encode(&original)).unwrap(), original);
    });
}

#[test]
fn what_is_out_of_bounds_is_refused_by_name() {
    let good = || put(&mut Random::new(7));
    type Spoil = fn(&mut proto::PutRequest);
    let spoiled: [(&str, Spoil); 9] = [
        ("cache", |put| put.cache.clear()),
        ("cache", |put| put.cache = "c".repeat(256)),
        ("key", |put| put.key = Bytes::new()),
        ("key", |put| put.key = vec![0; 65_536].into()),
        ("value", |put| put.value = vec![0; limits::VALUE_BYTES_MAX + 1].into()),
        ("affinity_key", |put| put.affinity_key = vec![0; 65_536].into()),
        ("request_id", |put| put.request_id = vec![0; 15].into()),
        ("condition", |put| {
            let denied = proto::condition::Condition::Absent(false);
            put.condition = Some(proto::Condition { condition: Some(denied) });
        }),
        ("time_to_live", |put| {
            let zero = Some(prost_types::Duration::default());
            put.expiry = Some(proto::Expiry { time_to_live: zero, ..Default::default() });
        }),
    ];
    for (field, spoil) in spoiled {
        let mut sent = good();
        spoil(&mut sent);
        let error = call::put(&sent).expect_err(field);
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert!(error.context.contains(field), "{field}: {error}");
    }
    let mut largest = good();
    largest.key = vec![0; limits::KEY_BYTES_MAX].into();
    largest.value = vec![0; limits::VALUE_BYTES_MAX].into();
    assert!(call::put(&largest).is_ok());
    let mut later = good();
    later.transaction = "t".to_owned();
    assert_eq!(call::put(&later).expect_err("later").kind, ErrorKind::Unimplemented);
}
