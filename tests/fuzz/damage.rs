//! Bytes that are cut off, flipped, spliced or made up: each decodes to something or to an error.

use crate::messages::{hello, message};
use crate::random::{Random, for_each_seed};
use bytes::Bytes;
use embergrid::error::Result;
use embergrid::rpc::{codec, proto, status};
use embergrid::service::decode::SingleKey as _;
use embergrid::types::CacheSettings;
use prost::Message;
use std::cell::Cell;

/// Damages bytes in one to four places.
pub fn damaged(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.pick(&[0, 0, 0, 3]) {
        if bytes.is_empty() {
            return random.bytes(30);
        }
        let at = random.place(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.pick(&[0x00, 0x7f, 0x80, 0xff]),
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, random.next().to_le_bytes()[0]),
            _ => {
                let piece = bytes[at..(at + 8).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// How many inputs were understood, how many refused by us, and how many were no protobuf at all.
#[derive(Default)]
struct Tally {
    understood: Cell<u64>,
    refused: Cell<u64>,
    malformed: Cell<u64>,
}

impl Tally {
    fn decode<M: Message + Default, T>(&self, bytes: &[u8], decode: impl FnOnce(M) -> Result<T>) {
        let count = match M::decode(bytes).map(decode) {
            Ok(Ok(_)) => &self.understood,
            Ok(Err(error)) => {
                assert!(!error.context.is_empty());
                &self.refused
            }
            Err(_) => &self.malformed,
        };
        count.set(count.get() + 1);
    }

    fn told(&self, name: &str) {
        let [understood, refused, malformed] =
            [&self.understood, &self.refused, &self.malformed].map(Cell::get);
        println!("{name}: {understood} understood, {refused} refused, {malformed} malformed");
    }
}

#[test]
fn damaged_messages_between_nodes_do_no_harm() {
    let tally = Tally::default();
    for_each_seed("damaged messages", |_, random| {
        let bytes = codec::encode(&message(random)).encode_to_vec();
        let bytes = damaged(random, bytes);
        tally.decode(&bytes, codec::decode);
        if let Some(read) = codec::direct::decode(&bytes) {
            let general = proto::PeerMessage::decode(bytes.as_slice()).map(codec::decode);
            assert_eq!(general, Ok(Ok(read)));
        }
        let bytes = codec::hello::encode(&hello(random)).encode_to_vec();
        tally.decode(&damaged(random, bytes), codec::hello::decode);
    });
    tally.told("damaged messages");
}

#[test]
fn what_survives_damage_is_encoded_again_as_it_was_understood() {
    for_each_seed("messages encoded again", |_, random| {
        let bytes = codec::encode(&message(random)).encode_to_vec();
        let bytes = damaged(random, bytes);
        let Ok(sent) = proto::PeerMessage::decode(bytes.as_slice()) else {
            return;
        };
        let Ok(understood) = codec::decode(sent) else {
            return;
        };
        assert_eq!(
            codec::decode(codec::encode(&understood)).as_ref(),
            Ok(&understood)
        );
    });
}

#[test]
fn made_up_bytes_do_no_harm() {
    let tally = Tally::default();
    for_each_seed("made-up bytes", |_, random| {
        let bytes = random.bytes(80);
        tally.decode(&bytes, codec::decode);
        tally.decode(&bytes, codec::hello::decode);
        public(&tally, &bytes);
    });
    tally.told("made-up bytes");
}

#[test]
fn damaged_calls_of_clients_do_no_harm() {
    let tally = Tally::default();
    for_each_seed("damaged calls", |_, random| {
        let sent = proto::PutRequest {
            cache: random.text(4),
            key: Bytes::from(random.bytes(12)),
            value: Bytes::from(random.bytes(12)),
            flags: random.small(),
            expiry: random.maybe(|random| proto::Expiry {
                time_to_live: random.maybe(duration),
                time_to_idle: random.maybe(duration),
                keep: random.coin(),
            }),
            condition: random.maybe(|random| proto::Condition {
                condition: random.maybe(|random| {
                    proto::condition::Condition::Value(Bytes::from(random.bytes(12)))
                }),
            }),
            request_id: Bytes::from(random.bytes(16)),
            ..proto::PutRequest::default()
        };
        public(&tally, &damaged(random, sent.encode_to_vec()));
    });
    tally.told("damaged calls");
}

fn duration(random: &mut Random) -> prost_types::Duration {
    let nanos = random.small().cast_signed();
    prost_types::Duration {
        seconds: random.number().cast_signed(),
        nanos,
    }
}

/// The bytes as every message of a client that asks for something of one key.
fn public(tally: &Tally, bytes: &[u8]) {
    let settings = CacheSettings::named("c");
    tally.decode(bytes, |sent: proto::GetRequest| sent.request(&settings));
    tally.decode(bytes, |sent: proto::PutRequest| sent.request(&settings));
    tally.decode(bytes, |sent: proto::RemoveRequest| sent.request(&settings));
    tally.decode(bytes, |sent: proto::TouchRequest| sent.request(&settings));
    tally.decode(bytes, |sent: proto::ModifyRequest| sent.request(&settings));
}

#[test]
fn damaged_details_of_a_status_do_no_harm() {
    for_each_seed("damaged statuses", |_, random| {
        let whole = status::to_status(&crate::values::error(random));
        let details = damaged(random, whole.details().to_vec());
        let code = tonic::Code::from_i32(random.small().cast_signed() % 20);
        let sent = tonic::Status::with_details(code, whole.message(), details.into());
        let error = status::from_status(&sent);
        assert!(error.context.len() <= status::TEXT_BYTES_MAX);
        assert!(error.reason.len() <= status::REASON_BYTES_MAX);
    });
}
