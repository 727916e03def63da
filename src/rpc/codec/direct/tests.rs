//! Both ways, beside each other.

use super::*;
use crate::rpc::codec;
use crate::rpc::proto::PeerMessage;
use prost::Message as _;

fn topology(number: u64) -> TopologyVersion {
    TopologyVersion {
        number,
        coordinator: Member {
            id: NodeId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            incarnation: Incarnation(number * 3),
        },
    }
}

fn version(number: u64, counter: u64) -> EntryVersion {
    EntryVersion {
        topology: topology(number),
        counter,
    }
}

fn data(cache: i32, body: Body) -> Message {
    Message::Data(Data {
        cache: CacheId(cache),
        partition: 1_023,
        topology: topology(7),
        body,
    })
}

fn live(bytes: usize) -> Live {
    Live {
        value: Blob::from(vec![b'v'; bytes]),
        flags: 0,
        value_version: 5,
        expires_at: None,
        time_to_idle: Some(0),
        last_access: ClusterTime(1 << 50),
    }
}

fn update(counter: u64, live: Option<Live>) -> Update {
    Update {
        counter,
        topology: topology(counter % 3),
        effect: UpdateEffect::Set {
            key: Blob::from("session-1"),
            entry: Entry {
                incarnation: version(counter % 2, 9),
                version: version(1, 9 + counter / 2),
                created_at: ClusterTime(1 << 50),
                removed_by_key: live.is_none(),
                live,
            },
        },
        request: None,
    }
}

fn with_request(mut update: Update, reply: Reply) -> Update {
    let at = ClusterTime(1_764_000_000_000_000);
    update.request = Some((*b"sixteen bytes ID", RequestRecord { at, reply }));
    update
}

fn put(applied: bool, version: u64) -> Reply {
    Reply::Put {
        applied,
        version,
        previous: None,
    }
}

fn got(value: usize, ends: Option<u64>) -> Reply {
    Reply::Got {
        entry: Some(EntryView {
            key: Blob::from("ST-1"),
            value: Blob::from(vec![b't'; value]),
            flags: value as u32,
            version: 3,
            created_at: ClusterTime(1 << 50),
            last_access_at: ClusterTime(0),
            expires_at: ends.map(ClusterTime),
            idle_expires_at: ends.map(|at| ClusterTime(at / 2)),
        }),
    }
}

fn replicate(updates: Vec<Update>) -> Body {
    Body::Replicate(Replicate {
        stream: topology(3),
        committed: u64::MAX,
        updates,
    })
}

fn samples() -> Vec<Message> {
    let expires = Live {
        expires_at: Some(ClusterTime(u64::MAX)),
        flags: u32::MAX,
        time_to_idle: None,
        ..live(300)
    };
    let updates = vec![
        update(1, Some(live(0))),
        with_request(update(2, Some(expires)), put(true, 77)),
        with_request(update(3, Some(live(70_000))), put(false, 0)),
        update(4, None),
        with_request(update(5, None), got(300, Some(1 << 51))),
        with_request(update(6, Some(live(9))), got(0, None)),
        with_request(update(7, Some(live(9))), got(9, Some(0))),
    ];
    let ack = |stream, upto| Body::Ack { stream, upto };
    vec![
        data(-1, replicate(updates)),
        data(i32::MIN, replicate(Vec::new())),
        data(i32::MAX, ack(topology(1 << 40), 127)),
        data(0, ack(TopologyVersion::default(), 0)),
    ]
}

#[test]
fn the_bytes_are_those_of_the_general_way_in_both_directions() {
    for message in samples() {
        let mut out = Backwards::with_capacity(0);
        assert!(encode(&message, &mut out), "{message:?}");
        let general = codec::encode(&message).encode_to_vec();
        assert_eq!(out.written(), general, "{message:?}");
        assert_eq!(decode(&general).as_ref(), Some(&message));
        let read = PeerMessage::decode(general.as_slice()).map(codec::decode);
        assert_eq!(read, Ok(Ok(message)));
    }
}

#[test]
fn what_is_cut_off_or_otherwise_is_left_to_the_general_way() {
    for message in samples() {
        let bytes = codec::encode(&message).encode_to_vec();
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            assert_eq!(decode(&bytes[..cut]), None, "{cut} of {message:?}");
        }
        // A field that is not known.
        let unknown = [bytes.as_slice(), &[0xf8, 0x7f, 0x01]].concat();
        assert_eq!(decode(&unknown), None);
    }
    let other = with_request(update(1, None), Reply::Touched { applied: true });
    let mut out = Backwards::with_capacity(0);
    for message in [
        data(1, replicate(vec![other])),
        data(1, Body::AskTail),
        data(1, Body::Stale),
    ] {
        assert!(!encode(&message, &mut out));
        assert!(out.written().is_empty());
        assert_eq!(decode(&codec::encode(&message).encode_to_vec()), None);
    }
}

#[test]
fn what_any_byte_may_be_changed_to_is_read_alike() {
    for message in samples() {
        let bytes = codec::encode(&message).encode_to_vec();
        for place in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            for change in [1, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[place] ^= change;
                let Some(direct) = decode(&bytes) else {
                    continue;
                };
                let read = PeerMessage::decode(bytes.as_slice()).map(codec::decode);
                assert_eq!(read, Ok(Ok(direct)), "{place} ^ {change}");
            }
        }
    }
}

#[test]
fn bounds_are_those_of_the_general_way() {
    let Message::Data(mut sent) = data(
        1,
        Body::Ack {
            stream: topology(1),
            upto: 1,
        },
    ) else {
        unreachable!("built so");
    };
    sent.partition = PARTITIONS_MAX;
    let bytes = codec::encode(&Message::Data(sent)).encode_to_vec();
    assert_eq!(decode(&bytes), None);
}
